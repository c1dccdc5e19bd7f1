"""`mops simulate`: a local service that speaks the documented contract."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from mops_analysis.cli import OK
from mops_analysis.credentials import Credentials
from mops_analysis.errors import ConfigurationError
from mops_analysis.simulator import Simulator


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; the address is the one line on stdout."""
    token = None
    if arguments.auth:
        secret = Credentials.from_env().fixed_token
        if secret is None:
            raise ConfigurationError(
                "--auth: expected a token in MERCHANTOPS_TOKEN, for callers to show; it is not set"
            )
        token = secret.reveal()
    simulator = Simulator(
        seed=arguments.seed, speed=arguments.speed, token=token, any_job=arguments.any_job, port=arguments.port
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with simulator:
        print(simulator.url, flush=True)
        print(f"jobs: {' '.join(simulator.job_ids)}", file=sys.stderr)
        print(f"try:  MERCHANTOPS_API_URL={simulator.url} mops watch {simulator.job_ids[0]}", file=sys.stderr)
        print("stop with Ctrl-C", file=sys.stderr)
        try:
            while not stop.wait(1.0):
                pass
        except KeyboardInterrupt:
            pass
    return OK

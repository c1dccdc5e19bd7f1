"""`mops simulate`: a local service that speaks the documented contract."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from mops_analysis.cli import OK
from mops_analysis.credentials import Credentials
from mops_analysis.errors import ConfigurationError
from mops_analysis.simulator import STORIES, Simulator


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
        seed=arguments.seed,
        speed=arguments.speed,
        token=token,
        any_job=arguments.any_job,
        port=arguments.port,
        begin_when_asked=True,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with simulator:
        print(simulator.url, flush=True)
        print(f"jobs: {' '.join(simulator.job_ids)}", file=sys.stderr)
        lasts_s = STORIES["clean-import"].duration_s() / arguments.speed
        print(
            "a job begins when it is first asked for; a clean import then takes "
            f"{lasts_s:.3g} s\ntry, in another terminal:  MERCHANTOPS_API_URL={simulator.url} "
            f"mops watch {' '.join(simulator.job_ids[:2])} --interval 0.5\nstop with Ctrl-C",
            file=sys.stderr,
        )
        try:
            while not stop.wait(1.0):
                pass
        except KeyboardInterrupt:
            pass
    return OK

"""P3: what a poll costs in an environment of 500 variables, against one of 20; `Session.get` reads them all each time.

CPU of a process of its own for each run; the service is another one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import requests

import mops_analysis as mops
from benchmarks.driver import Figure, main
from benchmarks.service import ROOT, service


def measure(*, small: bool) -> list[Figure]:
    polls, rounds = (10, 1) if small else (500, 7)
    with service() as server:
        pairs = [(_costs(server.url, polls, 500), _costs(server.url, polls, 20)) for _ in range(rounds)]
    ours, reference = (
        statistics.median(many[way] / few[way] for many, few in pairs) for way in ("fetch_status", "Session.get")
    )
    what = f"CPU with 500 / 20 variables (Session.get: {reference:.1f} x)"
    return [Figure("P3", what, ours, at_most=1.1)]


def _costs(url: str, polls: int, variables: int) -> dict[str, float]:
    environment = {f"VARIABLE_{number}": "x" * 20 for number in range(variables - 1)}
    command = [sys.executable, "-c", f"from benchmarks.p03 import poll; poll({url!r}, {polls})"]
    told = subprocess.run(
        command,
        env={**environment, "PATH": os.environ.get("PATH", "")},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    costs: dict[str, float] = json.loads(told)
    return costs


def poll(url: str, polls: int) -> None:
    """Print the CPU of so many polls in each way, in this environment."""
    costs = dict.fromkeys(("fetch_status", "Session.get"), 0.0)
    with requests.Session() as session, mops.JobStatusClient(base_url=url) as client:
        ways = {
            "fetch_status": lambda: client.fetch_status("job-0").processed_items,
            "Session.get": lambda: session.get(f"{url}/api/jobs/job-0/status", timeout=10).json()["processed_items"],
        }
        assert ways["fetch_status"]() == ways["Session.get"]()
        for name in [*ways] * 2:
            begun = time.process_time()
            for _ in range(polls):
                ways[name]()
            costs[name] += time.process_time() - begun
    print(json.dumps(costs))


if __name__ == "__main__":
    main(__doc__, measure)

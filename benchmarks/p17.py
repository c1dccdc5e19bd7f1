"""P17: what starting costs, against bare Python, and what a process that samples takes of memory.

CPU of each process from its start to its end. None may load what only charts and metrics need.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial

from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.service import ROOT, service

HEAVY = ("pandas", "matplotlib", "numpy", "pyarrow", "IPython", "ipywidgets")

STARTS = {
    "bare": ["-c", "pass"],
    "mops --help": ["-m", "mops_analysis", "--help"],
    "mops --version": ["-m", "mops_analysis", "--version"],
    "import mops_analysis": ["-c", "import mops_analysis"],
}

LOADED = f"""
import sys
from mops_analysis.__main__ import main
try:
    main([sys.argv[1]])
except SystemExit:
    print([name for name in {HEAVY} if name in sys.modules])
"""

SAMPLES = f"""
import json, resource, sys
import mops_analysis as mops
url, path, jobs, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
with mops.JobStatusClient(base_url=url) as client, mops.SampleStore(path) as store:
    with mops.Sampler(client, store, 0.5) as sampler:
        sampler.start([f"job-{{number}}" for number in range(jobs)])
        sampler.wait(seconds)
        polls = sum(row.polls - row.failures for row in sampler.outcomes())
loaded = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, polls, loaded]))
"""

BARE = "import requests, sqlite3, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"


def measure(*, small: bool) -> list[Figure]:
    for option in ("--help", "--version"):
        told = _python("-c", LOADED, option)
        assert told.endswith("[]\n"), told
    rounds, starts = (1, 1) if small else (9, 5)

    def start(arguments: list[str]) -> None:
        for _ in range(starts):
            _python(*arguments)

    costs = in_turns({name: partial(start, arguments) for name, arguments in STARTS.items()}, rounds)
    bounds = dict.fromkeys(("mops --help", "mops --version"), 3.5) | {"import mops_analysis": 3.0}
    return [
        *(
            Figure("P17", f"CPU, {name} / bare Python", ratio(costs, name, "bare"), bound)
            for name, bound in bounds.items()
        ),
        _memory(small=small),
    ]


def _memory(*, small: bool) -> Figure:
    jobs, seconds = (5, 1.0) if small else (100, 5.0)
    with tempfile.TemporaryDirectory() as folder, service(latency_s=(0.05, 0.2)) as server:
        told = _python("-c", SAMPLES, server.url, f"{folder}/samples.db", str(jobs), str(seconds))
    peak, polls, loaded = json.loads(told)
    assert polls >= jobs / 2
    assert loaded == []
    bare = float(_python("-c", BARE))
    what = f"peak memory, {jobs} jobs sampled / import requests ({bare:.0f} MiB)"
    return Figure("P17", what, peak / bare, at_most=1.5)


def _python(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main(__doc__, measure)

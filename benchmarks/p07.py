"""P7: the schedule and the promise of the store on a slow disk: each fsync takes 5 ms longer.

The sampler is a process of its own, whose fsync a shim (LD_PRELOAD, built with `cc`) delays; how late it is, is read
off the log of the service. Then it is killed again and again: a poll whose job was polled once more was acknowledged,
so it must be in the store. Beside it: a commit of its own for each poll.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import mops_analysis as mops
from benchmarks.driver import Figure, main
from benchmarks.polling import LATENCY_S, lateness
from benchmarks.service import Log, service

ROOT = Path(__file__).resolve().parent.parent

_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slow(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    usleep(5000);
    return real(file);
}
int fsync(int file) { return slow("fsync", file); }
int fdatasync(int file) { return slow("fdatasync", file); }
"""

_SAMPLER = """
import sys
from benchmarks.p07 import sample
sample(*sys.argv[1:])
"""


def measure(*, small: bool) -> list[Figure]:
    jobs, interval_s, seconds, kills = (20, 0.3, 0.8, 1) if small else (2000, 3.0, 15.0, 6)
    with tempfile.TemporaryDirectory() as folder:
        environment = _slow_disk(Path(folder))
        how = "fsync + 5 ms" if environment else "NO C COMPILER: FSYNC AS IT IS"
        runs = [_late(folder, environment, "grouped", jobs, interval_s, seconds) for _ in range(1 if small else 3)]
        plain = runs[0] if small else _late(folder, environment, "single", jobs, interval_s, seconds)
        acknowledged = lost = 0
        for number in range(kills):
            # The same rate with fewer jobs, so that each is polled several times.
            killed = _killed(Path(folder) / f"killed-{number}", environment, max(20, jobs // 3), 0.3 if small else 1.0)
            acknowledged, lost = acknowledged + killed[0], lost + killed[1]
    p50, p99, missed = zip(*runs, strict=True)
    spread = f"{min(p99):.2g} to {max(p99):.2g}"
    what = f"polls missed in {len(runs)} runs (a commit for each: {plain[2]:,} in one)"
    return [
        Figure("P7", f"{how}, {jobs:,} jobs, late, median", statistics.median(p50), at_most=1, unit="ms"),
        Figure("P7", f"late, p99 ({spread})", statistics.median(p99), at_most=50, unit="ms"),
        Figure("P7", what, sum(missed), at_most=0, unit=""),
        Figure("P7", f"lost of {acknowledged:,} acknowledged, {kills} kills", lost, at_most=0, unit=""),
    ]


def _slow_disk(folder: Path) -> dict[str, str]:
    """The variables under which each fsync takes 5 ms longer; none where there is no compiler."""
    if shutil.which("cc") is None:
        print(
            "P7: no C compiler (cc) here: the disk is as fast as it is, so this measures another thing", file=sys.stderr
        )
        return {}
    (folder / "slow.c").write_text(_SHIM)
    library = folder / "slow.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "slow.c", "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(library)}
    timed = "import os, time; f = open('x', 'w'); b = time.monotonic(); os.fsync(f); print(time.monotonic() - b)"
    command = [sys.executable, "-c", timed]
    told = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert float(told.stdout) >= 0.005, "the shim does not delay fsync"
    return environment


def _late(
    folder: str, environment: dict[str, str], commits: str, jobs: int, interval_s: float, seconds: float
) -> tuple[float, float, int]:
    """How late polls are, median and p99 [ms], and how many did not come."""
    with tempfile.TemporaryDirectory(dir=folder) as own, service(latency_s=LATENCY_S) as server:
        path = Path(own) / "samples.db"
        with _sampler(environment, path, server.url, commits, jobs, interval_s, seconds) as process:
            assert process.stdout is not None
            begun = float(process.stdout.readline())
            process.communicate(timeout=10 * seconds + 60)
        assert process.returncode == 0, "the sampler failed: see above"
    late, _, _, missed = lateness(server.log, interval_s, begun + seconds - 0.3, has_hung=False, has_a_tick=False)
    floor = np.array(server.log.sleeps_s)
    p50, p99 = (1000 * max(0.0, float(np.quantile(late, q) - np.quantile(floor, q))) for q in (0.5, 0.99))
    return p50, p99, missed


def _killed(path: Path, environment: dict[str, str], jobs: int, interval_s: float) -> tuple[int, int]:
    """How many polls were acknowledged when the sampler was killed, and how many of them are not in its store."""
    with (
        service(latency_s=LATENCY_S) as server,
        _sampler(environment, path, server.url, "grouped", jobs, interval_s, 60.0) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(interval_s * random.uniform(1.5, 3.5))
        process.kill()
    return _compare(server.log, path)


def _compare(log: Log, path: Path) -> tuple[int, int]:
    asked = Counter(f"job-{number}" for _, number in log.requests)
    with mops.SampleStore(path) as store:
        store.check()
        kept = Counter(store.read_samples()["job_id"])
    lost = sum(max(0, count - 1 - kept[job_id]) for job_id, count in asked.items())
    return sum(asked.values()) - len(asked), lost


def _sampler(environment: dict[str, str], path: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SAMPLER, str(path), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


# -- in the other process ----------------------------------------------------------------------------------------------


def sample(path: str, url: str, commits: str, jobs: str, interval_s: str, seconds: str) -> None:
    """Sample jobs into a store, and print when it began."""
    names = [f"job-{number}" for number in range(int(jobs))]
    kind = mops.SampleStore if commits == "grouped" else _Single
    with kind(path) as store, mops.JobStatusClient(base_url=url) as client:
        sampler = mops.Sampler(client, store, float(interval_s))
        print(time.monotonic(), flush=True)
        sampler.watch(names, timeout_s=float(seconds), progress=False)


class _Single(mops.SampleStore):
    """Each poll is committed for itself, one after the other."""

    def append(self, *polls: mops.schema.Poll) -> None:
        with self._file.writing:
            super().append(*polls)


if __name__ == "__main__":
    main(__doc__, measure)

"""P11: how long a reader waits for one job while a sampler writes 667 polls a second and the store is compacted.

Reader, sampler and compaction are three processes; beside it the reader alone, before them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mops_analysis as mops
from benchmarks.driver import Figure, main
from benchmarks.fleet import samples
from benchmarks.stores import fill

ROOT = Path(__file__).resolve().parent.parent

# As a sampler does: many threads, whose polls share commits.
_WRITER = """
import sys, threading, time
from mops_analysis import SampleStore
from mops_analysis.schema import JobStatus, Poll
path, seconds, rate, threads = sys.argv[1], float(sys.argv[2]), 667, 64
count = round(seconds * rate)
def work(first):
    for number in range(first, count, threads):
        time.sleep(max(0.0, number / rate - (time.monotonic() - begun)))
        job_id = f"live-{number % 2000}"
        status = JobStatus(job_id, "in_progress", 1.0, number, 10**6, 0)
        store.append(Poll(job_id, time.time_ns(), 0.1, "ok", 200, None, status))
with SampleStore(path) as store:
    print("ready", flush=True)
    begun = time.monotonic()
    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(time.monotonic() - begun)
"""


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, more, seconds = (20, 50, 20, 0.4) if small else (1000, 1000, 100, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        frame = samples(jobs + more, per_job)
        asked = frame["job_id"].iloc[0]
        with mops.SampleStore(Path(folder) / "samples.db") as store:
            fill(store, frame.head(jobs * per_job))
            store.compact()
            fill(store, frame.tail(more * per_job))  # what the compaction beside has to move
            alone = _waits(store, asked, per_job, seconds)
            took_s, moved, beside = _beside(store, asked, per_job, seconds)
            written = round(seconds * 667)
            assert len(store.read_samples()) == len(frame) + written
            store.check()
    p99 = [1000 * float(np.quantile(waits, 0.99)) for waits in (alone, beside)]
    what = f"reader p99, {written / took_s:.0f} polls/s, {moved:,} compacted / alone ({p99[0]:.1f} ms)"
    return [
        Figure("P11", what, p99[1] / p99[0], at_most=1.5),
        # An error of any of the three ends this driver.
        Figure("P11", "time that the polls of one second took", took_s / seconds, at_most=1.02, unit="s"),
    ]


def _waits(store: mops.SampleStore, job_id: str, rows: int, seconds: float) -> list[float]:
    """How long each look at one job took [s]."""
    ends = time.monotonic() + seconds
    waits = []
    while time.monotonic() < ends:
        begun = time.monotonic()
        assert len(store.read_samples(job_id)) == rows
        waits.append(time.monotonic() - begun)
        time.sleep(0.005)
    return waits


def _beside(store: mops.SampleStore, job_id: str, rows: int, seconds: float) -> tuple[float, int, list[float]]:
    """The same beside the two others: how long the polls took, how many were moved, and how long each look took."""
    command = [sys.executable, "-c", _WRITER, str(store.path), str(seconds)]
    compact = [sys.executable, "-m", "mops_analysis", "store", "compact", str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with subprocess.Popen(compact, stdout=subprocess.PIPE, text=True, cwd=ROOT) as compaction:
            waits = _waits(store, job_id, rows, seconds)
            said = compaction.communicate(timeout=60)[0]
        took_s = float(writer.communicate(timeout=60)[0])
    assert writer.returncode == 0, "the sampler failed: see above"
    assert compaction.returncode == 0, "the compaction failed: see above"
    return took_s, int(said.split(": ")[-1].split()[0].replace(",", "")), waits


if __name__ == "__main__":
    main(__doc__, measure)

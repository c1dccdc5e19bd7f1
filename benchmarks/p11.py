"""P11: how long a reader waits for one job while a sampler writes 667 polls a second and the store is compacted.

Reader, sampler and compaction are three processes; in turns with it the reader alone, and the reader beside the sampler
and a process that only computes: what cores that are shared cost by themselves.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

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

# For about as long as the compaction computes.
_COMPUTING = """
import time
while time.process_time() < 1.5:
    sum(range(1000))
"""


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, more, rounds, seconds = (20, 50, 20, 1, 0.4) if small else (1000, 1000, 100, 3, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        frame = samples(jobs + rounds * more, per_job)
        asked = frame["job_id"].iloc[0]
        waits: dict[str, list[npt.NDArray[np.float64]]] = {"alone": [], "computing": [], "compacting": []}
        took_s = []
        with mops.SampleStore(Path(folder) / "samples.db") as store:
            compact = [sys.executable, "-m", "mops_analysis", "store", "compact", str(store.path)]
            fill(store, frame.head(jobs * per_job))
            store.compact()
            for number in range(rounds):
                begin = (jobs + number * more) * per_job
                fill(store, frame.iloc[begin : begin + more * per_job])  # what the compaction beside has to move
                waits["alone"].append(_waits(store, asked, per_job, seconds))
                for name, command in (("computing", [sys.executable, "-c", _COMPUTING]), ("compacting", compact)):
                    looks, polls_s = _beside(command, store, asked, per_job, seconds)
                    waits[name].append(looks)
                    took_s.append(polls_s)
            assert len(store.read_samples()) == len(frame) + 2 * rounds * round(seconds * 667)
            assert store.compact() <= round(seconds * 667), "the compaction beside did not move what was there"
            store.check()
    return [
        *_figures(waits),
        # An error of any of the three ends this driver.
        Figure("P11", "time that the polls of one second took", max(took_s) / seconds, at_most=1.02, unit="s"),
    ]


def _figures(waits: dict[str, list[npt.NDArray[np.float64]]]) -> list[Figure]:
    p99_s = {name: np.array([np.quantile(looks[:, 0], 0.99) for looks in rounds]) for name, rounds in waits.items()}
    compacting, computing = (p99_s[name] / p99_s["alone"] for name in ("compacting", "computing"))
    looks = np.concatenate(waits["compacting"])
    took_s, of_core_s = looks[looks[:, 0] >= np.quantile(looks[:, 0], 0.99)].sum(axis=0)
    spread = f"{compacting.min():.1f} to {compacting.max():.1f}; computing: {np.median(computing):.1f}"
    what = f"reader p99, sampler and compaction ({spread}) / alone ({1000 * np.median(p99_s['alone']):.1f} ms)"
    return [
        Figure("P11", what, float(np.median(compacting)), at_most=1.5),
        # What the store itself holds a reader up with; the rest is up to the cores.
        Figure("P11", "wait of its slowest looks but for a core", 100 * (1 - of_core_s / took_s), at_most=10, unit="%"),
    ]


def _waits(store: mops.SampleStore, job_id: str, rows: int, seconds: float) -> npt.NDArray[np.float64]:
    """How long each look at one job took, and how much of it this thread computed or waited for a core [s]."""
    ends = time.monotonic() + seconds
    waits = []
    while time.monotonic() < ends:
        begun, had_s = time.monotonic(), _core_s()
        assert len(store.read_samples(job_id)) == rows
        waits.append((time.monotonic() - begun, _core_s() - had_s))
        time.sleep(0.005)
    return np.array(waits)


def _core_s() -> float:
    """For how long this thread has had a core or was ready for one [s]."""
    _, ready_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return time.thread_time() + int(ready_ns) / 1e9


def _beside(
    command: list[str], store: mops.SampleStore, job_id: str, rows: int, seconds: float
) -> tuple[npt.NDArray[np.float64], float]:
    """The same beside a sampler and another process; and how long the polls took [s]."""
    sampler = [sys.executable, "-c", _WRITER, str(store.path), str(seconds)]
    with subprocess.Popen(sampler, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as other:
            waits = _waits(store, job_id, rows, seconds)
            other.wait(timeout=60)
        took_s = float(writer.communicate(timeout=60)[0])
    assert writer.returncode == 0, "the sampler failed: see above"
    assert other.returncode == 0, "the other process failed: see above"
    return waits, took_s


if __name__ == "__main__":
    main(__doc__, measure)

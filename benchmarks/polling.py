"""Many jobs polled on a schedule, by the sampler and in the plain way, and how late each request was."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import mops_analysis as mops
from benchmarks.service import FIELDS, HUNG_EVERY, ROOT, Log, service

LATENCY_S = (0.05, 0.2)
INTERVAL_S = 3.0
_LATEST_S = 0.3  # a poll that is due so shortly before the end may come after it


@dataclass(frozen=True)
class Run:
    """A run of some seconds.

    Attributes
    ----------
    late_s
        How late each request came, by the log of the service, against the grid through the earliest one of its job.
    at_s, job
        When it came, and the number of its job.
    floor_s
        How late an idle sleeper woke up meanwhile.
    missed
        How many polls of the grid did not come.
    cpu_s, seconds
        CPU time of the process that polled, and how long it took.
    threads
        How many it had for it.
    """

    late_s: npt.NDArray[np.float64]
    at_s: npt.NDArray[np.float64]
    job: npt.NDArray[np.int64]
    floor_s: npt.NDArray[np.float64]
    missed: int
    cpu_s: float
    seconds: float
    threads: int

    @property
    def jobs(self) -> int:
        """How many jobs there were."""
        return int(self.job.max()) + 1

    @property
    def core(self) -> float:
        """Share of one core."""
        return self.cpu_s / self.seconds

    @property
    def cpu_per_poll_ms(self) -> float:
        """CPU time of one poll [ms]."""
        return 1000 * self.cpu_s / len(self.late_s)

    def late_ms(self, quantile: float) -> float:
        """How late polls were, beyond what an idle sleeper was [ms]."""
        return 1000 * max(0.0, float(np.quantile(self.late_s, quantile) - np.quantile(self.floor_s, quantile)))


def sampled(
    jobs: int, seconds: float, *, interval_s: float = INTERVAL_S, has_hung: bool = False, threads: int = 256
) -> Run:
    """Poll by the sampler, into a store on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/samples.db"
        run = _run("sampled", path, jobs, seconds, interval_s, threads, has_hung=has_hung)
        _check(path, run)
    return run


def _check(path: str, run: Run) -> None:
    # Every reply is in the store as it was served, but for those that were under way at the end.
    samples = mops.read_samples(path)
    fields = samples[list(FIELDS)].drop_duplicates()
    assert fields.to_dict("records") == [FIELDS], fields
    sent = np.bincount(run.job)
    found = samples["job_id"].str.removeprefix("job-").astype(int).value_counts()
    kept = np.bincount(found.index, weights=found.to_numpy(), minlength=len(sent))
    assert ((sent - kept >= 0) & (sent - kept <= 1)).all(), (sent - kept).tolist()


def plain(jobs: int, seconds: float, *, interval_s: float = INTERVAL_S, threads: int = 128) -> Run:
    """Poll as one would without the sampler: at each tick all jobs go to a pool of threads, each with a Session."""
    return _run("plain", "", jobs, seconds, interval_s, threads)


def _run(
    way: str, path: str, jobs: int, seconds: float, interval_s: float, threads: int, *, has_hung: bool = False
) -> Run:
    numbers = {"jobs": jobs, "seconds": seconds, "interval": interval_s, "threads": threads}
    options = [text for name, number in numbers.items() for text in (f"--{name}", str(number))]
    with service(latency_s=LATENCY_S, has_hung=has_hung) as server:
        command = [sys.executable, "-m", "benchmarks.pollers", way, server.url, path, *options]
        told = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    ended = told["begun"] + seconds - _LATEST_S
    has_a_tick = way == "plain"
    late, at, job, missed = lateness(server.log, interval_s, ended, has_hung=has_hung, has_a_tick=has_a_tick)
    return Run(
        late_s=late,
        at_s=at,
        job=job,
        floor_s=np.array(server.log.sleeps_s),
        missed=missed,
        cpu_s=told["cpu_s"],
        seconds=told["seconds"],
        threads=told["threads"],
    )


def lateness(
    log: Log, interval_s: float, ended: float, *, has_hung: bool, has_a_tick: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
    """Return how late each request of a healthy job was, when it came, its job, and how many did not come.

    Each job has a grid of its own, through its earliest request; where there is a tick, all have that of the first
    request of any.
    """
    at = np.array([when for when, _ in log.requests])
    job = np.array([number for _, number in log.requests])
    if has_hung:
        is_healthy = job % HUNG_EVERY != 0
        at, job = at[is_healthy], job[is_healthy]
    first = np.full(job.max() + 1, np.inf)
    np.minimum.at(first, job, at)
    polled = np.isfinite(first)
    if has_a_tick:
        first[:] = at.min()
        turn = np.floor((at - first[job]) / interval_s + 0.05)  # the first one may have been late itself
    else:
        turn = np.round((at - first[job]) / interval_s)
    offset = at - turn * interval_s
    grid = np.full(len(first), np.inf)
    np.minimum.at(grid, job, offset)
    if has_a_tick:
        grid[:] = at.min()
    expected = np.floor((ended - grid[polled]) / interval_s) + 1
    came = {(number, step) for number, step in zip(job.tolist(), turn.tolist(), strict=True)}
    return offset - grid[job], at, job, max(0, round(float(expected.sum())) - len(came))

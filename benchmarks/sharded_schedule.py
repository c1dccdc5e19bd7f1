"""A million jobs on many samplers: a simulation of the schedule, and what it would cost.

    python -m benchmarks.sharded_schedule [--small]

Jobs are dealt out by `job_bucket`: a bucket is what one sampler polls, one folder of the dataset holds, and one task
measures. Each sampler follows the rules of `mops_analysis.sampler.schedule`; a poll takes 0.7 ms of its one core (as
measured, with the durable store), then a reply 50 to 200 ms later, on at most 256 threads.

Prices are round numbers of the order of public list prices, not an offer of anybody.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mops_analysis.dataset import job_bucket
from mops_analysis.sampler import schedule

INTERVAL_S = 3.0
CPU_S = 0.7e-3
LATENCY_S = (0.05, 0.2)
THREADS = 256
LEASE_S, RENEWAL_S, LOOK_S = 15.0, 5.0, 1.0

CORE_HOUR, MILLION_PUTS, MILLION_GETS, GB_MONTH = 0.04, 5.0, 0.4, 0.023  # US dollars
BYTES_PER_SAMPLE = 15.0
PUT_EVERY_S = 60.0


def lateness(jobs: int, seconds: float, *, hung: float = 0.0, seed: int = 0) -> npt.NDArray[np.float64]:
    """How late each poll of one sampler is sent [s]; a share of the jobs answers only after 2.5 s, the deadline."""
    rng = random.Random(seed)
    due = [(first, job) for job, first in enumerate(schedule.first_polls(jobs, 0.0, INTERVAL_S, rng))]
    heapq.heapify(due)
    threads = [0.0] * THREADS
    core_free, late = 0.0, []
    while due[0][0] < seconds:
        at, job = heapq.heappop(due)
        begun = max(at, heapq.heappop(threads), core_free)
        core_free = begun + CPU_S
        replied = core_free + (2.5 if job < hung * jobs else rng.uniform(*LATENCY_S))
        heapq.heappush(threads, replied)
        heapq.heappush(due, (schedule.next_poll(at, replied, INTERVAL_S), job))
        if job >= hung * jobs:
            late.append(begun - at)
    return np.array(late)


def shards(job_ids: Iterable[str], samplers: int) -> npt.NDArray[np.int64]:
    """How many jobs each sampler gets."""
    return np.bincount([job_bucket(job_id, samplers) for job_id in job_ids], minlength=samplers)


def arrivals(sizes: npt.NDArray[np.int64], *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Requests that the service gets in each tenth of a second of one interval, from all samplers."""
    rng = random.Random(seed)
    counts = np.zeros(int(INTERVAL_S * 10), dtype=np.int64)
    for size in sizes.tolist():
        polls = schedule.first_polls(size, rng.uniform(0, INTERVAL_S), INTERVAL_S, rng)
        counts += np.bincount((np.array(polls) % INTERVAL_S * 10).astype(np.int64), minlength=len(counts))
    return counts


def outage(deaths: int, *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Seconds from a sampler's death to the first poll of a spare, which looks for ended leases each second."""
    rng = np.random.default_rng(seed)
    lease_left = LEASE_S - rng.uniform(0, RENEWAL_S, deaths)
    return lease_left + rng.uniform(0, LOOK_S, deaths) + rng.uniform(0, INTERVAL_S, deaths)


@dataclass(frozen=True)
class Cost:
    """US dollars per million samples."""

    cores: float
    puts: float
    merging: float
    a_month_of_storage: float

    @property
    def total(self) -> float:
        return self.cores + self.puts + self.merging + self.a_month_of_storage


def cost(jobs_per_sampler: float) -> Cost:
    """What a million samples cost: a core per sampler, an object per minute and sampler, merged into days once."""
    per_s = jobs_per_sampler / INTERVAL_S
    objects = 1e6 / (per_s * PUT_EVERY_S)
    return Cost(
        cores=CORE_HOUR * 1e6 / (per_s * 3600),
        puts=MILLION_PUTS * objects / 1e6,
        merging=MILLION_GETS * objects / 1e6,
        a_month_of_storage=GB_MONTH * BYTES_PER_SAMPLE / 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a thousandth of the jobs")
    small = parser.parse_args().small
    jobs, per_sampler, seconds = (1000, 100, 6.0) if small else (1_000_000, 2000, 60.0)
    samplers = jobs // per_sampler
    print("One sampler, lateness of its polls:")
    for held in [100] if small else [1000, 2000, 3000, 4000, 4200, 4500]:
        for hung in (0.0, 0.05):
            median, p99 = np.quantile(lateness(held, seconds, hung=hung), [0.5, 0.99]) * 1000
            busy = held / INTERVAL_S * CPU_S
            print(
                f"  {held:5} jobs, {hung:3.0%} hung: median {median:7.1f} ms, p99 {p99:7.1f} ms, core {busy:4.0%} busy"
            )
    sizes = shards((f"job-{number}" for number in range(jobs)), samplers)
    print(
        f"{jobs:,} jobs on {samplers} samplers: {sizes.min()}-{sizes.max()} each (x {sizes.max() / sizes.mean():.2f})"
    )
    counts = arrivals(sizes)
    print(f"The service gets {counts.sum() / INTERVAL_S:,.0f} requests/s, at most {counts.max() / counts.mean():.3f} x")
    gaps = outage(10_000)
    print(f"A sampler dies: its jobs are not polled for {np.median(gaps):.0f} s, at most {gaps.max():.0f} s")
    dollars = cost(float(sizes.mean()))
    per_day = jobs / INTERVAL_S * 86_400
    print(f"{per_day / 1e9:.1f} thousand million samples a day, {per_day * BYTES_PER_SAMPLE / 1e9:,.0f} GB")
    print(f"A million samples: {dollars.total:.4f} $ ({dollars}); a day: {dollars.total * per_day / 1e6:,.0f} $")


if __name__ == "__main__":
    main()

"""P14: CPU of one row per job against `groupby.apply`, and of a live refresh as the store grows.

A refresh is what the dashboard does when a sample of each of twenty live jobs has come: read what is new, forecast and
summarise the jobs that moved, and put the row about all jobs together. It is measured with 10M samples of finished jobs
in the store and with 100,000; both give the same numbers for the live jobs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC
from functools import partial
from pathlib import Path

import pandas as pd

import mops_analysis as mops
from benchmarks import stores
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.fleet import samples
from benchmarks.p12 import RULE, SUMMARY, same
from benchmarks.plain_metrics import apply, fleet, job_summary
from mops_analysis.dashboard.follow import Follower

LIVE = 20


def summary_ratio(jobs: int, per_job: int, rounds: int) -> float:
    """CPU of `groupby.apply`, measured on a twentieth of the jobs, over that of `summary`."""
    frame = fleet(jobs, per_job)
    part = frame.head(max(jobs // 20, 2) * per_job)
    same(mops.summary(part, **RULE), apply(part, job_summary), SUMMARY)
    ways = {"ours": partial(mops.summary, frame, **RULE), "apply": partial(apply, part, job_summary)}
    return ratio(in_turns(ways, rounds), "apply", "ours") * len(frame) / len(part)


def finished(jobs: int, per_job: int) -> pd.DataFrame:
    """So many samples of jobs that have all ended, a day before the live ones."""
    frame = samples(jobs, per_job)
    last = ~frame["job_id"].duplicated(keep="last")
    return frame.assign(
        job_id="ended-" + frame["job_id"],
        status=frame["status"].mask(last, "partial_success"),
        sampled_at=frame["sampled_at"] - pd.Timedelta("1D"),
    )


def refresh_s(follower: Follower, coming: pd.DataFrame) -> float:
    """CPU of one refresh, once these samples have come [s]."""
    follower.store.append_samples(coming)
    begun = time.process_time()
    follower.read()
    follower.fleet("2min", UTC)
    return time.process_time() - begun


def refresh_ratio(jobs: int, per_job: int, times: int, rounds: int) -> float:
    """CPU of a refresh beside so many copies of so many jobs, over that beside the jobs alone."""
    live = samples(LIVE, per_job + rounds + 1, seed=1)
    live["status"] = "in_progress"
    nth = live.groupby("job_id").cumcount()
    costs: dict[int, list[float]] = {times: [], 1: []}
    with tempfile.TemporaryDirectory() as folder:
        followers = {}
        for copies in costs:
            store = mops.SampleStore(Path(folder) / f"{copies}.db")
            stores.fill(store, finished(jobs, per_job))
            stores.repeat(store, copies)
            stores.fill(store, live[nth < per_job])
            followers[copies] = Follower(store)
            followers[copies].read()
        for number in range(per_job, per_job + rounds + 1):
            for copies, follower in followers.items():
                costs[copies].append(refresh_s(follower, live[nth == number]))
        check(followers[times], followers[1], live)
        for follower in followers.values():
            follower.store.close()
    pairs = zip(costs[times][1:], costs[1][1:], strict=True)  # the first refresh of a process loads what is new to it
    return statistics.median(one / other for one, other in pairs)


def check(one: Follower, other: Follower, live: pd.DataFrame) -> None:
    """Both say of the live jobs what `summary` says of them among all samples of the smaller store."""
    expected = mops.summary(other.store.read_samples())
    expected = expected[expected["job_id"].isin(live["job_id"])].reset_index(drop=True)
    for follower in (one, other):
        own = follower.summary[follower.summary["job_id"].isin(live["job_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, expected, check_exact=True)


def measure(*, small: bool) -> list[Figure]:
    jobs, stored, per_job, times, rounds = (4, 2, 40, 10, 1) if small else (1000, 100, 1000, 100, 7)
    what = f"CPU of a refresh, {stored * per_job * times:,} stored / {stored * per_job:,}"
    return [
        Figure("P14", "CPU, groupby.apply / summary", summary_ratio(jobs, per_job, min(rounds, 3)), at_least=30),
        Figure("P14", what, refresh_ratio(stored, per_job, times, rounds), at_most=1.5),
    ]


if __name__ == "__main__":
    main(__doc__, measure)

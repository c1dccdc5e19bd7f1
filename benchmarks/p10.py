"""P10: reading one job out of ten million samples, beside one out of a hundred thousand; both stores compacted."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

import mops_analysis as mops
from benchmarks.driver import Figure, main
from benchmarks.fleet import samples
from benchmarks.stores import compacted

_JOBS, _TIMES = 25, 10


def measure(*, small: bool) -> list[Figure]:
    per_job, jobs, few = (50, 20, 10) if small else (1000, 1000, 100)
    with tempfile.TemporaryDirectory() as folder:
        frame = samples(jobs, per_job)
        n = _TIMES * len(frame)
        with (
            compacted(Path(folder) / "many.db", frame, _TIMES) as large,
            compacted(Path(folder) / "few.db", frame.head(few * per_job)) as small_one,
        ):
            chosen, of_few = _chosen(frame, jobs, per_job, _TIMES), _chosen(frame, few, per_job)
            costs: dict[str, list[float]] = {"many": [], "few": []}
            for _ in range(1 if small else 7):
                costs["many"].append(_cost(large, chosen))
                costs["few"].append(_cost(small_one, of_few))
    ratios = [one / other for one, other in zip(costs["many"], costs["few"], strict=True)]
    return [
        Figure("P10", f"CPU, one job out of {n:,}", 1000 * statistics.median(costs["many"]), at_most=10, unit="ms"),
        Figure("P10", f"CPU, out of {n:,} / out of {few * per_job:,}", statistics.median(ratios), at_most=2),
    ]


def _chosen(frame: pd.DataFrame, jobs: int, per_job: int, times: int = 1) -> dict[str, pd.DataFrame]:
    """Some jobs by chance, or copies of them, with what is to be read of each."""
    chance = random.Random(1)
    parts = {}
    for number in chance.sample(range(jobs), min(_JOBS, jobs)):
        part = frame.iloc[number * per_job : (number + 1) * per_job].reset_index(drop=True)
        copy = chance.randrange(times)
        job_id = part["job_id"].iloc[0] + (f".{copy}" if copy else "")
        parts[job_id] = part.assign(job_id=pd.array([job_id] * per_job, dtype="string"))
    return parts


def _cost(store: mops.SampleStore, chosen: dict[str, pd.DataFrame]) -> float:
    """Median of the CPU seconds that one job takes."""
    costs = []
    for job_id, expected in chosen.items():
        begun = time.process_time()
        read = store.read_samples(job_id)
        costs.append(time.process_time() - begun)
        pd.testing.assert_frame_equal(read, expected, check_exact=True)
    return statistics.median(costs)


if __name__ == "__main__":
    main(__doc__, measure)

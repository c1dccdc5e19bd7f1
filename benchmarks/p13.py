"""P13: CPU and memory of the metrics as the rows grow, and with the same rows in few jobs or in many.

Time of 10M rows over time of 1M; time a row of 1M rows as 100,000 jobs of 10, 1,000 of 1,000, and one of a million; and
how far the memory rises above the samples and the result, in a process for each metric. Compared before: each job alone
gives the numbers that it gives among all.
"""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main
from benchmarks.plain_metrics import fleet

RULE = {"processed_includes_failed": False}
METRICS: dict[str, Callable[..., pd.DataFrame]] = {
    "throughput": mops.throughput,
    "failure rate": mops.failure_rate,
    "failure rate, window": partial(mops.failure_rate, window="2min"),
    "anomalies": mops.anomalies,
    "summary": mops.summary,
    "eta": mops.eta,
}


def check(samples: pd.DataFrame) -> None:
    """Each job alone gives the rows that it gives among all."""
    for metric in METRICS.values():
        together = metric(samples, **RULE)
        for job_id, rows in samples.groupby("job_id"):
            expected = together[together["job_id"] == job_id].reset_index(drop=True)
            pd.testing.assert_frame_equal(metric(rows, **RULE).reset_index(drop=True), expected, check_exact=True)


def seconds(samples: pd.DataFrame, metrics: list[str], rounds: int) -> float:
    """CPU of these metrics together, the median of some rounds [s]."""
    costs = in_turns({name: partial(METRICS[name], samples, **RULE) for name in metrics}, rounds)
    return sum(statistics.median(times) for times in costs.values())


def memory_mb(line: str) -> float:
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{line}:")[1].split()[0]) / 1024


def beyond_mb(name: str, jobs: int, per_job: int) -> float:
    """How far the memory of this process rises above the samples and the result [MB]; Linux only."""
    samples = fleet(jobs, per_job)
    METRICS[name](samples.iloc[:1000])  # what is loaded at the first call is no part of it
    ctypes.CDLL(None).malloc_trim(0)  # what making the samples left behind would hide what the metric takes
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    result = METRICS[name](samples)  # the counting rule is found, too, as it is where nobody says it
    own = result.drop(columns=["job_id", "sampled_at"]) if len(result) == len(samples) else result
    return memory_mb("VmHWM") - before - own.memory_usage(index=False, deep=True).sum() / 2**20


def measure(*, small: bool) -> list[Figure]:
    check(fleet(2, 40))
    rows, rounds = (2_000, 1) if small else (1_000_000, 3)
    shapes = [(rows // 10, 10), (rows // 1000, 1000), (1, rows)]
    parts = {"all but the forecast": [name for name in METRICS if name != "eta"], "the forecast": ["eta"]}
    figures, costs = [], {}
    for jobs, per_job in shapes:
        samples = fleet(jobs, per_job)
        costs[jobs, per_job] = {what: seconds(samples, names, rounds) for what, names in parts.items()}
    samples = fleet(10 * rows // 1000, 1000)
    for what, names in parts.items():
        once = costs[shapes[1]][what]
        grown = seconds(samples, names, 1) / once
        figures.append(Figure("P13", f"CPU, {10 * rows:,} rows / {rows:,}: {what}", grown, at_most=11))
        spread = max(cost[what] for cost in costs.values()) / once
        figures.append(Figure("P13", f"CPU a row, worst shape / jobs of 1,000: {what}", spread, at_most=2))
    del samples
    for jobs, per_job in shapes[-1:] if small else shapes[1:]:
        for names in parts.values():
            beyond, name = max((_in_a_process(name, jobs, per_job, small=small), name) for name in names)
            label = f"memory beyond input and output, {jobs:,} x {per_job:,}: {name}"
            figures.append(Figure("P13", label, beyond, at_most=50, unit="MB"))
    return figures


def _in_a_process(name: str, jobs: int, per_job: int, *, small: bool) -> float:
    if small:
        return beyond_mb(name, jobs, per_job)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(beyond_mb, name, jobs, per_job).result()


if __name__ == "__main__":
    main(__doc__, measure)

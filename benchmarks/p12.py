"""P12: CPU of the metrics for 1M rows of 1,000 jobs, against the same definitions in pandas.

One way is `groupby.apply` of what one writes for one job, on 50 of the jobs (the forecast in plain loops, on two of
them), per row. The other is pandas over all jobs at once, for throughput and failure rates. The counting rule is
given. All jobs have ended, so `summary` forecasts none of them; `eta` forecasts every row, with the learned correction,
which its reference leaves out: so its ratio is a lower bound.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.plain_eta import job_forecast
from benchmarks.plain_metrics import (
    WINDOW_S,
    apply,
    fleet,
    job_anomalies,
    job_rates,
    job_shares,
    job_summary,
    vectorised,
)

RULE = {"processed_includes_failed": False}
RATES = ["finished_items", "interval_items_per_s", "items_per_s"]
SHARES = ["failed", "finished", "failure_rate", "failure_rate_low", "failure_rate_high"]
SUMMARY = ["samples", "finished_items", "mean_items_per_s", "last_items_per_s", "failure_rate_high", "anomalies"]
SECONDS = ["remaining_s", "remaining_low_s", "remaining_high_s"]

Frame = Callable[[], pd.DataFrame]


def kinds_of(events: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """How many events of each kind each job has."""
    counts = pd.crosstab(events["job_id"], events["kind"])
    return counts.reindex(index=like.index, columns=like.columns, fill_value=0)


def same(ours: pd.DataFrame, reference: pd.DataFrame, columns: list[str]) -> None:
    """Fail where a number differs by more than 1e-9 of it."""
    np.testing.assert_allclose(
        ours[columns].to_numpy(dtype=float), reference[columns].to_numpy(dtype=float), rtol=1e-9, atol=1e-9
    )


def check(part: pd.DataFrame, few: pd.DataFrame) -> None:
    """Both ways give the same numbers."""
    same(mops.throughput(part, **RULE), apply(part, job_rates), RATES)
    same(mops.failure_rate(part, **RULE), apply(part, job_shares, None), SHARES)
    same(mops.failure_rate(part, window=WINDOW_S, **RULE), apply(part, job_shares, WINDOW_S), SHARES)
    same(mops.summary(part, **RULE), apply(part, job_summary), SUMMARY)
    counts = apply(part, job_anomalies)
    pd.testing.assert_frame_equal(
        kinds_of(mops.anomalies(part, **RULE), counts), counts, check_dtype=False, check_names=False
    )
    same(mops.eta(few, correction=False, **RULE), apply(few, job_forecast), SECONDS)
    three = (
        mops.throughput(part, **RULE),
        mops.failure_rate(part, **RULE),
        mops.failure_rate(part, window=WINDOW_S, **RULE),
    )
    for ours, reference, columns in zip(three, vectorised(part), (RATES, SHARES, SHARES), strict=True):
        same(ours, reference, columns)


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, rounds = (10, 100, 1) if small else (1000, 1000, 3)
    samples = fleet(jobs, per_job)
    part, few = samples.head(max(jobs // 20, 2) * per_job), samples.head(max(jobs // 500, 1) * per_job)
    check(part, few)
    three: dict[str, Frame] = {
        "throughput": partial(mops.throughput, samples, **RULE),
        "failure rate": partial(mops.failure_rate, samples, **RULE),
        "failure rate, window": partial(mops.failure_rate, samples, window=WINDOW_S, **RULE),
    }
    ours = three | {
        "anomalies": partial(mops.anomalies, samples, **RULE),
        "summary": partial(mops.summary, samples, **RULE),
        "eta": partial(mops.eta, samples, **RULE),
    }
    plain: dict[str, Frame] = {
        "throughput": partial(apply, part, job_rates),
        "failure rate": partial(apply, part, job_shares, None),
        "failure rate, window": partial(apply, part, job_shares, WINDOW_S),
        "anomalies": partial(apply, part, job_anomalies),
        "summary": partial(apply, part, job_summary),
        "eta": partial(apply, few, job_forecast),
    }
    copied, target = np.ones((len(samples), 92), dtype=np.uint8), np.empty((len(samples), 92), dtype=np.uint8)
    ways = {
        **{f"mops {name}": way for name, way in ours.items()},
        **{f"plain {name}": way for name, way in plain.items()},
        "vectorised": partial(vectorised, samples),
        "copy": partial(np.copyto, target, copied),
    }
    costs = in_turns(ways, rounds)
    rows = {"eta": len(few)}
    for name in ours:
        scale = len(samples) / rows.get(name, len(part))
        costs[f"plain {name}"] = [scale * cost for cost in costs[f"plain {name}"]]
        if not small:
            mine, theirs = (statistics.median(costs[f"{way} {name}"]) for way in ("mops", "plain"))
            print(f"     {name:22} {mine:8.3f} s {theirs:8.1f} s in groupby.apply, {theirs / mine:6.0f} x")
    for way in ("mops", "plain"):
        costs[way] = [
            sum(each) for each in zip(*(costs[f"{way} {name}"] for name in ours if name != "eta"), strict=True)
        ]
        costs[f"{way} all"] = [sum(each) for each in zip(costs[way], costs[f"{way} eta"], strict=True)]
    costs["three"] = [sum(each) for each in zip(*(costs[f"mops {name}"] for name in three), strict=True)]
    return [
        Figure("P12", "CPU, groupby.apply / mops: all but the forecast", ratio(costs, "plain", "mops"), at_least=30),
        Figure(
            "P12", "CPU, plain loops per job / mops: the forecast", ratio(costs, "plain eta", "mops eta"), at_least=30
        ),
        Figure("P12", "CPU, plain / mops: all together", ratio(costs, "plain all", "mops all"), at_least=30),
        Figure(
            "P12",
            "CPU, vectorised pandas / mops: throughput, failures",
            ratio(costs, "vectorised", "three"),
            at_least=5,
        ),
        Figure("P12", "CPU, throughput and failures / copy of 92 B a row", ratio(costs, "three", "copy"), at_most=15),
    ]


if __name__ == "__main__":
    main(__doc__, measure)

"""The metrics' definitions as one writes them in pandas: for one job, applied to each, and for all jobs at once.

What P12 to P14 are measured against, and what the tests hold the metrics to on random samples. The counting rule is
disjoint throughout; the jobs have totals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

WINDOW_S = 120.0
IDLE = ["awaiting_review", "completed", "completed_with_warnings", "partial_success", "failed", "cancelled", "canceled"]
KNOWN = [*IDLE, "pending", "in_progress"]


def fleet(jobs: int, rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Jobs of so many samples, 3 s apart with jitter and gaps; 1 % failures, resets, stalls, totals that grow."""
    rng = np.random.default_rng(seed)
    shape = (jobs, rows)
    step = rng.integers(2_900, 3_100, shape, dtype=np.int32)
    step[rng.random(shape, dtype=np.float32) < 0.001] = 60_000
    time_ms = np.cumsum(step, axis=1, dtype=np.int64) + 1_790_000_000_000
    rises = rng.poisson(20, shape)
    rises[:, rows // 2 : rows // 2 + rows // 30] *= rng.random((jobs, 1)) < 0.7  # a stall
    fails = rng.binomial(rises, 0.01)
    finished, failed = np.cumsum(rises, axis=1), np.cumsum(fails, axis=1)
    total = np.repeat(np.maximum(finished[:, -1:], 1), rows, axis=1)
    total[: jobs // 10, : rows // 3] //= 2
    lost = np.where(rng.random(shape, dtype=np.float32) < 0.0005, finished - failed, 0)
    processed = np.maximum(finished - failed - np.maximum.accumulate(lost, axis=1), 0)
    status = np.full(shape, 1, dtype=np.int8)
    status[:, : min(5, rows // 4)], status[:, -1] = 0, 2
    words = pd.array(["pending", "in_progress", "completed"], dtype="string")
    names = pd.array([f"job-{number:06d}" for number in range(jobs)], dtype="string")
    return pd.DataFrame(
        {
            "job_id": names.take(np.repeat(np.arange(jobs), rows)),
            "sampled_at": pd.DatetimeIndex(time_ms.ravel() * 1_000_000, tz="UTC"),
            "status": words.take(status.ravel()),
            "progress_percentage": np.floor(100 * (processed + failed) / total).clip(0, 100).ravel(),
            "processed_items": processed.ravel(),
            "total_items": total.ravel(),
            "failed_items": failed.ravel(),
            "latency_s": 0.1,
        },
        copy=False,
    )


# -- what one writes for one job, and applies to each ---------------------------------------------------------------


def job_rates(rows: pd.DataFrame) -> pd.DataFrame:
    finished = rows["processed_items"] + rows["failed_items"]
    rise = finished.diff().clip(lower=0).fillna(0)
    step = rows["sampled_at"].diff().dt.total_seconds().fillna(0)
    started = ((rows["status"] == "in_progress").astype(bool) | (rise > 0)).cummax()
    runs = (started & ~rows["status"].isin(IDLE)).shift(fill_value=False).astype(bool)
    running, done = (step * runs).cumsum(), (rise * runs).cumsum()
    is_gap = step > 2.5 * step[step > 0].median()
    in_gaps = (step * (runs & is_gap)).cumsum()
    edge = running - WINDOW_S  # before the first sample the counters are what they are there
    width = running.clip(upper=WINDOW_S)
    rate = (done - np.interp(edge, running, done)) / width.where(width > 0)
    in_window = in_gaps - np.interp(edge, running, in_gaps)
    return pd.DataFrame(
        {
            "finished_items": rise.cumsum(),
            "interval_items_per_s": (rise / step).where(runs),
            "items_per_s": rate.where((width >= WINDOW_S / 2) & (2 * in_window <= width)),
            "running": running,
            "done": done,
            "is_gap": is_gap,
        }
    )


def job_shares(rows: pd.DataFrame, window: float | None) -> pd.DataFrame:
    finished = rows["processed_items"] + rows["failed_items"]
    failed_rise = rows["failed_items"].diff().clip(lower=0).fillna(0).cumsum()
    rise = finished.diff().clip(lower=0).fillna(0).cumsum()
    if window is None:
        failed, out_of = failed_rise + rows["failed_items"].iloc[0], rise + finished.iloc[0]
    else:
        at = (rows["sampled_at"] - rows["sampled_at"].iloc[0]).dt.total_seconds()
        failed, out_of = (items - np.interp(at - window, at, items) for items in (failed_rise, rise))
    return shares(failed, out_of)


def shares(failed: pd.Series, out_of: pd.Series, confidence: float = 0.95) -> pd.DataFrame:
    says = (out_of > 0) & (failed <= out_of * (1 + 1e-12))
    low, high = proportion_confint(failed[says], out_of[says], alpha=1 - confidence, method="wilson")
    rate = (failed / out_of).where(says)
    return pd.DataFrame(
        {
            "failed": failed,
            "finished": out_of,
            "failure_rate": rate,
            "failure_rate_low": low.clip(lower=0).reindex(failed.index),
            "failure_rate_high": high.clip(upper=1).reindex(failed.index),
        }
    )


def job_anomalies(rows: pd.DataFrame) -> pd.Series:
    rates, part = job_rates(rows), job_shares(rows, WINDOW_S)
    processed, total, failed = rows["processed_items"], rows["total_items"], rows["failed_items"]
    change = rows[["processed_items", "total_items", "failed_items"]].diff().fillna(0)
    moved = (change != 0).any(axis=1)
    running = rates["running"]
    between = running[moved].diff().dropna()
    limit = max(60, 10 * (between.median() if len(between) >= 2 else 30))
    stretch = moved.cumsum()
    quiet = running - running.groupby(stretch).transform("first")
    stalled = stretch[(quiet > limit) & ~rows["status"].isin([*IDLE, "pending"])].nunique()
    whole = job_shares(rows, None)
    window = shares(part["failed"], part["finished"], 0.99)
    before = shares(whole["failed"] - part["failed"], whole["finished"] - part["finished"], 0.99)
    rose = change["failed_items"] > 0
    burst = rows["sampled_at"][
        rose & (part["failed"] >= 5) & (window["failure_rate_low"] > before["failure_rate_high"])
    ]
    share = 100 / total.where(total > 0)
    percentage, outside = rows["progress_percentage"], ~rows["progress_percentage"].between(0, 100)
    off = ((percentage - (processed * share).clip(0, 100)).abs() > 1) & (
        (percentage - ((processed + failed) * share).clip(0, 100)).abs() > 1
    )
    problems = [
        (processed < 0) | (total < 0) | (failed < 0),
        (total > 0) & (failed > total),
        (total > 0) & (processed + failed > total) & (failed <= total),
        (failed > processed + failed) & (failed > 0),
        outside,
        off & ~outside,
    ]
    return pd.Series(
        {
            "counter_reset": ((change["processed_items"] < 0) | (change["failed_items"] < 0)).sum(),
            "total_changed": (change["total_items"] != 0).sum(),
            "gap": (rates["is_gap"] & ~rows["status"].isin(IDLE).shift(fill_value=False)).sum(),
            "stalled": stalled,
            "failure_burst": (burst.diff().dt.total_seconds().fillna(np.inf) > WINDOW_S).sum(),
            "inconsistent_counts": sum(problem.any() for problem in problems),
            "unknown_status": rows["status"][~rows["status"].isin(KNOWN)].nunique(),
        }
    )


def job_summary(rows: pd.DataFrame) -> pd.Series:
    rates, share = job_rates(rows).iloc[-1], job_shares(rows, None).iloc[-1]
    return pd.Series(
        {
            "samples": len(rows),
            "finished_items": rows["processed_items"].iloc[-1] + rows["failed_items"].iloc[-1],
            "mean_items_per_s": rates["done"] / rates["running"] if rates["running"] else np.nan,
            "last_items_per_s": rates["items_per_s"],
            "failure_rate_high": share["failure_rate_high"],
            "anomalies": job_anomalies(rows).sum(),
        }
    )


def apply(samples: pd.DataFrame, formula: Callable[..., pd.DataFrame | pd.Series], *args: object) -> pd.DataFrame:
    return samples.groupby("job_id", group_keys=False)[samples.columns.tolist()].apply(formula, *args)


# -- the same over all jobs at once, in pandas -----------------------------------------------------------------------


def interpolated(samples: pd.DataFrame, axis: pd.Series, edge: pd.Series, counters: pd.DataFrame) -> pd.DataFrame:
    """The counters at each row's left edge, by an as-of join on either side."""
    right = pd.concat([samples["job_id"], axis.rename("at"), counters], axis=1)
    following = right.groupby("job_id")[["at", *counters.columns]].shift(-1).add_suffix("_next")
    right = pd.concat([right, following], axis=1).sort_values("at", kind="stable")
    left = pd.DataFrame({"job_id": samples["job_id"], "edge": edge, "row": np.arange(len(edge))})
    found = pd.merge_asof(left.sort_values("edge", kind="stable"), right, left_on="edge", right_on="at", by="job_id")
    found = found.sort_values("row").set_index(samples.index)
    part = ((found["edge"] - found["at"]) / (found["at_next"] - found["at"])).fillna(0)
    return pd.DataFrame(
        {name: found[name] + part * (found[f"{name}_next"] - found[name]).fillna(0) for name in counters.columns}
    )


def vectorised(samples: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Throughput, cumulative and windowed failure rates."""
    job = samples["job_id"]
    finished = samples["processed_items"] + samples["failed_items"]
    rise = finished.groupby(job).diff().clip(lower=0).fillna(0)
    fails = samples["failed_items"].groupby(job).diff().clip(lower=0).fillna(0)
    step = samples["sampled_at"].groupby(job).diff().dt.total_seconds().fillna(0)
    started = ((samples["status"] == "in_progress").astype(bool) | (rise > 0)).groupby(job).cummax()
    runs = (started & ~samples["status"].isin(IDLE)).groupby(job).shift(fill_value=False).astype(bool)
    running, done = (step * runs).groupby(job).cumsum(), (rise * runs).groupby(job).cumsum()
    is_gap = step > 2.5 * step.where(step > 0).groupby(job).transform("median")
    in_gaps = (step * (runs & is_gap)).groupby(job).cumsum()
    edge = (running - WINDOW_S).clip(lower=0)
    at_edge = interpolated(samples, running, edge, pd.DataFrame({"done": done, "in_gaps": in_gaps}))
    width = running - edge
    says = (width >= WINDOW_S / 2) & (2 * (in_gaps - at_edge["in_gaps"]) <= width)
    rates = pd.DataFrame(
        {
            "finished_items": rise.groupby(job).cumsum(),
            "interval_items_per_s": (rise / step).where(runs),
            "items_per_s": ((done - at_edge["done"]) / width.where(width > 0)).where(says),
        }
    )
    failed_so_far, so_far = fails.groupby(job).cumsum(), rise.groupby(job).cumsum()
    first = finished.groupby(job).transform("first")
    whole = shares(failed_so_far + samples["failed_items"].groupby(job).transform("first"), so_far + first)
    clock = step.groupby(job).cumsum()
    counts = pd.DataFrame({"failed": failed_so_far, "finished": so_far})
    before = interpolated(samples, clock, (clock - WINDOW_S).clip(lower=0), counts)
    return rates, whole, shares(failed_so_far - before["failed"], so_far - before["finished"])

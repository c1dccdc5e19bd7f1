"""What changed: a job against the jobs before it, a week against the week before.

Conventions: compared are jobs that ended well or in part and were seen from their start; a job before another is one
whose first sample came earlier. The newest 30 count: older ones say little of today.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.metrics.summary import summary as summarize
from mops_analysis.metrics.throughput import throughput_by

#: What is compared.
MEASURES = ("elapsed_s", "mean_items_per_s", "failure_rate")
#: So many jobs make a usual range, and let the jobs of the same label stand alone.
ENOUGH = 5
_COMPARED_MOST = 30
_SEEN_FROM_START = 5.0  # a first sample beyond this share [%] tells nothing of how long the job took


def comparison(
    samples: pd.DataFrame, *, job_ids: str | Iterable[str] | None = None, summary: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Duration, throughput and failure rate of each job against the jobs before it.

    The jobs before are those of the same `label`, where there are five of them, else all. It tells that a job differs,
    not why: more items take longer.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    job_ids
        The job or jobs to compare with those before them; by default all.
    summary
        What `summary(samples)` returned, where it is at hand.

    Returns
    -------
    DataFrame
        Three rows per job: `job_id`; `measure` ("elapsed_s", "mean_items_per_s", "failure_rate"); `value` of the job;
        `jobs_before`, how many are compared (int64), and `same_label`, whether by label (bool); `median`, `low` and
        `high`, their median and 10 and 90 % quantiles; `change`, value / median - 1, NaN at median 0; `unusual`,
        outside low to high of at least five (bool). The duration of a job that has not ended, or was not seen from its
        start, is NaN.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or `summary` no summary.

    Examples
    --------
    Two jobs of 100 items, of 60 s and of 90 s:

    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": job, "sampled_at": f"2026-11-18T{hour}:0{t // 60}:{t % 60:02d}Z", "status": status,
    ...                    "progress_percentage": items, "processed_items": items, "total_items": 100,
    ...                    "failed_items": 0, "latency_s": 0.1} for job, hour, end in [("a", 14, 60), ("b", 15, 90)]
    ...                   for t, status, items in [(0, "in_progress", 0), (end, "completed", 100)]])
    >>> comparison(frame).loc[3:4, ["job_id", "measure", "value", "jobs_before", "median", "change"]].round(2)
      job_id           measure  value  jobs_before  median  change
    3      b         elapsed_s  90.00            1   60.00    0.50
    4      b  mean_items_per_s   1.11            1    1.67   -0.33
    """
    jobs = _measured(samples, summary)
    wanted = jobs["job_id"] if job_ids is None else {job_ids} if isinstance(job_ids, str) else set(job_ids)
    rows = [row for job in jobs["job_id"][jobs["job_id"].isin(wanted)] for row in _compare(job, jobs)]
    return pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES)


_DTYPES = {
    "job_id": "string",
    "measure": "string",
    "value": "float64",
    "jobs_before": "int64",
    "same_label": "bool",
    "median": "float64",
    "low": "float64",
    "high": "float64",
    "change": "float64",
    "unusual": "bool",
}


def comparable(samples: pd.DataFrame, job_id: str, *, summary: pd.DataFrame | None = None) -> pd.DataFrame:
    """The jobs that a job can be compared with, before or after it: their rows of the summary, its own first."""
    jobs = _measured(samples, summary)
    others = jobs[jobs["comparable"] & (jobs["job_id"] != job_id)].sort_values("last_sampled_at", kind="stable")
    return pd.concat([jobs[jobs["job_id"] == job_id], others.tail(_COMPARED_MOST)], ignore_index=True)


def usual_duration(compared: pd.DataFrame, job_id: str) -> tuple[int, float]:
    """How many other jobs `comparable` found, and the median of their durations [s]."""
    others = compared["elapsed_s"][compared["job_id"] != job_id]
    return len(others), float(others.median())


def baseline(summary: pd.DataFrame, job_id: str) -> tuple[float, float, float] | None:
    """Return the median, 10 and 90 % quantile of the other jobs that have ended; None where they are not even five."""
    others = summary[summary["terminal"] & (summary["job_id"] != job_id)]["failure_rate"].dropna()
    if len(others) < ENOUGH:
        return None
    median, low, high = np.quantile(others, [0.5, 0.1, 0.9])
    return float(median), float(low), float(high)


def _measured(samples: pd.DataFrame, summary: pd.DataFrame | None) -> pd.DataFrame:
    """The summary, with the jobs that can be compared marked, and no duration where it was not seen."""
    jobs = summarize(samples) if summary is None else summary
    needed = ("job_id", "status", "terminal", "first_sampled_at", *MEASURES)
    schema.require(jobs, needed, "summary: expected what summary(samples) returned")
    first = schema.validate(samples).drop_duplicates("job_id").set_index("job_id")["progress_percentage"]
    seen = jobs["job_id"].map(first).to_numpy(dtype=float) <= _SEEN_FROM_START
    ended_well = jobs["status"].isin(schema.FINISHED_STATUSES)
    duration = jobs["elapsed_s"].where(seen & jobs["terminal"])
    return jobs.assign(elapsed_s=duration, comparable=seen & ended_well)


def _compare(job_id: str, jobs: pd.DataFrame) -> list[dict[str, Any]]:
    job = jobs[jobs["job_id"] == job_id].iloc[0]
    before = jobs[jobs["comparable"] & (jobs["first_sampled_at"] < job["first_sampled_at"])]
    same = before[before["label"] == job["label"]] if "label" in jobs else before.iloc[:0]
    same_label = len(same) >= ENOUGH
    earlier = (same if same_label else before).sort_values("first_sampled_at", kind="stable").tail(_COMPARED_MOST)
    rows = []
    for measure in MEASURES:
        known, value = earlier[measure].dropna().to_numpy(dtype=float), float(job[measure])
        low, median, high = np.quantile(known, [0.1, 0.5, 0.9]) if known.size else (np.nan,) * 3
        rows.append(
            {
                "job_id": job_id,
                "measure": measure,
                "value": value,
                "jobs_before": known.size,
                "same_label": same_label,
                "median": median,
                "low": low,
                "high": high,
                "change": value / median - 1 if median > 0 else np.nan,
                "unusual": known.size >= ENOUGH and (value < low or value > high),
            }
        )
    return rows


def week_on_week(samples: pd.DataFrame, *, tz: str | tzinfo = "UTC") -> pd.DataFrame:
    """Items finished per week, against the same days of the week before.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    tz
        Zone whose days and weeks are meant; weeks begin on Monday.

    Returns
    -------
    DataFrame
        One row per week with samples: `week_start` (aware, in `tz`), `days` with samples, `finished_items`,
        `failed_items`, `failure_rate`, and `change`: finished items over those of the week before, less 1, both of the
        days of the week that have samples in both weeks; NaN where there are none, or nothing was finished on them.
        The last day of the samples is as long as they are.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or the zone unknown.

    Examples
    --------
    100 items on a Wednesday, 150 on the next:

    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": day, "sampled_at": f"2026-11-{day}T1{hour}:00Z", "status": "in_progress",
    ...                    "progress_percentage": 0, "processed_items": items * hour, "total_items": 150,
    ...                    "failed_items": 0, "latency_s": 0.1}
    ...                   for day, items in [("11", 100), ("18", 150)] for hour in (0, 1)])
    >>> week_on_week(frame)[["week_start", "finished_items", "change"]]
                     week_start  finished_items  change
    0 2026-11-09 00:00:00+00:00           100.0     NaN
    1 2026-11-16 00:00:00+00:00           150.0     0.5
    """
    daily = throughput_by(samples, every="1D", by=None, tz=tz)
    wall = daily["period_start"].dt.tz_localize(None)
    day = wall.dt.day_of_week
    monday = (wall - pd.to_timedelta(day, unit="D")).rename("week_start")
    counts = ["finished_items", "failed_items"]
    weeks = daily.groupby(monday)[counts].sum().assign(days=daily.groupby(monday).size()).reset_index()
    by_day = pd.Series(daily["finished_items"].to_numpy(), index=wall)
    before = by_day.reindex(wall - pd.Timedelta(days=7)).set_axis(daily.index)
    base = before.groupby(monday).sum().to_numpy()
    same_days = daily["finished_items"].where(before.notna()).groupby(monday).sum().to_numpy()
    finished = weeks["finished_items"].to_numpy()
    change = np.divide(same_days, base, out=np.full(len(weeks), np.nan), where=base > 0) - 1
    rate = np.divide(weeks["failed_items"].to_numpy(), finished, out=np.full(len(weeks), np.nan), where=finished > 0)
    start = weeks["week_start"].dt.tz_localize(daily["period_start"].dt.tz, nonexistent="shift_forward")
    table = weeks.assign(week_start=start, failure_rate=rate, change=change)
    return table[["week_start", "days", *counts, "failure_rate", "change"]]

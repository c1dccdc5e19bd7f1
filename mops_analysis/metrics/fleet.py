"""All jobs together: how many run, when the last is done, and which one needs a look."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.metrics.arrays import Arrays, IncludesFailed, Ints, median_by_job, nanoseconds
from mops_analysis.metrics.counting import Votes, failed_as_served, finished_as_served, includes_failed, rises, votes
from mops_analysis.metrics.failures import per_usual, wilson
from mops_analysis.metrics.summary import instant
from mops_analysis.metrics.summary import summary as summary_of
from mops_analysis.metrics.throughput import RateClock, window_rates, zone_of

_ENOUGH = 5  # ended jobs before their failure rates say what is usual
_OF_SUMMARY = ("job_id", "status", "last_sampled_at", "ended_before", "failure_rate", "eta", "eta_low", "eta_high")
_UTC = "datetime64[ns, UTC]"


def fleet(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    summary: pd.DataFrame | None = None,
    window: float | str | pd.Timedelta = "2min",
    failure_window: float | str | pd.Timedelta = "30min",
    now: datetime | str | None = None,
    tz: str | tzinfo = "UTC",
) -> pd.DataFrame:
    """All jobs in one row: counts, the finish of the last job, throughput, failures, the one that slowed most.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    processed_includes_failed
        The counting rule, see `counting`.
    summary
        What `summary(samples)` returned, where it is at hand already.
    window
        Width of the trailing throughput window, see `throughput`.
    failure_window
        Only what finished within so long before `now` counts for the failure rate; seconds or an offset string.
    now
        The present, with a zone. None: the newest sample.
    tz
        Zone whose midnight begins "today".

    Returns
    -------
    DataFrame
        One row, with

        - `running`, `pending`, the number of jobs in these statuses;
        - `all_done_by`, `all_done_by_low`, `all_done_by_high`, the latest of the running jobs' forecasts, NaT where
          there is none; `unforecast`, the number of running jobs without one;
        - `items_per_s`, of all running jobs together, NaN where none is known [items/s];
        - `failure_rate`, `failure_rate_low`, `failure_rate_high`, of all items that finished in the failure window,
          95 %; `failure_rate_usual`, the median of the jobs that have ended, NaN below five of them;
          `failures_per_usual`, the rate divided by it;
        - `ended_today`, and of these `ended_well_today`, `ended_partly_today` and `ended_badly_today`;
        - `slowest_job_id`, the running job whose newest rate is the lowest share of the median of its own rates;
          `slowest_share`, that share, and `slowest_items_per_s`; empty where no rate is known.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, `summary` no summary, a window no duration, `now` no time with a zone, or
        there is no such zone.

    Notes
    -----
    The last of several jobs is not done before the latest of their low ends, and by the latest of their high ends
    only if each keeps its own: the interval of `all_done_by` is that of one job, and a little narrow for many.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:0{minute}:00Z", "status": "in_progress",
    ...                    "progress_percentage": items / 6, "processed_items": items, "total_items": 600,
    ...                    "failed_items": 0, "latency_s": 0.1} for minute, items in enumerate([0, 60, 120, 150])])
    >>> fleet(frame, window="1min")[["running", "items_per_s", "slowest_job_id", "slowest_share"]]
       running  items_per_s slowest_job_id  slowest_share
    0        1          0.5          job-1            0.5
    """
    checked = schema.validate(samples)
    jobs = summary_of(checked, processed_includes_failed=processed_includes_failed) if summary is None else summary
    schema.require(jobs, _OF_SUMMARY, "summary: expected what summary(samples) returned")
    present = jobs["last_sampled_at"].max() if now is None else instant(now)
    # Jobs that ended long ago count no more, but they still say how the service counts.
    rule = votes(checked) if processed_includes_failed == "auto" else processed_includes_failed
    since = start_of(failure_window, present)
    running, recent = (
        checked[checked["job_id"].isin(jobs["job_id"][counts])] for counts in (is_running(jobs), is_recent(jobs, since))
    )
    rates = newest_rates(running, processed_includes_failed=rule, window=window)
    tails = work_of_late(recent, processed_includes_failed=rule, since=since)
    return together(jobs, rates, tails.values(), since, present, tz=tz)


def is_running(jobs: pd.DataFrame) -> pd.Series[bool]:
    """Which jobs of a summary run."""
    return jobs["status"] == schema.RUNNING_STATUS


def start_of(failure_window: float | str | pd.Timedelta, now: pd.Timestamp) -> pd.Timestamp:
    """When the failure window begins that ends now; NaT where that is."""
    return now - pd.Timedelta(nanoseconds(failure_window, "failure_window"), unit="ns")


def is_recent(jobs: pd.DataFrame, since: pd.Timestamp) -> pd.Series[bool]:
    """Which jobs of a summary were seen after the start of the failure window."""
    return jobs["last_sampled_at"] > since


def newest_rates(
    samples: pd.DataFrame,
    *,
    window: float | str | pd.Timedelta,
    processed_includes_failed: IncludesFailed | Votes = "auto",
) -> pd.DataFrame:
    """What `together` needs of each job that runs; under one counting rule it changes only with its samples.

    Returns
    -------
    DataFrame
        One row per job: `job_id`; `items_per_s` at the last sample, and `usual_items_per_s`, the median of those at all
        samples [items/s].
    """
    arrays = Arrays.of(samples)
    width = nanoseconds(window, "window")
    rule = includes_failed(arrays, processed_includes_failed)
    columns = np.empty((2, len(arrays.job_ids)))
    for _, jobs, block in arrays.blocks():
        served = finished_as_served(block, rule[jobs])
        clock = RateClock.of(block, served)
        finished = clock.finished(block, rises(block, served))
        rate = np.concatenate([rate for _, rate in window_rates(block, clock, finished, width)])
        known = ~np.isnan(rate)
        columns[:, jobs] = rate[block.last], median_by_job(rate[known], block.sums(known))
    names = ("items_per_s", "usual_items_per_s")
    return pd.DataFrame({"job_id": pd.array(arrays.job_ids, dtype="string"), **dict(zip(names, columns, strict=True))})


class Tail(NamedTuple):
    """The newest samples of a job: when they were taken, and what had failed and finished by then, from some start on.

    Attributes
    ----------
    last_ns
        Time of the last sample since the epoch [ns].
    since_last
        Time of each since the last one, 0 or less [ns].
    failed, finished
        Items, falls removed.
    """

    last_ns: int
    since_last: Ints
    failed: Ints
    finished: Ints

    def rise(self, since_ns: int, until_ns: int) -> tuple[float, float]:
        """Failed and finished items between two times, both counters running straight from sample to sample."""
        ends = np.array([since_ns - self.last_ns, until_ns - self.last_ns])
        failed, finished = (np.interp(ends, self.since_last, counts) for counts in (self.failed, self.finished))
        return float(failed[1] - failed[0]), float(finished[1] - finished[0])


def work_of_late(
    samples: pd.DataFrame,
    *,
    since: pd.Timestamp,
    processed_includes_failed: IncludesFailed | Votes = "auto",
) -> dict[str, Tail]:
    """The samples of each job from a time on, and the one before it; all that a window needs that begins later."""
    arrays = Arrays.of(samples)
    rule = includes_failed(arrays, processed_includes_failed)
    tails = {}
    for _, jobs, block in arrays.blocks():
        served = failed_as_served(block), finished_as_served(block, rule[jobs])
        failed, finished = (block.so_far(rises(block, counter)) for counter in served)
        ends = block.edges[1:].tolist()
        for job_id, first, end in zip(block.job_ids.tolist(), block.first.tolist(), ends, strict=True):
            before = int(np.searchsorted(block.time_ns[first:end], since.value, side="right")) - 1
            rows, last_ns = slice(first + max(before, 0), end), int(block.time_ns[end - 1])
            tails[job_id] = Tail(last_ns, block.time_ns[rows] - last_ns, failed[rows].copy(), finished[rows].copy())
    return tails


def together(
    jobs: pd.DataFrame,
    rates: pd.DataFrame,
    tails: Iterable[Tail],
    since: pd.Timestamp,
    now: pd.Timestamp,
    *,
    tz: str | tzinfo = "UTC",
) -> pd.DataFrame:
    """The row of `fleet`, from the summary of all jobs, the rates of those that run, the work of those seen lately."""
    running = jobs[is_running(jobs)]
    latest = {f"all_done_by{end}": _time(running[f"eta{end}"].max()) for end in ("", "_low", "_high")}
    return pd.DataFrame(
        {
            "running": [len(running)],
            "pending": [int((jobs["status"] == schema.PENDING_STATUS).sum())],
            **latest,
            "unforecast": [int(running["eta"].isna().sum())],
            **_pace(rates[rates["job_id"].isin(running["job_id"])]),
            **_failures([tail.rise(since.value, now.value) for tail in tails], jobs),
            **_ended(jobs, now, tz),
        }
    )


def _time(moment: Any) -> pd.Series[Any]:
    return pd.Series([moment], dtype=_UTC)


def _pace(rates: pd.DataFrame) -> dict[str, Any]:
    newest = rates.set_index("job_id").dropna(subset=["items_per_s"])
    usual = newest["usual_items_per_s"]
    share = (newest["items_per_s"] / usual.where(usual > 0)).dropna()
    slowest = share.nsmallest(1)
    return {
        "items_per_s": [newest["items_per_s"].sum() if len(newest) else np.nan],
        "slowest_job_id": pd.array(slowest.index.tolist() or [None], dtype="string"),
        "slowest_share": [share.min()],
        "slowest_items_per_s": [newest["items_per_s"].reindex(slowest.index).min()],
    }


def _failures(rises: list[tuple[float, float]], jobs: pd.DataFrame) -> dict[str, Any]:
    failed, finished = (np.array([sum(items)]) for items in zip(*[(0.0, 0.0), *rises], strict=True))
    rate, low, high = wilson(failed, finished, 0.95)
    ended = jobs.loc[jobs["status"].isin(schema.TERMINAL_STATUSES), "failure_rate"].dropna()
    usual = ended.median() if len(ended) >= _ENOUGH else np.nan
    return {
        "failure_rate": rate,
        "failure_rate_low": low,
        "failure_rate_high": high,
        "failure_rate_usual": [usual],
        "failures_per_usual": [per_usual(rate[0], usual)],
    }


def _ended(jobs: pd.DataFrame, now: pd.Timestamp, tz: str | tzinfo) -> dict[str, Any]:
    midnight = now.tz_convert(zone_of(tz)).normalize() if pd.notna(now) else now
    today = jobs[jobs["status"].isin(schema.TERMINAL_STATUSES) & (jobs["ended_before"] >= midnight)]
    well = int(today["status"].isin(schema.GOOD_STATUSES).sum())
    partly = int((today["status"] == "partial_success").sum())
    return {
        "ended_today": [len(today)],
        "ended_well_today": [well],
        "ended_partly_today": [partly],
        "ended_badly_today": [len(today) - well - partly],
    }

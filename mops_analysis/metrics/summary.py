"""Everything that an analyst asks first, one row per job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.metrics.anomalies import find_events
from mops_analysis.metrics.arrays import NS, Arrays, Bools, Floats, IncludesFailed, Ints, Trail, quotient
from mops_analysis.metrics.counting import counted, failed_as_served, finished_as_served, includes_failed, rises
from mops_analysis.metrics.eta import COLUMNS, eta, forecast_at
from mops_analysis.metrics.failures import wilson
from mops_analysis.metrics.throughput import IDLE_STATUSES, RateClock, window_rate

_WINDOW = 120 * NS  # the default of `throughput` and `anomalies`
_CONFIDENCE = 0.95  # the default of `failure_rate`
_NAT = np.iinfo(np.int64).min


def summary(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    now: datetime | str | None = None,
    forecast: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Everything at once: status, times, counts, rates, failures, forecast and number of anomalies of each job.

    A job starts and ends between two samples: both bounds are given.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    processed_includes_failed
        The counting rule, see `counting`.
    now
        The present, with a zone: jobs that have not ended have run until then. None: until their last sample.
    forecast
        What `eta(samples)` returned, where it is at hand already; without it, `summary` computes it.

    Returns
    -------
    DataFrame
        One row per job, sorted, with

        - `job_id`, `status` at the last sample, `terminal` (bool), `first_sampled_at`, `last_sampled_at`;
        - `started_after`, `started_before`: the last sample that shows the job waiting, and the first that shows it
          started (in progress, in review, ended, or with finished items); NaT where there is none, so that
          `started_after` is NaT for a job that ran when sampling began;
        - `ended_after`, `ended_before`: likewise, of the last samples in terminal statuses;
        - `elapsed_s` from `started_before` to `ended_before`, or to `now` or the last sample [s]; NaN for a job that
          has not started, or was over at its first sample;
        - `samples`, their number; `total_items`, `finished_items`, `failed_items` at the last sample, by the service's
          counters [items]; `share_done`, finished / total within 0-1, at total 0 NaN, or 1 where the job completed;
        - `mean_items_per_s` over all the time of the rate clock, `last_items_per_s` over the last two minutes of it
          (see `throughput`) [items/s];
        - `failure_rate`, `failure_rate_low`, `failure_rate_high` since the job's start, 95 % (see `failure_rate`);
        - `remaining_s`, `remaining_low_s`, `remaining_high_s` [s], `eta`, `eta_low`, `eta_high` as of the last sample
          (see `eta`);
        - `anomalies`, their number (see `anomalies`); `label` where the samples have one, at the job's first sample.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, `now` no time with a zone, or `forecast` is none of these samples.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:0{minute}:00Z", "status": status,
    ...                    "progress_percentage": items, "processed_items": items, "total_items": 100,
    ...                    "failed_items": 0, "latency_s": 0.1}
    ...                   for minute, (status, items) in enumerate([("pending", 0), ("in_progress", 0),
    ...                                                             ("in_progress", 60), ("completed", 100)])])
    >>> summary(frame)[["status", "elapsed_s", "finished_items", "share_done", "mean_items_per_s"]]
          status  elapsed_s  finished_items  share_done  mean_items_per_s
    0  completed      120.0             100         1.0          0.833333
    """
    arrays = Arrays.of(samples)
    until = None if now is None else instant(now).value
    rule = includes_failed(arrays, processed_includes_failed)
    parts = [_block_summary(block, rule[jobs], until) for _, jobs, block in arrays.blocks()]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name in columns:
        if name.endswith(("_at", "_after", "_before")):
            columns[name] = pd.DatetimeIndex(columns[name].view("datetime64[ns]"), tz="UTC")
    columns["status"] = pd.array(columns["status"], dtype="string")
    anomalies = columns.pop("anomalies")
    said = _forecast(arrays, columns["terminal"], processed_includes_failed, forecast)
    return pd.DataFrame(
        {
            "job_id": pd.array(arrays.job_ids, dtype="string"),
            **columns,
            **said,
            "anomalies": anomalies,
            **arrays.label(),
        }
    )


def instant(now: datetime | str) -> pd.Timestamp:
    """The present that a caller gave, in nanoseconds; SchemaError where it is no time, or has no zone."""
    refusal = SchemaError(f"now: expected a time with a zone, got {now!r}; say pandas.Timestamp.now('UTC')")
    try:
        moment = pd.Timestamp(now).as_unit("ns")
    except (ValueError, TypeError):
        raise refusal from None
    if pd.isna(moment) or moment.tzinfo is None:
        raise refusal
    return moment


def _block_summary(block: Arrays, includes_failed: Bools, until: int | None) -> dict[str, npt.NDArray[Any]]:
    """The columns that need no other metric, one value per job; times in ns."""
    last, time = block.last, block.time_ns
    is_terminal = block.is_status(schema.TERMINAL_STATUSES)
    finished, total, failed = finished_as_served(block, includes_failed), block.total[last], block.failed[last]
    started = _started(block, finished)
    ended = _ended(block, is_terminal)
    completed = block.is_status(schema.GOOD_STATUSES)[last]
    clock = RateClock.of(block, finished)
    rates, events = _rates(block, finished, clock), find_events(block, finished, clock, _WINDOW)
    del clock  # of a long job it takes much memory; `find_events` lets go of it half-way
    rate, low, high = wilson(counted(block, failed_as_served(block))[last], counted(block, finished)[last], _CONFIDENCE)
    return {
        "status": np.asarray(block.status_words[last], dtype=object),
        "terminal": is_terminal[last],
        "first_sampled_at": time[block.first],
        "last_sampled_at": time[last],
        **_bounds(block, "started", started),
        **_bounds(block, "ended", ended),
        "elapsed_s": _elapsed(block, started, ended, until),
        "samples": np.diff(block.edges),
        "total_items": total,
        "finished_items": finished[last],
        "failed_items": failed,
        "share_done": _share_done(finished[last], total, completed),
        **rates,
        "failure_rate": rate,
        "failure_rate_low": low,
        "failure_rate_high": high,
        "anomalies": sum((block.count(kind.row) for kind in events), np.zeros(len(last), np.int64)),
    }


def _rates(block: Arrays, finished: Ints, clock: RateClock) -> dict[str, Floats]:
    """Items per second over all the time of the rate clock, and over its last window (k)."""
    last = block.last
    window = Trail.of(block, clock.running, _WINDOW).window(last)
    done = clock.finished(block, rises(block, finished))
    ran = clock.running[last]
    return {
        "mean_items_per_s": quotient(done[last] * 1e9, ran, where=ran > 0),
        "last_items_per_s": window_rate(window.rise(done), window.rise(clock.in_gaps(block)), window.width, _WINDOW),
    }


def _forecast(
    arrays: Arrays,
    is_terminal: Bools,
    processed_includes_failed: IncludesFailed,
    known: pd.DataFrame | None,
) -> pd.DataFrame:
    """The forecast at each last sample; a job that has ended has none, and costs nothing if none learns from it."""
    if known is not None:
        return forecast_at(arrays, arrays.last, known).reset_index(drop=True)
    learns = ~is_terminal | _is_lesson(arrays, is_terminal)
    row, learning = arrays.only(learns)
    forecast = eta(arrays.samples.iloc[arrays.caller(row)], processed_includes_failed=processed_includes_failed)
    newest = forecast[list(COLUMNS)].iloc[learning.last].set_axis(np.flatnonzero(learns))
    return newest.reindex(np.arange(len(learns)))


def _is_lesson(arrays: Arrays, is_terminal: Bools) -> Bools:
    """Which jobs have the label of one that runs: `eta` learns from them (k)."""
    label = arrays.label().get("label")
    if label is None:
        return np.zeros(len(is_terminal), dtype=bool)
    return label.isin(label[~is_terminal].dropna()).to_numpy(dtype=bool)


def _started(block: Arrays, finished: Ints) -> Ints:
    """The first row that shows the job started, -1 where none does (k)."""
    shows = block.is_status({schema.RUNNING_STATUS, *IDLE_STATUSES}) | (finished > 0)
    return block.first_of(np.flatnonzero(shows))


def _ended(block: Arrays, is_terminal: Bools) -> Ints:
    """The first of the job's last rows in terminal statuses, -1 where the job has not ended (k)."""
    begins = np.flatnonzero(is_terminal & ~block.previous(is_terminal))
    newest = np.append(begins, -1)[np.searchsorted(begins, block.last, side="right") - 1]
    return np.where(is_terminal[block.last], newest, -1)


def _bounds(block: Arrays, name: str, row: Ints) -> dict[str, Ints]:
    before = np.where(row < 0, _NAT, block.time_ns[row])
    after = np.where((row < 0) | (row == block.first), _NAT, block.time_ns[np.maximum(row - 1, 0)])
    return {f"{name}_after": after, f"{name}_before": before}


def _elapsed(block: Arrays, started: Ints, ended: Ints, until: int | None) -> Floats:
    time, last = block.time_ns, block.time_ns[block.last]
    running_until = last if until is None else np.maximum(last, until)
    end = np.where(ended < 0, running_until, time[ended])
    # Of a job that was over when it was first seen, nobody knows how long it took.
    is_unknown = (started < 0) | (ended == block.first)
    return np.where(is_unknown, np.nan, (end - time[started]) / NS)


def _share_done(finished: Ints, total: Ints, completed: Bools) -> Floats:
    share = np.clip(quotient(finished, total, where=total > 0), 0, 1)
    return np.where((total <= 0) & completed, 1.0, share)

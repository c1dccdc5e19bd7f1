"""Estimated time of arrival: the seconds that a running job still needs, with an interval that keeps its word.

Source: the windows are weighted by what they would have forecast so far, after "A statistical approach towards robust
progress estimation" (König, Ding, Chaudhuri, Narasayya, 2011), which chooses among estimators by their past
performance. The derivation, the comparison with progress bars and the calibration stand in ``docs/eta.md``.

Conventions: everything is causal, row by row: no answer uses a sample taken later. Without a column `label` none uses
another job; with one, those of the same label that had finished before the job began. ``t``, ``u``, ticks
and events as in `metrics.running`; ``R`` is the work left, ``delta`` the mean time between polls.

The steps, each one function:

====================  ======================================================================================
`count_work`          one honest counter per job: t, u, N, R
`find_events`         when the counter moved, as exactly as the polls tell
`find_pace`           logarithm of the seconds per item: eleven windows, weighted by their own past forecasts
`estimate_remaining`  pace times work left, with growth of the total, credit for a batch under way, and stalls
`correct`             what a small network makes of forty inputs about how the job has gone: a correction, and how
                      far the truth may lie off; without it, `_offsets`, from how far past forecasts were off
`learn`               correct both by what finished jobs of the same label have taught
`_hold`               keep the finish on display unless there is news
====================  ======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from numbers import Real
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import Arrays, Bools, Floats, IncludesFailed, Ints, stretches
from mops_analysis.metrics.correction import correct
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.history import Outlook, learn
from mops_analysis.metrics.pace import ERROR_FLOOR, Estimate, Ticking, estimate_remaining, log_pace_since
from mops_analysis.metrics.running import Running, by_stretch, count_work

#: The interval's offsets: softplus of a linear form in the nine inputs of `_offsets`.
_LOW = (-0.92, 0.01, 0.381, 1.183, 0.302, -0.209, 0.383, 0.234, 0.069)
_HIGH = (1.129, -0.005, 0.266, 0.368, 0.173, -0.517, 1.028, -0.171, -0.149)
_FITTED_INTERVAL = 0.8
#: Other intervals scale them by their normal score to this power: surprises have longer tails than the normal law.
_TAIL_POWER = 1.7
_MAX_OFFSET = 50
#: News of fewer own widths leaves the finish on display where it is.
_HOLD = 0.03


def eta(
    samples: pd.DataFrame,
    *,
    interval: float = 0.8,
    processed_includes_failed: IncludesFailed = "auto",
    correction: bool = True,
    known: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Remaining seconds and finishing time of each job, foretold at each of its samples.

    Each row is answered from what was sampled up to that row: what `eta` says about yesterday is what it would have
    said yesterday. Nothing is said (NaN, NaT) unless the job is ``in_progress``, its counter has risen since the first
    sample, and the work left is known. Jobs without a total are forecast by their percentage.

    Where the samples have a column `label`, a job also learns from the jobs of its label that had finished before it
    began: how far their forecasts were off at each share done, and how often their intervals held.

    Parameters
    ----------
    samples
        Frame as in `schema`, n rows in any order; a column `label` names the kind of job.
    interval
        Share of cases in which the truth is to lie between low and high, more than 0 and less than 1.
    processed_includes_failed
        Whether `processed_items` counts the failed items, too; "auto" decides anew at each row from the served
        percentages up to that row.
    correction
        Whether the learned correction has a say. Without it, the estimate is pace times work left, and each of its
        steps can be followed by hand.
    known
        What `eta` said, with the same options, when it knew fewer of these samples. Those answers are taken over and
        only the new rows are computed; a job without new rows costs next to nothing. A job that does not begin with its
        known rows is computed anew. The result is the same, as long as what was sampled at the known times is; under
        labels, samples must also have come in the order of time, see ``docs/eta.md``.

    Returns
    -------
    DataFrame
        n rows with the index of `samples`: `job_id`, `sampled_at`, `remaining_s`, `remaining_low_s`,
        `remaining_high_s` float64 [s], `eta`, `eta_low`, `eta_high` datetime64[ns, UTC]. `remaining_s` is the median;
        it does not depend on `interval`. The options stand in its `attrs`.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, `known` no forecast or, by its `attrs`, one with other options, or an option
        is out of range.

    Notes
    -----
    Time waiting for a start or a review does not count. Eleven windows give a pace each; each is weighted by how well
    it would have forecast the newest fifth and half of the work so far. See ``docs/eta.md`` for the formulas, their
    sources, and how often the interval held on jobs that it was not fitted to.

    Examples
    --------
    Ten items in ten seconds, then ten more in ten seconds; 20 of 40 are left:

    >>> times = pd.to_datetime(["2026-11-18T14:00:00Z", "2026-11-18T14:00:10Z", "2026-11-18T14:00:20Z"])
    >>> samples = pd.DataFrame({"job_id": "job-1", "sampled_at": times, "status": "in_progress",
    ...                         "progress_percentage": [0.0, 25.0, 50.0], "processed_items": [0, 10, 20],
    ...                         "total_items": 40, "failed_items": 0, "latency_s": 0.1})
    >>> eta(samples)["remaining_s"].round(6).tolist()
    [nan, 30.0, 20.0]
    >>> print(eta(samples).loc[2, "eta"])
    2026-11-18 14:00:40+00:00

    With the answers to the first two samples at hand, only the third is computed:

    >>> eta(samples, known=eta(samples.head(2)))["remaining_s"].round(6).tolist()
    [nan, 30.0, 20.0]
    """
    arrays = Arrays.of(samples)
    options = _options(interval, processed_includes_failed, correction)
    if known is not None:
        _check_known(known, options)
    return _frame(arrays, remaining_seconds(arrays, interval, processed_includes_failed, correction, known), options)


#: What `eta` returns beside the key: three durations and three times.
COLUMNS = ("remaining_s", "remaining_low_s", "remaining_high_s", "eta", "eta_low", "eta_high")


def remaining_seconds(
    arrays: Arrays,
    interval: float,
    processed_includes_failed: IncludesFailed,
    correction: bool = True,
    known: pd.DataFrame | None = None,
) -> Floats:
    """Median, low and high of the remaining seconds (3 x n), in the sorted order of `arrays`."""
    (seconds,) = _fan_seconds(arrays, (interval,), processed_includes_failed, correction, known)
    return seconds


def fan(samples: pd.DataFrame, intervals: Sequence[float]) -> list[pd.DataFrame]:
    """Return what `eta` says for each of the intervals, with most of the work done once."""
    arrays = Arrays.of(samples)
    every = zip(intervals, _fan_seconds(arrays, intervals, "auto", True, None), strict=True)
    return [_frame(arrays, remaining, _options(interval, "auto", True)) for interval, remaining in every]


def _frame(arrays: Arrays, remaining: Floats, options: dict[str, Any]) -> pd.DataFrame:
    times = [_add_seconds(arrays.time_ns, seconds) for seconds in remaining]
    frame = arrays.frame(dict(zip(COLUMNS, [*remaining, *times], strict=True)))
    frame.attrs.update(options)
    return frame


def _options(interval: float, processed_includes_failed: IncludesFailed, correction: bool) -> dict[str, Any]:
    """The options as plain values, which a file can hold."""
    is_said = isinstance(processed_includes_failed, bool | np.bool_)
    rule = bool(processed_includes_failed) if is_said else "auto"
    return {"interval": _share(interval), "processed_includes_failed": rule, "correction": bool(correction)}


def _check_known(known: pd.DataFrame, options: dict[str, Any]) -> None:
    """Refuse what is no forecast, or one with other options, where it still tells its own."""
    expected = "known: expected what eta() returned for fewer samples"
    if not isinstance(known, pd.DataFrame):
        raise SchemaError(f"{expected}, got {type(known).__name__}")
    if missing := [name for name in ("job_id", "sampled_at", *COLUMNS[:3]) if name not in known]:
        raise SchemaError(f"{expected}; column {missing[0]!r} is missing")
    for name, value in options.items():
        if (former := known.attrs.get(name, value)) != value:
            raise SchemaError(
                f"{expected} with the same options; {name} was {former!r} and is {value!r} now; "
                f"pass {name}={former!r}, or leave known out"
            )


def _fan_seconds(
    arrays: Arrays,
    intervals: Sequence[float],
    processed_includes_failed: IncludesFailed,
    correction: bool,
    known: pd.DataFrame | None,
) -> list[Floats]:
    """The remaining seconds (3 x n) for each interval."""
    widths = [_relative_width(interval) for interval in intervals]
    said = _Said.of(arrays, known)
    is_moved = _to_compute(arrays, said)
    moved = arrays.only(is_moved)[1]
    shift = arrays.first[is_moved] - moved.first
    learns = bool(arrays.label())
    skipped = said.rows[is_moved] * (not learns)  # known rows teach, too
    outlooks = (
        outlook
        for rows, jobs, block in moved.blocks()
        for outlook in _outlooks(block, rows.start, processed_includes_failed, correction, skipped[jobs])
    )
    fan = [said.seconds, *(said.seconds.copy() for _ in widths[1:])]  # filled where it lies
    shown = math.nan
    for outlook in _taught(moved, outlooks) if learns else outlooks:
        at = outlook.row + shift[np.searchsorted(moved.edges, outlook.row, side="right") - 1]
        is_new = ~said.is_known[at]
        news = _as_said(outlook, said.seconds[0, at], ~is_new)
        median, shown = _hold(news, shown)
        for seconds, width in zip(fan, widths, strict=True):
            seconds[:, at] = np.where(is_new, _forecast(news, median, width), seconds[:, at])
        said.is_known[at] = True
    for seconds in fan:
        seconds[:, ~said.is_known] = np.nan
    return fan


def forecast_at(arrays: Arrays, rows: Ints, forecast: pd.DataFrame) -> pd.DataFrame:
    """Return what a forecast at hand says at some rows of `arrays`, in their order; refuse one of other samples."""
    refusal = SchemaError("forecast: expected what eta(samples) returned, one row for each of these samples")
    if (
        not isinstance(forecast, pd.DataFrame)
        or not forecast.index.equals(arrays.samples.index)
        or not {"job_id", "sampled_at", *COLUMNS} <= set(forecast)
    ):
        raise refusal
    found = forecast.iloc[arrays.caller(rows)]
    jobs = arrays.job_ids[np.searchsorted(arrays.edges, rows, side="right") - 1]
    times = pd.DatetimeIndex(found["sampled_at"]).as_unit("ns").asi8
    if not np.array_equal(times, arrays.time_ns[rows]) or not np.array_equal(found["job_id"].to_numpy(object), jobs):
        raise refusal
    return found[list(COLUMNS)]


@dataclass(frozen=True)
class _Said:
    """What has been said before about the first rows of k jobs.

    Attributes
    ----------
    rows
        How many of each job's first rows it is about (k).
    seconds
        Median, low and high of the remaining seconds; anything at the other rows (3 x n).
    is_known
        Whether the row is one of them (n).
    """

    rows: Ints
    seconds: Floats
    is_known: Bools

    @classmethod
    def of(cls, arrays: Arrays, known: pd.DataFrame | None) -> _Said:
        """Find the known rows among the samples; a job that does not begin with its known rows has none."""
        every = len(arrays.time_ns)
        said = cls(np.zeros(len(arrays.job_ids), dtype=np.int64), np.empty((3, every)), np.zeros(every, dtype=bool))
        if known is None:
            return said
        if not schema.is_ordered(known):
            known = known.sort_values(["job_id", "sampled_at"], kind="stable")
        seconds = known[list(COLUMNS[:3])].to_numpy(dtype=np.float64).T
        time_ns = pd.DatetimeIndex(known["sampled_at"]).as_unit("ns").asi8
        starts = schema.changes(known["job_id"].array)
        jobs = pd.Index(arrays.job_ids).get_indexer(pd.Index(known["job_id"].iloc[starts], dtype=object))
        for job, (start, end) in zip(jobs.tolist(), pairwise([*starts.tolist(), len(known)]), strict=True):
            rows = slice(int(arrays.edges[job]), min(int(arrays.edges[job]) + end - start, int(arrays.edges[job + 1])))
            if job >= 0 and np.array_equal(arrays.time_ns[rows], time_ns[start:end]):
                said.rows[job] = end - start
                said.seconds[:, rows] = seconds[:, start:end]
                said.is_known[rows] = True
        return said


def _to_compute(arrays: Arrays, said: _Said) -> Bools:
    """The jobs with new rows, and those of the same label: from them they may learn (k)."""
    is_moved = said.rows < np.diff(arrays.edges)
    label = arrays.label().get("label")
    return is_moved if label is None else is_moved | label.isin(label[is_moved].dropna()).to_numpy(dtype=bool)


def _taught(arrays: Arrays, outlooks: Iterable[Outlook]) -> Iterator[Outlook]:
    """The outlooks with what finished jobs have taught: known when all jobs are seen."""
    taught = learn(arrays, Outlook(*(np.concatenate(parts) for parts in zip(*map(_parts, outlooks), strict=True))))
    return (Outlook(*(values[part] for values in _parts(taught))) for part in stretches(len(taught.row)))


def _parts(outlook: Outlook) -> list[Any]:
    return [getattr(outlook, part.name) for part in fields(outlook)]


def _share(interval: float) -> float:
    if not isinstance(interval, Real) or not 0 < float(interval) < 1:
        raise SchemaError(f"interval: expected a share of cases between 0 and 1, such as 0.8; got {interval!r}")
    return float(interval)


def _relative_width(interval: float) -> float:
    """Width of an interval, relative to the one that was fitted."""
    normal = NormalDist()
    score, fitted = (normal.inv_cdf((1 - share) / 2) for share in (_share(interval), _FITTED_INTERVAL))
    return math.pow(score / fitted, _TAIL_POWER)


def _add_seconds(time_ns: Ints, seconds: Floats) -> pd.DatetimeIndex:
    """Times so many seconds later; NaT where unknown or beyond what nanoseconds can count."""

    def later(part: slice) -> Ints:
        later_ns = np.rint(seconds[part] * 1e9)
        known = later_ns < 2.0**63 - np.maximum(time_ns[part], 0) - 2048
        sums = time_ns[part] + np.where(known, later_ns, 0).astype(np.int64)
        return np.where(known, sums, pd.NaT.value)

    return pd.DatetimeIndex(by_stretch(len(time_ns), later, np.int64), tz="UTC", copy=False)


# Interval


def _offsets(running: Running, estimate: Estimate) -> tuple[Floats, Floats]:
    """How far the truth may lie below and above the estimate, in logarithms, for the fitted interval.

    Both are softplus(a . x): the worse past forecasts were, the further the end, the fewer ticks, the wider; and wider
    on the side to which the pace has turned.
    """
    inputs = doubt_inputs(running, estimate)
    low, high = (
        np.logaddexp(0, sum((a * x for a, x in zip(weights, inputs, strict=True)), np.zeros(len(estimate.rows))))
        for weights in (_LOW, _HIGH)
    )
    return low, high


def doubt_inputs(running: Running, estimate: Estimate) -> tuple[Floats, ...]:
    """The x of `_offsets`; all without a unit."""
    ahead, rows = estimate.remaining + estimate.delta, estimate.rows
    ticks_left = running.left(rows) / np.maximum(estimate.mean_advance, 1e-9)
    events, pace, newest = estimate.ticking.events, estimate.ticking.pace, estimate.newest
    log_pace = log_pace_since(events, newest - estimate.ticks, newest)
    return (
        np.ones(len(ahead)),
        np.log(ERROR_FLOOR + estimate.errors[0]),
        np.log(ERROR_FLOOR + estimate.errors[1]),
        np.log(1 + ahead / (running.t[rows] + estimate.delta)),
        np.log(1.0 + estimate.ticks),
        np.minimum(np.log(1 + ticks_left), 9),
        running.changed[rows].astype(np.float64),
        np.clip(log_pace - pace.log_pace[newest], -4, 4),
        estimate.ticking.newest_error(newest),
    )


def _outlooks(
    block: Arrays, first_row: int, processed_includes_failed: IncludesFailed, correction: bool, skipped: Ints
) -> Iterator[Outlook]:
    """What each job's own samples say from the last of so many first rows on; the block is at `first_row`."""
    running = count_work(block, includes_failed_so_far(block, processed_includes_failed))
    ticking = Ticking.of(running)
    new = running.row >= np.repeat(block.first + skipped, np.diff(block.edges))[running.row]
    asked = new | np.append(new[1:], False)
    # A long job is looked at in stretches: the forty inputs alone take 320 bytes a row.
    for part in [part for part in stretches(len(asked)) if asked[part].any()] or [slice(0, 0)]:
        rows = part.start + np.flatnonzero(asked[part])
        yield _outlook(running, estimate_remaining(running, ticking, rows), first_row, correction)


def _outlook(running: Running, estimate: Estimate, first_row: int, correction: bool) -> Outlook:
    rows, remaining, delta = estimate.rows, estimate.remaining, estimate.delta
    if correction:
        shift, low, high = correct(running, estimate)
        remaining = np.maximum((remaining + delta) * np.exp(shift) - delta, 0)
    else:
        low, high = _offsets(running, estimate)
    return Outlook(
        row=first_row + running.row[rows].astype(np.int64),
        t=running.t[rows],
        share_done=running.work[rows] / np.maximum(running.size[rows], 1),
        remaining=remaining,
        delta=delta,
        low=low,
        high=high,
        says=(estimate.ticks > 0) & running.known[rows],
    )


def _as_said(outlook: Outlook, median: Floats, is_known: Bools) -> Outlook:
    """The outlook with what was said before at the known rows: the finish on display there, without any slack."""
    return replace(
        outlook,
        remaining=np.where(is_known, median, outlook.remaining),
        low=np.where(is_known, 0.0, outlook.low),
        high=np.where(is_known, 0.0, outlook.high),
        says=np.where(is_known, ~np.isnan(median), outlook.says),
    )


def _forecast(outlook: Outlook, median: Floats, width: float) -> Floats:
    """Median, low and high of the remaining seconds (3 x r); NaN where nothing can be said."""
    ahead, delta = median + outlook.delta, outlook.delta
    lowest = ahead * np.exp(np.maximum(-width * outlook.low, -_MAX_OFFSET)) - delta
    highest = ahead * np.exp(np.minimum(width * outlook.high, _MAX_OFFSET)) - delta
    seconds = [median, np.clip(lowest, 0, median), np.maximum(highest, median)]
    return np.where(outlook.says, np.array(seconds), np.nan)


def _hold(outlook: Outlook, shown: float = math.nan) -> tuple[Floats, float]:
    """Seconds to the finish on display, which moves no further than to within 0.03 own widths of the newest one.

    From the finish on display at the row before, in running seconds, to that at the last row; NaN where there is none.
    """
    finish = outlook.t + outlook.remaining
    slack = _HOLD * (outlook.remaining + outlook.delta) * (outlook.low + outlook.high)
    seconds = np.full(len(finish), np.nan)
    columns = (column.tolist() for column in (outlook.t, finish, slack, outlook.says))
    for i, (t, latest, inertia, is_said) in enumerate(zip(*columns, strict=True)):
        if not is_said:
            shown = math.nan
            continue
        if math.isnan(shown):
            shown = latest
        seconds[i] = max(min(max(shown, latest - inertia), latest + inertia) - t, 0)
        shown = t + seconds[i]  # what was said, so that a later call goes on from there
    return seconds, shown

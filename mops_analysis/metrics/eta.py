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
`_pace`               logarithm of the seconds per item: eleven windows, weighted by their own past forecasts
`_remaining`          pace times work left, with growth of the total, credit for a batch under way, and stalls
`_offsets`            how far the truth may lie off, from how far past forecasts were off
`learn`               correct both by what finished jobs of the same label have taught
`_hold`               keep the finish on display unless there is news
====================  ======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import Arrays, Bools, Floats, IncludesFailed, Ints
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.history import Outlook, learn
from mops_analysis.metrics.running import Events, Running, count_work, find_events

#: Windows of the pace: so many newest ticks, or such a share of all events.
_LAST_TICKS = (3, 6, 12, 24, 48)
_LAST_SHARES = (2, 4, 8, 16)
#: Past forecasts are made where this share (numerator, denominator) of today's work was done.
_ORIGINS = ((1, 2), (4, 5))
#: Error of a forecast in logarithms: counts as at least this much; taken to be this much while none is known.
_ERROR_FLOOR, _ERROR_UNKNOWN = 0.02, 0.3
#: Two ticks are never closer than this [s], nor two polls in the mean.
_MIN_TICK_S, _MIN_POLL_S = 1e-6, 1e-3
#: The interval's offsets: softplus of a linear form in the seven inputs of `_offsets`.
_LOW = (-1.0, 0.045, 0.411, 1.058, 0.302, -0.21, 0.4)
_HIGH = (0.865, -0.019, 0.174, 0.423, 0.13, -0.531, 1.251)
_FITTED_INTERVAL = 0.8
#: Other intervals scale them by their normal score to this power: surprises have longer tails than the normal law.
_TAIL_POWER = 1.5
_MAX_OFFSET = 50
#: News of this many own widths moves the finish on display half-way.
_HOLD = 0.04


def eta(
    samples: pd.DataFrame, *, interval: float = 0.8, processed_includes_failed: IncludesFailed = "auto"
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

    Returns
    -------
    DataFrame
        n rows with the index of `samples`: `job_id`, `sampled_at`, `remaining_s`, `remaining_low_s`,
        `remaining_high_s` float64 [s], `eta`, `eta_low`, `eta_high` datetime64[ns, UTC]. `remaining_s` is the median;
        it does not depend on `interval`.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or an option is out of range.

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
    """
    arrays = Arrays.of(samples)
    remaining = remaining_seconds(arrays, interval, processed_includes_failed)
    times = [_add_seconds(arrays.time_ns, seconds) for seconds in remaining]
    return arrays.frame(dict(zip(_COLUMNS, [*remaining, *times], strict=True)))


_COLUMNS = ("remaining_s", "remaining_low_s", "remaining_high_s", "eta", "eta_low", "eta_high")


def remaining_seconds(arrays: Arrays, interval: float, processed_includes_failed: IncludesFailed) -> Floats:
    """Median, low and high of the remaining seconds (3 x n), in the sorted order of `arrays`."""
    width = _relative_width(interval)
    seconds = np.full((3, len(arrays.time_ns)), np.nan)
    outlooks = (
        _outlook(count_work(block, includes_failed_so_far(block, processed_includes_failed)), rows.start)
        for rows, _, block in arrays.blocks()
    )
    for outlook in [learn(arrays, _joined(outlooks))] if arrays.label() else outlooks:
        seconds[:, outlook.row] = _forecast(outlook, width)
    return seconds


def _joined(outlooks: Iterable[Outlook]) -> Outlook:
    return Outlook(*(np.concatenate(parts) for parts in zip(*map(_parts, outlooks), strict=True)))


def _parts(outlook: Outlook) -> list[Any]:
    return [getattr(outlook, part.name) for part in fields(outlook)]


def _relative_width(interval: float) -> float:
    """Width of an interval, relative to the one that was fitted."""
    if not 0 < interval < 1:
        raise SchemaError(f"interval: expected a share of cases between 0 and 1, such as 0.8; got {interval!r}")
    normal = NormalDist()
    score, fitted = (normal.inv_cdf((1 - share) / 2) for share in (interval, _FITTED_INTERVAL))
    return math.pow(score / fitted, _TAIL_POWER)


def _add_seconds(time_ns: Ints, seconds: Floats) -> pd.DatetimeIndex:
    """Times so many seconds later; NaT where unknown or beyond what nanoseconds can count."""
    later_ns = np.rint(seconds * 1e9)
    known = later_ns < 2.0**63 - np.maximum(time_ns, 0) - 2048
    sums = time_ns + np.where(known, later_ns, 0).astype(np.int64)
    return pd.DatetimeIndex(np.where(known, sums, pd.NaT.value).astype("datetime64[ns]"), tz="UTC")


# Pace


@dataclass(frozen=True)
class _Pace:
    """What the ticks so far tell about the pace, e events.

    Attributes
    ----------
    log_pace
        Logarithm of the seconds per item.
    errors
        Mean error that this pace would have had as a forecast so far [logarithms], per origin.
    """

    log_pace: Floats
    errors: tuple[Floats, ...]


def _pace(events: Events) -> _Pace:
    """Mean log pace of the windows, weighted by (mean error of their forecasts so far + 0.02)^-4."""
    origins = [_origin(events, share) for share in _ORIGINS]
    untried = ~np.logical_or.reduce([_is_recent(events, origin.valid) for origin in origins])
    weighted, weights = np.zeros(len(events.number)), np.zeros(len(events.number))
    for start, exists in _windows(events):
        log_pace = _log_pace(events, start)
        errors = [_past_error(events, origin, log_pace, exists[origin.at]) for origin in origins]
        known = [~np.isnan(error) for error in errors]
        tries = sum(known, np.zeros(len(weights)))
        error = sum(map(np.nan_to_num, errors), np.zeros(len(weights))) / np.maximum(tries, 1)
        square = (error + _ERROR_FLOOR) ** 2
        weight = np.where(exists & (untried | (tries > 0)), np.where(untried, 1.0, 1 / (square * square)), 0.0)
        weighted += weight * log_pace
        weights += weight
    log_pace = weighted / np.where(weights > 0, weights, 1.0)
    ticked = events.number > 0
    past = (_past_error(events, origin, log_pace, ticked[origin.at]) for origin in origins)
    return _Pace(log_pace, tuple(np.where(np.isnan(error), _ERROR_UNKNOWN, error) for error in past))


def _windows(events: Events) -> Iterator[tuple[Ints, Bools]]:
    """First event of each window that ends at each event, and where there is such a window."""
    number, first, newest = events.number, events.first, np.arange(len(events.number))
    ticked = number > 0
    yield first, ticked
    # Without the stretch before the first tick, which is often mere lead time.
    yield np.where(number > 1, first + 1, first), number > 1
    for ticks in _LAST_TICKS:
        yield newest - np.minimum(ticks, number), ticked
    for share in _LAST_SHARES:
        yield newest - np.minimum(np.maximum(-(-number // share), 2), number), ticked


def _log_pace(events: Events, start: Ints) -> Floats:
    """ln((tau - tau_start) / (U - U_start)) from each window's first event to its last; 0 for an empty window."""
    took = np.maximum(events.tau - events.tau[start], _MIN_TICK_S)
    done = events.work - events.work[start]
    return np.where(done > 0, np.log(took / np.maximum(done, 1)), 0.0)


@dataclass(frozen=True)
class _Origin:
    """Where a past forecast was made, for each event that proves it.

    Attributes
    ----------
    at
        The event at which it was made.
    valid
        Whether there was one.
    log_truth
        Logarithm of the seconds per item that came true from there on.
    """

    at: Ints
    valid: Bools
    log_truth: Floats


def _origin(events: Events, share: tuple[int, int]) -> _Origin:
    """The newest event by which no more than this share of the work was done, for each event."""
    work = events.work
    part, whole = share
    bound = work // whole * part + work % whole * part // whole
    edges = np.append(np.flatnonzero(events.number == 0), len(work))
    at = np.empty(len(work), dtype=np.int64)
    for start, end in pairwise(edges.tolist()):
        at[start:end] = start - 1 + np.searchsorted(work[start:end], bound[start:end], side="right")
    valid = (events.number[at] >= 1) & (work[at] < work)
    return _Origin(at, valid, _log_pace(events, at))


def _past_error(events: Events, origin: _Origin, log_pace: Floats, exists: Bools) -> Floats:
    """Mean of |log pace foretold - log pace come true| over the newer half of the job's events; NaN if untried."""
    tried = origin.valid & exists
    error = np.where(tried, np.abs(log_pace[origin.at] - origin.log_truth), 0.0)
    tries = _sum_recent(events, tried.astype(np.int64))
    # Sums of integers: a float sum would depend on what was summed before it, hence on other jobs.
    total = _sum_recent(events, np.rint(error * 2.0**32).astype(np.int64))
    return np.where(tries > 0, total / 2.0**32 / np.maximum(tries, 1), np.nan)


def _is_recent(events: Events, valid: Bools) -> Bools:
    return _sum_recent(events, valid.astype(np.int64)) > 0


def _sum_recent(events: Events, values: Ints) -> Ints:
    """Sum over the newer half of the job's events: the newest ceil(m / 2) + 1 of the m + 1."""
    return _sum_newest(values, -(-events.number // 2) + 1)


def _sum_newest(values: Ints, count: Ints) -> Ints:
    """Sum over the newest `count` values up to each one."""
    sums = np.concatenate([[0], np.cumsum(values)])
    newest = np.arange(1, len(values) + 1)
    recent: Ints = sums[newest] - sums[newest - count]
    return recent


# Remaining time


@dataclass(frozen=True)
class _Estimate:
    """What is known at each running row, r rows.

    Attributes
    ----------
    remaining
        The estimate before holding [s].
    delta
        Mean time between the polls so far [s].
    ticks
        How many ticks there were.
    mean_advance
        Work per tick, of the newest eight.
    errors
        Past errors of the pace [logarithms], per origin.
    """

    remaining: Floats
    delta: Floats
    ticks: Ints
    mean_advance: Floats
    errors: tuple[Floats, ...]


def estimate_remaining(running: Running) -> _Estimate:
    """B = max(e^lambda R (1 + growth) - regular min(age, gap), 0) + max(age - 2 gap, 0).

    The work left at the present pace, more of it while the total grows; credit for the batch under way if batches are
    regular; a stall is expected to last as long again as it already has.
    """
    events = find_events(running)
    pace = _pace(events)
    newest = events.newest
    advance = _mean_advance(events)[newest]
    seconds_per_item = np.exp(pace.log_pace)[newest]
    gap = seconds_per_item * advance
    age = running.t - events.tau[newest]
    growth = np.clip(_growth(running, 8), 0, 1)
    credit = _regularity(events)[newest] * np.minimum(age, gap)
    left = np.maximum(seconds_per_item * running.work_left * (1 + growth) - credit, 0)
    return _Estimate(
        remaining=left + np.maximum(age - 2 * gap, 0),
        delta=np.maximum(running.t / np.maximum(running.polls, 1), _MIN_POLL_S),
        ticks=events.number[newest],
        mean_advance=advance,
        errors=tuple(error[newest] for error in pace.errors),
    )


def _mean_advance(events: Events) -> Floats:
    """Work per tick, of the newest eight ticks; 0 before the first."""
    ticks = np.minimum(events.number, 8)
    done = events.work - events.work[np.arange(len(ticks)) - ticks]
    return done / np.maximum(ticks, 1)


def _growth(running: Running, parts: int) -> Floats:
    """How much the total grew per work done, over the newest part of the polls: 1 if it grew without work."""
    polls = running.polls
    before = np.arange(len(polls)) - -(-polls // parts)
    grown = running.growth - running.growth[before]
    done = running.u - running.u[before]
    growth: Floats = np.clip(np.where(done > 0, grown / np.maximum(done, 1), np.sign(grown)), -1, 2)
    return growth


def _regularity(events: Events) -> Floats:
    """1 for ticks at equal distances, falling to 0 where their logarithm spreads by 0.5, over the newer half."""
    number = events.number
    ticked = number > 0
    gap = np.diff(events.tau, prepend=0.0)
    first_gap = gap[np.minimum(events.first + 1, len(gap) - 1)]
    log_gap = np.log(np.maximum(np.where(ticked, gap, 1.0), _MIN_TICK_S) / np.maximum(first_gap, _MIN_TICK_S))
    steps = np.where(ticked, np.rint(np.clip(log_gap, -30, 30) * 2.0**16), 0).astype(np.int64)
    count = np.minimum(np.maximum(-(-number // 2), 4), number)
    mean, mean_square = (_sum_newest(sums, count) / np.maximum(count, 1) for sums in (steps, steps * steps))
    variance = np.maximum(mean_square - mean * mean, 0) / 2.0**32
    return np.where(ticked, np.clip(1 - variance / 0.25, 0, 1), 0.0)


# Interval


def _offsets(running: Running, estimate: _Estimate) -> tuple[Floats, Floats]:
    """How far the truth may lie below and above the estimate, in logarithms, for the fitted interval.

    Both are softplus(a . x): the worse past forecasts were, the further the end, the fewer ticks, the wider.
    """
    inputs = doubt_inputs(running, estimate)
    low, high = (
        np.logaddexp(0, sum((a * x for a, x in zip(weights, inputs, strict=True)), np.zeros(len(running.t))))
        for weights in (_LOW, _HIGH)
    )
    return low, high


def doubt_inputs(running: Running, estimate: _Estimate) -> tuple[Floats, ...]:
    """The x of `_offsets`; all without a unit."""
    ahead = estimate.remaining + estimate.delta
    ticks_left = running.work_left / np.maximum(estimate.mean_advance, 1e-9)
    return (
        np.ones(len(ahead)),
        np.log(_ERROR_FLOOR + estimate.errors[0]),
        np.log(_ERROR_FLOOR + estimate.errors[1]),
        np.log(1 + ahead / (running.t + estimate.delta)),
        np.log(1.0 + estimate.ticks),
        np.minimum(np.log(1 + ticks_left), 9),
        running.changed.astype(np.float64),
    )


def _outlook(running: Running, first_row: int) -> Outlook:
    """What the own samples of each job say; its block starts at `first_row`."""
    estimate = estimate_remaining(running)
    low, high = _offsets(running, estimate)
    return Outlook(
        row=first_row + running.row,
        t=running.t,
        share_done=running.work / np.maximum(running.size, 1),
        remaining=estimate.remaining,
        delta=estimate.delta,
        low=low,
        high=high,
        says=(estimate.ticks > 0) & running.known,
    )


def _forecast(outlook: Outlook, width: float) -> Floats:
    """Median, low and high of the remaining seconds (3 x r); NaN where nothing can be said."""
    median = _hold(outlook)
    ahead, delta = median + outlook.delta, outlook.delta
    lowest = ahead * np.exp(np.maximum(-width * outlook.low, -_MAX_OFFSET)) - delta
    highest = ahead * np.exp(np.minimum(width * outlook.high, _MAX_OFFSET)) - delta
    seconds = [median, np.clip(lowest, 0, median), np.maximum(highest, median)]
    return np.where(outlook.says, np.array(seconds), np.nan)


def _hold(outlook: Outlook) -> Floats:
    """Seconds to the finish on display, which moves by |e| / (|e| + 0.04) of the way to the news, e in own widths."""
    finish = outlook.t + outlook.remaining
    slack = _HOLD * (outlook.remaining + outlook.delta) * (outlook.low + outlook.high)
    held = np.empty(len(finish))
    shown: float | None = None
    news = zip(finish.tolist(), slack.tolist(), outlook.says.tolist(), strict=True)
    for i, (latest, inertia, is_said) in enumerate(news):
        if shown is None or not is_said:
            shown = latest if is_said else None
        elif latest != shown:
            away = abs(latest - shown)
            shown += away / (away + inertia) * (latest - shown)
        held[i] = latest if shown is None else shown
    seconds: Floats = np.maximum(held - outlook.t, 0)
    return seconds

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
from collections.abc import Iterable
from dataclasses import fields
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import Arrays, Floats, IncludesFailed, Ints
from mops_analysis.metrics.correction import correct
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.history import Outlook, learn
from mops_analysis.metrics.pace import ERROR_FLOOR, Estimate, estimate_remaining
from mops_analysis.metrics.running import Running, count_work

#: The interval's offsets: softplus of a linear form in the seven inputs of `_offsets`.
_LOW = (-1.0, 0.045, 0.411, 1.058, 0.302, -0.21, 0.4)
_HIGH = (0.865, -0.019, 0.174, 0.423, 0.13, -0.531, 1.251)
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
    remaining = remaining_seconds(arrays, interval, processed_includes_failed, correction)
    times = [_add_seconds(arrays.time_ns, seconds) for seconds in remaining]
    return arrays.frame(dict(zip(_COLUMNS, [*remaining, *times], strict=True)))


_COLUMNS = ("remaining_s", "remaining_low_s", "remaining_high_s", "eta", "eta_low", "eta_high")


def remaining_seconds(
    arrays: Arrays, interval: float, processed_includes_failed: IncludesFailed, correction: bool = True
) -> Floats:
    """Median, low and high of the remaining seconds (3 x n), in the sorted order of `arrays`."""
    width = _relative_width(interval)
    seconds = np.full((3, len(arrays.time_ns)), np.nan)
    outlooks = (
        _outlook(count_work(block, includes_failed_so_far(block, processed_includes_failed)), rows.start, correction)
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


# Interval


def _offsets(running: Running, estimate: Estimate) -> tuple[Floats, Floats]:
    """How far the truth may lie below and above the estimate, in logarithms, for the fitted interval.

    Both are softplus(a . x): the worse past forecasts were, the further the end, the fewer ticks, the wider.
    """
    inputs = doubt_inputs(running, estimate)
    low, high = (
        np.logaddexp(0, sum((a * x for a, x in zip(weights, inputs, strict=True)), np.zeros(len(running.t))))
        for weights in (_LOW, _HIGH)
    )
    return low, high


def doubt_inputs(running: Running, estimate: Estimate) -> tuple[Floats, ...]:
    """The x of `_offsets`; all without a unit."""
    ahead = estimate.remaining + estimate.delta
    ticks_left = running.work_left / np.maximum(estimate.mean_advance, 1e-9)
    return (
        np.ones(len(ahead)),
        np.log(ERROR_FLOOR + estimate.errors[0]),
        np.log(ERROR_FLOOR + estimate.errors[1]),
        np.log(1 + ahead / (running.t + estimate.delta)),
        np.log(1.0 + estimate.ticks),
        np.minimum(np.log(1 + ticks_left), 9),
        running.changed.astype(np.float64),
    )


def _outlook(running: Running, first_row: int, correction: bool) -> Outlook:
    """What the own samples of each job say; its block starts at `first_row`."""
    estimate = estimate_remaining(running)
    remaining = estimate.remaining
    if correction:
        shift, low, high = correct(running, estimate)
        remaining = np.maximum((remaining + estimate.delta) * np.exp(shift) - estimate.delta, 0)
    else:
        low, high = _offsets(running, estimate)
    return Outlook(
        row=first_row + running.row,
        t=running.t,
        share_done=running.work / np.maximum(running.size, 1),
        remaining=remaining,
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
    """Seconds to the finish on display, which moves no further than to within 0.03 own widths of the newest one."""
    finish = outlook.t + outlook.remaining
    slack = _HOLD * (outlook.remaining + outlook.delta) * (outlook.low + outlook.high)
    held = np.empty(len(finish))
    shown: float | None = None
    news = zip(finish.tolist(), slack.tolist(), outlook.says.tolist(), strict=True)
    for i, (latest, inertia, is_said) in enumerate(news):
        if shown is None or not is_said:
            shown = latest if is_said else None
        else:
            shown = min(max(shown, latest - inertia), latest + inertia)
        held[i] = latest if shown is None else shown
    seconds: Floats = np.maximum(held - outlook.t, 0)
    return seconds

"""What an analyst should look at: events in the samples, each of a kind with its formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.metrics.arrays import (
    NS,
    Arrays,
    Floats,
    IncludesFailed,
    Ints,
    Trail,
    median_by_job,
    nanoseconds,
)
from mops_analysis.metrics.counting import Work, fell, finished_as_served, includes_failed, work
from mops_analysis.metrics.failures import wilson
from mops_analysis.metrics.throughput import IDLE_STATUSES, RateClock

_QUIET = 60 * NS
_MUCH_LONGER = 10
_FEW_FAILED = 5
_BURST_CONFIDENCE = 0.99
_COUNTERS = ("processed", "total", "failed")


def anomalies(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    window: float | str | pd.Timedelta = "2min",
) -> pd.DataFrame:
    """Events that an analyst should look at: one row each, with the numbers in words.

    An event stands at the first sample that shows it. None is proof of trouble: a total may grow by design, and a
    counter may fall because someone retried the job.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    processed_includes_failed
        The counting rule, see `counting`.
    window
        Width of the trailing window in which failures are a burst, in seconds or as a pandas offset string.

    Returns
    -------
    DataFrame
        One row per event, sorted by job and time: `job_id`, `sampled_at`, `kind`, `detail` (strings); `label` where the
        samples have one.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, or the window no duration.

    Notes
    -----
    ``counter_reset``
        `processed_items` or `failed_items` is less than in the sample before. One event per fall.
    ``total_changed``
        `total_items` is another than in the sample before. One event per change.
    ``gap``
        A step longer than 2.5 times the job's median step, unless it began in `awaiting_review` or a terminal status,
        where sampling stops by design.
    ``stalled``
        No counter has moved for more than max(60 s, 10 u) of the rate clock (see `throughput`), with u the median time
        between moves of the job, or 30 s where it moved less than three times; never while pending, awaiting review or
        ended. One event per stall.
    ``failure_burst``
        In a trailing window at least 5 items failed, and the lower bound of the window's failure rate lies above the
        upper bound of the job's rate before the window (both Wilson, 99 %). Bursts less than a window apart are one.
    ``inconsistent_counts``
        A negative counter; failed > total; finished > total; failed > finished; a percentage outside 0-100; one that is
        more than 1 point off both processed / total and (processed + failed) / total. No judgement at a total of 0. One
        event per job and kind of contradiction.
    ``unknown_status``
        A status that the service's documents do not name. One event per job and word.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:0{minute}:00Z", "status": "in_progress",
    ...                    "progress_percentage": items, "processed_items": items, "total_items": 100,
    ...                    "failed_items": 0, "latency_s": 0.1} for minute, items in enumerate([0, 40, 10])])
    >>> anomalies(frame)[["kind", "detail"]].values.tolist()
    [['counter_reset', 'processed_items fell from 40 to 10']]
    """
    arrays = Arrays.of(samples)
    rule, width = includes_failed(arrays, processed_includes_failed), nanoseconds(window, "window")
    row, kind, detail = [], [], []
    for rows, jobs, block in arrays.blocks():
        done = work(block, rule[jobs])
        clock = RateClock.of(block, done)
        for events in find_events(block, done, clock, finished_as_served(block, rule[jobs]), width):
            row += [rows.start + at for at in events.row.tolist()]
            kind += [events.kind] * len(events.row)
            detail += [events.words(event) for event in range(len(events.row))]
    order = np.lexsort((kind, row)) if row else np.array([], dtype=np.int64)
    at = np.array(row, dtype=np.int64)[order]
    label = {name: labels.take(arrays.job[at]).array for name, labels in arrays.label().items()}
    return pd.DataFrame(
        {
            "job_id": pd.array(arrays.job_ids[arrays.job[at]], dtype="string"),
            "sampled_at": pd.DatetimeIndex(arrays.time_ns[at], tz="UTC"),
            "kind": pd.array(np.array(kind, dtype=object)[order], dtype="string"),
            "detail": pd.array(np.array(detail, dtype=object)[order], dtype="string"),
            **label,
        }
    )


@dataclass(frozen=True)
class Events:
    """Events of one kind: their rows, rising, and what tells the i-th of them in words."""

    kind: str
    row: Ints
    words: Callable[[int], str]


def find_events(block: Arrays, done: Work, clock: RateClock, finished: Ints, width: int) -> list[Events]:
    """Every event in a block, from its work, its rate clock and the finished items as served.

    `width` is that of the window for bursts [ns].
    """
    return [
        _resets(block),
        _total_changes(block),
        _gaps(block, clock),
        _stalls(block, clock),
        _bursts(block, done, width),
        *_contradictions(block, finished),
        _unknown_statuses(block),
    ]


def _resets(block: Arrays) -> Events:
    row = np.flatnonzero(fell(block))

    def words(event: int) -> str:
        at = row[event]
        counters = {"processed_items": block.processed, "failed_items": block.failed}
        return ", ".join(
            f"{name} fell from {counter[at - 1]:,} to {counter[at]:,}"
            for name, counter in counters.items()
            if counter[at] < counter[at - 1]
        )

    return Events("counter_reset", row, words)


def _total_changes(block: Arrays) -> Events:
    row = np.flatnonzero(block.steps(block.total) != 0)
    return Events(
        "total_changed",
        row,
        lambda event: f"total_items went from {block.total[row[event] - 1]:,} to {block.total[row[event]]:,}",
    )


def _gaps(block: Arrays, clock: RateClock) -> Events:
    row = np.flatnonzero(clock.is_gap & ~block.previous(block.is_status(IDLE_STATUSES)))

    def words(event: int) -> str:
        at = row[event]
        step, median = _duration(block.step_ns[at]), _duration(clock.usual_step[block.job[at]])
        return f"no sample for {step} since {_clock(block, at - 1)}; the usual step is {median}"

    return Events("gap", row, words)


def _stalls(block: Arrays, clock: RateClock) -> Events:
    moved = np.zeros(len(block.time_ns), dtype=bool)
    for counter in (block.processed, block.total, block.failed):
        moved |= block.steps(counter) != 0
    usual = _time_between_moves(block, clock, np.flatnonzero(moved))
    limit = np.maximum(_MUCH_LONGER * usual, _QUIET)
    moved[block.first] = True
    since = np.maximum.accumulate(np.where(moved, np.arange(len(moved)), 0))
    quiet = clock.running - clock.running[since]
    waits = block.is_status({schema.PENDING_STATUS, *IDLE_STATUSES})
    rows = np.flatnonzero((quiet > np.repeat(limit, np.diff(block.edges))) & ~waits)
    begin, nth = np.unique(since[rows], return_index=True)
    last = np.append(nth[1:], len(rows)) - 1

    def words(event: int) -> str:
        start, end = begin[event], rows[last[event]]
        return (
            f"no counter moved for {_duration(quiet[end])} since {_clock(block, start)}; "
            f"a stall is {_duration(limit[block.job[start]])} or more in this job"
        )

    return Events("stalled", rows[nth], words)


def _time_between_moves(block: Arrays, clock: RateClock, moves: Ints) -> Floats:
    """Median of the job's times from move to move on the rate clock [ns] (k)."""
    between = np.diff(clock.running[moves])
    own = block.job[moves[1:]] == block.job[moves[:-1]]
    job = block.job[moves[1:]][own]
    few = np.bincount(job, minlength=len(block.job_ids)) < 2
    return np.where(few, _QUIET / 2, median_by_job(between[own], job, len(block.job_ids)))


def _bursts(block: Arrays, done: Work, width: int) -> Events:
    rises = np.flatnonzero(done.failed > 0)
    window = Trail.of(block, block.so_far(block.step_ns), width).window(rises)
    failed, finished = block.so_far(done.failed), block.so_far(done.finished)
    failed_in, finished_in = window.rise(failed), window.rise(finished)
    job = block.job[rises]
    failed_before = failed[rises] + done.failed_before[job] - failed_in
    finished_before = finished[rises] + done.finished_before[job] - finished_in
    _, low, _ = wilson(failed_in, finished_in, _BURST_CONFIDENCE)
    _, _, high = wilson(failed_before, finished_before, _BURST_CONFIDENCE)
    bursts = np.flatnonzero((failed_in >= _FEW_FAILED) & (low > high))
    at = rises[bursts]
    apart = np.diff(np.cumsum(block.step_ns)[at], prepend=0) > width
    begins = apart | (np.diff(block.job[at], prepend=-1) != 0)
    begin = bursts[begins]

    def words(event: int) -> str:
        one = begin[event]
        return (
            f"{failed_in[one]:,.0f} of {finished_in[one]:,.0f} items failed within {_duration(window.width[one])} "
            f"(at least {low[one]:.1%}); before that {failed_before[one]:,.0f} of {finished_before[one]:,.0f} "
            f"(at most {high[one]:.1%})"
        )

    return Events("failure_burst", rises[begin], words)


def _contradictions(block: Arrays, finished: Ints) -> list[Events]:
    processed, total, failed, percentage = block.processed, block.total, block.failed, block.percentage
    is_total = total > 0
    share = 100.0 / np.maximum(total, 1)
    alone, both = (np.clip(items * share, 0, 100) for items in (processed, processed.astype(np.float64) + failed))
    outside = (percentage < 0) | (percentage > 100)
    off = is_total & ~outside & (np.abs(percentage - alone) > 1) & (np.abs(percentage - both) > 1)
    problems = {
        "a counter is negative: processed_items {processed}, total_items {total}, failed_items {failed}": (
            (processed < 0) | (total < 0) | (failed < 0)
        ),
        "failed_items {failed:,} > total_items {total:,}": is_total & (failed > total),
        "finished items {finished:,} > total_items {total:,}": is_total & (finished > total) & (failed <= total),
        "failed_items {failed:,} > finished items {finished:,}": (failed > finished) & (failed > 0),
        "progress_percentage {percentage:g} is outside 0-100": outside,
        "progress_percentage {percentage:g} fits neither {processed:,} processed nor {failed:,} more of {total:,}": off,
    }
    return [_contradiction(block, finished, words, np.flatnonzero(holds)) for words, holds in problems.items()]


def _contradiction(block: Arrays, finished: Ints, words: str, rows: Ints) -> Events:
    times = np.bincount(block.job[rows], minlength=len(block.job_ids))
    first = block.first_of(rows)
    first = first[first >= 0]

    def told(event: int) -> str:
        at = first[event]
        fields = {name: getattr(block, name)[at] for name in ("processed", "total", "failed", "percentage")}
        count = times[block.job[at]]
        return words.format(**fields, finished=finished[at]) + f" (in {count:,} {'samples' if count > 1 else 'sample'})"

    return Events("inconsistent_counts", first, told)


def _unknown_statuses(block: Arrays) -> Events:
    rows = np.flatnonzero(~block.is_status({*schema.STATUSES, *schema.TERMINAL_STATUSES}))
    word = block.status[rows] if len(rows) else np.array([], dtype=object)
    code = pd.factorize(word)[0]
    _, nth = np.unique(block.job[rows] * len(rows) + code, return_index=True)
    row = np.sort(rows[nth])
    return Events(
        "unknown_status",
        row,
        lambda event: f"{block.status[row[event]]!r} is no documented status; taken as running on",
    )


# -- words ---------------------------------------------------------------------------------------------------------


def _clock(block: Arrays, row: int) -> str:
    return pd.Timestamp(int(block.time_ns[row]), tz="UTC").strftime("%H:%M:%S UTC")


def _duration(ns: float) -> str:
    seconds = ns / NS
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    return f"{minutes // 60} h {minutes % 60} m"

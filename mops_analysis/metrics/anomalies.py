"""What an analyst should look at: events in the samples, each of a kind with its formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.metrics.arrays import (
    NS,
    Arrays,
    Bools,
    Floats,
    IncludesFailed,
    Ints,
    Trail,
    Window,
    median_by_job,
    nanoseconds,
)
from mops_analysis.metrics.counting import counted, failed_as_served, fell, finished_as_served, includes_failed
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
        finished = finished_as_served(block, rule[jobs])
        for events in find_events(block, finished, RateClock.of(block, finished), width):
            row += [rows.start + at for at in events.row.tolist()]
            kind += [events.kind] * len(events.row)
            detail += [events.words(event) for event in range(len(events.row))]
    order = np.lexsort((kind, row)) if row else np.array([], dtype=np.int64)
    at = np.array(row, dtype=np.int64)[order]
    job = arrays.job_of(at)
    label = {name: labels.take(job).array for name, labels in arrays.label().items()}
    return pd.DataFrame(
        {
            "job_id": pd.array(arrays.job_ids[job], dtype="string"),
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


def find_events(block: Arrays, finished: Ints, clock: RateClock, width: int) -> Iterator[Events]:
    """The events in a block, kind by kind, from its finished items as served and its rate clock.

    `width` is that of the window for bursts [ns].
    """
    yield _resets(block)
    yield _total_changes(block)
    yield _gaps(block, clock)
    yield _stalls(block, clock)
    del clock  # of a long job it is large
    yield _bursts(block, finished, width)
    yield from _contradictions(block, finished)
    yield _unknown_statuses(block)


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
    row = np.flatnonzero(block.compared(np.not_equal, block.total))
    return Events(
        "total_changed",
        row,
        lambda event: f"total_items went from {block.total[row[event] - 1]:,} to {block.total[row[event]]:,}",
    )


def _gaps(block: Arrays, clock: RateClock) -> Events:
    row = np.flatnonzero(clock.is_gap & ~block.previous(block.is_status(IDLE_STATUSES)))
    usual = block.each_at(row, clock.usual_step)

    def words(event: int) -> str:
        at = row[event]
        step, median = _duration(int(block.time_ns[at]) - int(block.time_ns[at - 1])), _duration(usual[event])
        return f"no sample for {step} since {_clock(block, at - 1)}; the usual step is {median}"

    return Events("gap", row, words)


def _stalls(block: Arrays, clock: RateClock) -> Events:
    moved = np.zeros(len(block.time_ns), dtype=bool)
    for counter in (block.processed, block.total, block.failed):
        moved |= block.compared(np.not_equal, counter)
    limit = np.maximum(_MUCH_LONGER * _time_between_moves(block, clock, moved), _QUIET)
    waits = block.is_status({schema.PENDING_STATUS, *IDLE_STATUSES})
    moved[block.first] = True
    since = np.where(moved, np.arange(len(moved)), 0)
    np.maximum.accumulate(since, out=since)
    parts = []
    for part in block.stretches():
        quiet = clock.running[part] - clock.running[since[part]]
        parts.append(part.start + np.flatnonzero((quiet > block.each_at(part, limit)) & ~waits[part]))
    rows = np.concatenate(parts)
    begin = rows[np.diff(since[rows], prepend=-1) != 0]
    end = rows[np.diff(since[rows], append=-1) != 0]
    start = since[begin]
    lasted, least = clock.running[end] - clock.running[start], block.each_at(begin, limit)

    def words(event: int) -> str:
        return (
            f"no counter moved for {_duration(lasted[event])} since {_clock(block, start[event])}; "
            f"a stall is {_duration(least[event])} or more in this job"
        )

    return Events("stalled", begin, words)


def _time_between_moves(block: Arrays, clock: RateClock, moved: Bools) -> Floats:
    """Median of the job's times from move to move on the rate clock [ns] (k)."""
    moves = block.sums(moved)
    first = (np.cumsum(moves) - moves)[moves > 0]  # has none before
    between = np.delete(np.diff(clock.running[moved]), first[1:] - 1)
    return np.where(moves < 3, _QUIET / 2, median_by_job(between, np.maximum(moves - 1, 0)))


def _bursts(block: Arrays, finished: Ints, width: int) -> Events:
    rises = np.flatnonzero(block.compared(np.greater, failed_as_served(block)))
    window = Trail.of(block, block.elapsed_ns, width).window(rises)
    failed_in, failed_before = _in_and_before(counted(block, failed_as_served(block)), rises, window)
    finished_in, finished_before = _in_and_before(counted(block, finished), rises, window)
    _, low, _ = wilson(failed_in, finished_in, _BURST_CONFIDENCE)
    _, _, high = wilson(failed_before, finished_before, _BURST_CONFIDENCE)
    bursts = np.flatnonzero((failed_in >= _FEW_FAILED) & (low > high))
    at = rises[bursts]
    apart = np.diff(np.clip(block.time_ns[at], 0, 2**62), prepend=0) > width
    one = bursts[apart | (np.diff(block.job_of(at), prepend=-1) != 0)]
    numbers = list(
        zip(
            failed_in[one],
            finished_in[one],
            window.width[one],
            low[one],
            failed_before[one],
            finished_before[one],
            high[one],
            strict=True,
        )
    )

    def words(event: int) -> str:
        failed, finished, took, least, failed_before, finished_before, most = numbers[event]
        return (
            f"{failed:,.0f} of {finished:,.0f} items failed within {_duration(took)} (at least {least:.1%}); "
            f"before that {failed_before:,.0f} of {finished_before:,.0f} (at most {most:.1%})"
        )

    return Events("failure_burst", rises[one], words)


def _in_and_before(counted: Ints, rows: Ints, window: Window) -> tuple[Floats, Floats]:
    """Items counted in the windows that end at these rows, and before them."""
    within = window.rise(counted)
    return within, counted[rows] - within


_CONTRADICTIONS = (
    "a counter is negative: processed_items {processed}, total_items {total}, failed_items {failed}",
    "failed_items {failed:,} > total_items {total:,}",
    "finished items {finished:,} > total_items {total:,}",
    "failed_items {failed:,} > finished items {finished:,}",
    "progress_percentage {percentage:g} is outside 0-100",
    "progress_percentage {percentage:g} fits neither {processed:,} processed nor {failed:,} more of {total:,}",
)


def _contradictions(block: Arrays, finished: Ints) -> Iterator[Events]:
    parts = [
        [part.start + np.flatnonzero(holds) for holds in _contradict(block, finished, part)]
        for part in block.stretches()
    ]
    for words, rows in zip(_CONTRADICTIONS, zip(*parts, strict=True), strict=True):
        yield _contradiction(block, finished, words, np.concatenate(rows))


def _contradict(block: Arrays, finished: Ints, rows: slice) -> list[Bools]:
    """For each of the contradictions, whether the rows show it."""
    processed, total, failed = block.processed[rows], block.total[rows], block.failed[rows]
    percentage, finished = block.percentage[rows], finished[rows]
    is_total = total > 0
    share = 100.0 / np.maximum(total, 1)
    alone, both = (np.clip(items * share, 0, 100) for items in (processed, processed.astype(np.float64) + failed))
    outside = (percentage < 0) | (percentage > 100)
    return [
        (processed < 0) | (total < 0) | (failed < 0),
        is_total & (failed > total),
        is_total & (finished > total) & (failed <= total),
        (failed > finished) & (failed > 0),
        outside,
        is_total & ~outside & (np.abs(percentage - alone) > 1) & (np.abs(percentage - both) > 1),
    ]


def _contradiction(block: Arrays, finished: Ints, words: str, rows: Ints) -> Events:
    times = block.count(rows)
    first = block.first_of(rows)
    times, first = times[times > 0], first[first >= 0]
    counted = finished[first]

    def told(event: int) -> str:
        at, count = first[event], times[event]
        fields = {name: getattr(block, name)[at] for name in ("processed", "total", "failed", "percentage")}
        many = f" (in {count:,} {'samples' if count > 1 else 'sample'})"
        return words.format(**fields, finished=counted[event]) + many

    return Events("inconsistent_counts", first, told)


def _unknown_statuses(block: Arrays) -> Events:
    rows = np.flatnonzero(~block.is_status({*schema.STATUSES, *schema.TERMINAL_STATUSES}))
    found = np.asarray(block.status_words[rows], dtype=object)
    code = pd.factorize(found)[0]
    _, nth = np.unique(block.job_of(rows) * len(rows) + code, return_index=True)
    nth = np.sort(nth)
    word = found[nth]
    return Events(
        "unknown_status", rows[nth], lambda event: f"{word[event]!r} is no documented status; taken as running on"
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

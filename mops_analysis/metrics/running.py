"""The running samples of jobs: one honest counter, and when it moved. The ground that `eta` stands on.

Conventions: ``t`` are seconds of running since the first running sample, ``u`` is the work done since then: the sum of
the counter's rises, so that attaching late and retries need no special case. Work is counted and summed in integers, so
that a job's numbers are the same to the last bit whatever else is in the frame. A *tick* is a sample at which the
counter rose; *events* are the first sample and the ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mops_analysis import schema
from mops_analysis.metrics.arrays import Arrays, Bools, Floats, Ints, stretches

#: Numbers of rows and of events, of a block: fewer than 2^31.
Places = npt.NDArray[np.int32]

#: A counter beyond this is no count of items: sums of it would leave the integers.
_MAX_ITEMS = 2**52
_PERCENT = 1_000_000
_NOT_AT_WORK = schema.TERMINAL_STATUSES | {"pending", "awaiting_review"}


def by_stretch(
    rows: int, formula: Callable[[slice], npt.NDArray[Any]], dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[Any]:
    """A column of a whole block, made some rows at a time: what the formula needs on its way stays small."""
    column = np.empty(rows, dtype=dtype)
    for part in stretches(rows):
        column[part] = formula(part)
    return column


@dataclass(frozen=True)
class Events:
    """The first sample of each job and its ticks, e events.

    Attributes
    ----------
    newest
        The newest event at each running row (r).
    number
        How many ticks the job had up to this event, 0 for its first sample (e).
    work
        Work done up to the event (e).
    tau
        When it happened, in running seconds (e).
    """

    newest: Places
    number: Places
    work: Ints
    tau: Floats


def find_events(head: Places, t: Floats, u: Ints) -> Events:
    """Place each tick between its two polls: tau = t_i - (t_i - t_(i-1)) (1 - q) / 2, q = ticks / polls so far.

    Where each poll finds the counter moved (q = 1) it moves all the time, and stood where it stands at the poll.
    Where ticks are rare, the move happened anywhere between the two polls: on average half-way.
    """
    is_event = head == np.arange(len(head), dtype=np.int32)
    is_event[1:] |= u[1:] != u[:-1]
    newest = np.cumsum(is_event, dtype=np.int32)
    newest -= 1
    at = np.flatnonzero(is_event)
    number = np.arange(len(at), dtype=np.int32) - newest[head[at]]

    def moment(part: slice) -> Floats:
        poll = at[part]
        density = number[part] / np.maximum(poll - head[poll], 1)
        since_poll = np.where(number[part] > 0, t[poll] - t[poll - 1], 0.0)
        tau: Floats = t[poll] - since_poll * (1 - density) / 2
        return tau

    return Events(newest, number, u[at], by_stretch(len(at), moment))


@dataclass(frozen=True)
class Running:
    """The running samples of whole jobs, r rows; a job that changes its unit of work starts anew.

    Attributes
    ----------
    row
        Number of the row in its block.
    head
        Index of the first row of the same job.
    t
        Running time since then [s].
    work, size
        The counter, and what it is to reach.
    growth
        How much the size has grown since then.
    changed
        Whether the size has ever changed since then.
    known
        Whether the size is known.
    events
        When the counter moved, and what was done by then.
    """

    row: Places
    head: Places
    t: Floats
    work: Ints
    size: Ints
    growth: Ints
    changed: Bools
    known: Bools
    events: Events

    @property
    def u(self) -> Ints:
        """Work done since the first row, in items or, for a job without a total, in millionths of a percent."""
        done: Ints = self.events.work.take(self.events.newest)
        return done

    def done(self, rows: Ints) -> Ints:
        """The same at some rows."""
        done: Ints = self.events.work.take(self.events.newest.take(rows))
        return done

    def left(self, rows: Ints) -> Ints:
        """What the counter still has to rise at some rows."""
        left: Ints = self.size.take(rows) - self.work.take(rows)
        return left

    @cached_property
    def resizes(self) -> Ints:
        """The rows at which the size changed, but for each job's first."""
        return self._within_jobs(self.growth[1:] != self.growth[:-1])

    @cached_property
    def falls(self) -> Ints:
        """The rows at which the counter fell."""
        return self._within_jobs(self.work[1:] < self.work[:-1])

    def _within_jobs(self, happens: Bools) -> Ints:
        """The rows at which it happens; whether it does is said from the second row on."""
        rows = np.flatnonzero(happens) + 1
        return rows[rows > self.head[rows]]


def count_work(block: Arrays, includes_failed: Bools) -> Running:
    """Count the work of whole jobs; per row, whether its processed items include the failed ones."""
    row = np.flatnonzero(block.is_status({schema.RUNNING_STATUS})).astype(np.int32)
    is_head = _is_first(block, row)
    is_percent = _counts_percentage(block, row, _newest(is_head))
    work, rise = _counter(block, row, includes_failed, is_percent)
    rise[is_head] = 0
    is_head |= _starts_anew(is_percent, rise, _newest(is_head))
    rise[is_head] = 0
    head = _newest(is_head)
    t = _running_time(block, row, head)
    events = find_events(head, t, _sum_since(head, rise))

    known = is_percent | (block.total[row] > 0)
    size = by_stretch(len(row), lambda part: _size(block, row[part], is_percent[part], work[part]), np.int64)
    resize = _steps(size)
    resize[is_head | ~known | ~_previous(known) | (is_percent != _previous(is_percent))] = 0
    changed = _newest(resize != 0) >= head
    return Running(row, head, t, work, size, _sum_since(head, resize), changed, known, events)


def _is_first(block: Arrays, row: Places) -> Bools:
    """Whether these rows, which rise, are their jobs' first; a job that has none names the next one's."""
    is_first = np.zeros(len(row) + 1, dtype=bool)
    is_first[np.searchsorted(row, block.first.astype(np.int32))] = True
    return is_first[:-1]


def _counts_percentage(block: Arrays, row: Places, head: Places) -> Bools:
    """Whether a row has no total, and either a percentage so far or no items."""
    has_some = by_stretch(len(row), lambda part: _percentage(block, row[part]) > 0, np.bool_)
    has_percentage = _newest(has_some) >= head
    return (block.total[row] <= 0) & (has_percentage | (block.processed[row] <= 0))


def _percentage(block: Arrays, row: Places) -> Ints:
    return np.rint(np.clip(np.nan_to_num(block.percentage[row]), 0, 100) * _PERCENT).astype(np.int64)


def _counter(block: Arrays, row: Places, includes_failed: Bools, is_percent: Bools) -> tuple[Ints, Ints]:
    """The counter in each row's unit, and its rise since the row before.

    The step to a row is measured in that row's unit at both ends: learning how to count is no work.
    """
    work, rise = (np.empty(len(row), dtype=np.int64) for _ in range(2))
    for part in stretches(len(row)):
        rows = row[np.maximum(np.arange(part.start - 1, part.stop), 0)]  # with the one before
        processed, failed = (np.clip(counts[rows], 0, _MAX_ITEMS) for counts in (block.processed, block.failed))
        both = processed + failed
        percentage = _percentage(block, rows)
        adds = ~includes_failed[rows[1:]]
        here, before = (
            np.where(is_percent[part], percentage[at], np.where(adds, both[at], processed[at]))
            for at in (slice(1, None), slice(-1))
        )
        work[part] = here
        rise[part] = np.maximum(here - before, 0)
    return work, rise


def _starts_anew(is_percent: Bools, rise: Ints, head: Places) -> Bools:
    """Whether the unit of work changes after work was done."""
    has_worked = _newest(rise > 0)[:-1] >= head[1:]
    return np.append(False, (is_percent[1:] != is_percent[:-1]) & has_worked)


def _running_time(block: Arrays, row: Places, head: Places) -> Floats:
    """Time since the first row that counts [s]: a step does, unless the job was waiting or over at its start."""
    waits = block.previous(block.is_status(_NOT_AT_WORK))
    clock = block.so_far(np.where(waits, 0, block.steps(block.time_ns)))[row]
    clock -= clock[head]
    return clock / 1e9


def _size(block: Arrays, row: Places, is_percent: Bools, work: Ints) -> Ints:
    """What the counter is to reach; where there is no total, where it stands."""
    total = np.clip(block.total[row], 0, 2 * _MAX_ITEMS)
    return np.where(is_percent, 100 * _PERCENT, np.maximum(total, work))


def _newest(happens: Bools) -> Places:
    """The newest row at or before each one at which it happened; -1 before that."""
    rows: Places = np.where(happens, np.arange(len(happens), dtype=np.int32), np.int32(-1))
    return np.maximum.accumulate(rows, out=rows)


def _previous(values: Bools) -> Bools:
    """The values one row up; the first row keeps its own."""
    return np.concatenate([values[:1], values[:-1]])


def _steps(values: Ints) -> Ints:
    """Change since the row before; none at the first."""
    change = np.zeros_like(values)
    np.subtract(values[1:], values[:-1], out=change[1:])
    return change


def _sum_since(head: Places, values: Ints) -> Ints:
    """Sum from the job's first row on, in place; integers, hence the same whatever jobs stand before."""
    np.cumsum(values, out=values)
    values -= values[head]
    return values


# The end


def finished_rows(arrays: Arrays) -> Ints:
    """First row of each job at which it had finished, -1 where it has not (k)."""
    finished = np.flatnonzero(arrays.is_status(schema.FINISHED_STATUSES))[::-1]
    ends = np.full(len(arrays.job_ids), -1)
    ends[arrays.job[finished]] = finished
    return ends


def finish_ns(arrays: Arrays) -> Ints:
    """Half-way between the last sample before the end of each job and the first one after (k)."""
    after = np.maximum(finished_rows(arrays), arrays.first)
    before = np.maximum(after - 1, arrays.first)
    half_way: Ints = arrays.time_ns[before] + (arrays.time_ns[after] - arrays.time_ns[before]) // 2
    return half_way

"""The running samples of jobs: one honest counter, and when it moved. The ground that `eta` stands on.

Conventions: ``t`` are seconds of running since the first running sample, ``u`` is the work done since then: the sum of
the counter's rises, so that attaching late and retries need no special case. Work is counted and summed in integers, so
that a job's numbers are the same to the last bit whatever else is in the frame. A *tick* is a sample at which the
counter rose; *events* are the first sample and the ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mops_analysis import schema
from mops_analysis.metrics.arrays import Arrays, Bools, Floats, Ints

#: A counter beyond this is no count of items: sums of it would leave the integers.
_MAX_ITEMS = 2**52
_PERCENT = 1_000_000
_NOT_AT_WORK = schema.TERMINAL_STATUSES | {"pending", "awaiting_review"}


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
    u
        Work done since then, in items or, for a job without a total, in millionths of a percent.
    work, size
        The counter, and what it is to reach.
    growth
        How much the size has grown since then.
    changed
        Whether the size has ever changed since then.
    known
        Whether the size is known.
    """

    row: Ints
    head: Ints
    t: Floats
    u: Ints
    work: Ints
    size: Ints
    growth: Ints
    changed: Bools
    known: Bools

    @cached_property
    def polls(self) -> Ints:
        """Number of polls before each row, 0 for the first."""
        return np.arange(len(self.head)) - self.head

    @property
    def work_left(self) -> Ints:
        """What the counter still has to rise."""
        return self.size - self.work

    @cached_property
    def resizes(self) -> Ints:
        """The rows at which the size changed, but for each job's first."""
        return self._changes(self.growth != _previous(self.growth))

    @cached_property
    def falls(self) -> Ints:
        """The rows at which the counter fell."""
        return self._changes(self.work < _previous(self.work))

    def _changes(self, happens: Bools) -> Ints:
        return np.flatnonzero(happens & (self.polls > 0))


def count_work(block: Arrays, includes_failed: Bools) -> Running:
    """Count the work of whole jobs; per row, whether its processed items include the failed ones."""
    row = np.flatnonzero(block.is_status({schema.RUNNING_STATUS}))
    clock = _running_clock(block)[row]
    head = _heads(np.diff(block.job[row], prepend=-1) != 0)
    processed, failed = (np.clip(counts[row], 0, _MAX_ITEMS) for counts in (block.processed, block.failed))
    total = np.clip(block.total[row], 0, 2 * _MAX_ITEMS)
    percentage = np.rint(np.clip(np.nan_to_num(block.percentage[row]), 0, 100) * _PERCENT).astype(np.int64)

    is_percent = (total == 0) & ((_sum_so_far(percentage > 0, head) > 0) | (processed == 0))
    unit = np.where(is_percent, 2, np.where(includes_failed[row], 0, 1))
    counters = (processed, processed + failed, percentage)
    work = np.choose(unit, counters)
    # The step to a row is measured in that row's unit at both ends: learning how to count is no work.
    rise = np.maximum(_steps(work, np.choose(unit, [_previous(counter) for counter in counters]), head), 0)
    reunit = (_steps(is_percent, _previous(is_percent), head) != 0) & (_sum_so_far(rise, head) > rise)
    head = _heads((np.arange(len(head)) == head) | reunit)
    rise[head] = 0

    known = is_percent | (total > 0)
    size = np.where(is_percent, 100 * _PERCENT, np.maximum(total, work))
    comparable = known & _previous(known) & (is_percent == _previous(is_percent))
    resize = np.where(comparable, _steps(size, _previous(size), head), 0)
    return Running(
        row=row,
        head=head,
        t=(clock - clock[head]) / 1e9,
        u=_sum_so_far(rise, head),
        work=work,
        size=size,
        growth=_sum_so_far(resize, head),
        changed=_sum_so_far(resize != 0, head) > 0,
        known=known,
    )


def _running_clock(block: Arrays) -> Ints:
    """Time that counts [ns]: a stretch between two samples does, unless the job was waiting or over at its start."""
    waits = block.previous(block.is_status(_NOT_AT_WORK))
    return block.so_far(np.where(waits, 0, block.steps(block.time_ns)))


def _heads(is_head: Bools) -> Ints:
    """Index of the newest head at or before each row."""
    return np.maximum.accumulate(np.where(is_head, np.arange(len(is_head)), 0))


def _previous(values: Ints | Bools) -> Ints:
    """The values one row up; the first row keeps its own."""
    return np.concatenate([values[:1], values[:-1]])


def _steps(values: Ints | Bools, before: Ints | Bools, head: Ints) -> Ints:
    """Change since the row before, none at a job's first row."""
    return np.where(np.arange(len(head)) == head, 0, values.astype(np.int64) - before)


def _sum_so_far(values: Ints | Bools, head: Ints) -> Ints:
    """Sum from the job's first row on; integers, hence the same whatever jobs stand before."""
    sums = np.cumsum(values, dtype=np.int64)
    return sums - sums[head] + values[head]


# Ticks


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

    newest: Ints
    number: Ints
    work: Ints
    tau: Floats

    @cached_property
    def older(self) -> Ints:
        """How many events stand before the newer half of the job's: before the newest ceil(m / 2) + 1 of m + 1 (e)."""
        return np.arange(len(self.number)) - -(-self.number // 2)

    @cached_property
    def first(self) -> Ints:
        """The job's first event, for each event (e)."""
        return np.arange(len(self.number)) - self.number


def find_events(running: Running) -> Events:
    """Place each tick between its two polls: tau = t_i - (t_i - t_(i-1)) (1 - q) / 2, q = ticks / polls so far.

    Where each poll finds the counter moved (q = 1) it moves all the time, and stood where it stands at the poll.
    Where ticks are rare, the move happened anywhere between the two polls: on average half-way.
    """
    polls = running.polls
    at = np.flatnonzero((polls == 0) | (np.diff(running.u, prepend=0) != 0))
    newest = np.repeat(np.arange(len(at)), np.diff(at, append=len(polls)))
    number = np.arange(len(at)) - newest[running.head[at]]
    density = number / np.maximum(polls[at], 1)
    since_poll = np.where(number > 0, running.t[at] - running.t[at - 1], 0.0)
    return Events(newest, number, running.u[at], running.t[at] - since_poll * (1 - density) / 2)


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

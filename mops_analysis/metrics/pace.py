"""Pace of a job and the time its work left takes at that pace: the estimate that `eta` starts from.

Conventions as in `metrics.running`: events are a job's first sample and its ticks; ``U`` and ``tau`` are work and time
at an event. A log pace is the logarithm of the seconds per item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from mops_analysis.metrics.arrays import Bools, Floats, Ints
from mops_analysis.metrics.running import Events, Running, find_events

#: Windows of the pace: so many newest ticks, or such a share of all events.
_LAST_TICKS = (3, 6, 12, 24, 48)
_LAST_SHARES = (2, 4, 8, 16)
#: Past forecasts are made where this share (numerator, denominator) of today's work was done.
ORIGINS = ((1, 2), (4, 5))
#: Error of a forecast in logarithms: counts as at least this much; taken to be this much while none is known.
ERROR_FLOOR, ERROR_UNKNOWN = 0.02, 0.3
#: Errors are summed as integers of this many parts of one.
_ERROR_UNIT = 2.0**32
#: Two ticks are never closer than this [s], nor two polls in the mean.
MIN_TICK_S, _MIN_POLL_S = 1e-6, 1e-3


# Pace


@dataclass(frozen=True)
class Pace:
    """What the ticks so far tell about the pace, e events.

    Attributes
    ----------
    log_pace
        Logarithm of the seconds per item.
    origins
        Where past forecasts were made, per share of `ORIGINS`.
    errors
        Mean error that this pace would have had as a forecast so far [logarithms], per origin.
    """

    log_pace: Floats
    origins: tuple[Origin, ...]
    errors: tuple[Floats, ...]

    def newest_error(self, at: Ints) -> Floats:
        """Signed error of the newest past forecast, made where half of the work was done; 0 where there is none."""
        half = self.origins[0]
        missed = self.log_pace[half.at[at]] - half.log_truth[at]
        return np.where(half.valid[at], np.clip(missed, -2, 2), 0.0)


def find_pace(events: Events) -> Pace:
    """Mean log pace of the windows, weighted by (mean error of their forecasts so far + 0.02)^-4."""
    origins = tuple(find_origin(events, share) for share in ORIGINS)
    untried = ~np.logical_or.reduce([sum_recent(events, origin.valid) > 0 for origin in origins])
    trials = {least: [Trials.of(events, origin, least) for origin in origins] for least in (1, 2)}
    weighted, weights = np.zeros(len(events.number)), np.zeros(len(events.number))
    for start, least in windows(events):
        log_pace = log_pace_since(events, start)
        tried = sum(trial.known.astype(np.int64) for trial in trials[least])
        error = sum(trial.mean(np.abs(trial.origin.missed(log_pace))) for trial in trials[least])
        error /= np.maximum(tried, 1)
        error += ERROR_FLOOR
        error *= error
        error *= error
        weight = np.where(untried, 1.0, 1 / error)
        weight[(events.number < least) | ~(untried | (tried > 0))] = 0.0
        weights += weight
        weighted += np.multiply(weight, log_pace, out=weight)
    log_pace = weighted / np.where(weights > 0, weights, 1.0)
    errors = (trial.mean(np.abs(trial.origin.missed(log_pace)), unknown=ERROR_UNKNOWN) for trial in trials[1])
    return Pace(log_pace, origins, tuple(errors))


def windows(events: Events) -> Iterator[tuple[Ints, int]]:
    """First event of each window that ends at each event, and from how many ticks on there is such a window."""
    number, first, newest = events.number, events.first, np.arange(len(events.number))
    yield first, 1
    # Without the stretch before the first tick, which is often mere lead time.
    yield np.where(number > 1, first + 1, first), 2
    for ticks in _LAST_TICKS:
        yield newest - np.minimum(ticks, number), 1
    for share in _LAST_SHARES:
        yield newest - np.minimum(np.maximum(-(-number // share), 2), number), 1


def log_pace_since(events: Events, start: Ints, at: Ints | slice = slice(None)) -> Floats:
    """ln((tau - tau_start) / (U - U_start)) from each window's first event to its last; 0 for an empty window."""
    took = np.maximum(events.tau[at] - events.tau[start], MIN_TICK_S)
    done = events.work[at] - events.work[start]
    took /= np.maximum(done, 1)
    log_pace: Floats = np.log(took, out=took)
    log_pace[done <= 0] = 0.0
    return log_pace


@dataclass(frozen=True)
class Origin:
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

    def missed(self, log_pace: Floats) -> Floats:
        """Log pace foretold there minus log pace come true."""
        return log_pace[self.at] - self.log_truth


def find_origin(events: Events, share: tuple[int, int]) -> Origin:
    """The newest event by which no more than this share of the work was done, for each event."""
    at = origin_of(events, share, np.arange(len(events.number)))
    valid = (events.number[at] >= 1) & (events.work[at] < events.work)
    return Origin(at, valid, log_pace_since(events, at))


def origin_of(events: Events, share: tuple[int, int], of: Ints) -> Ints:
    """The same for these events alone, which rise."""
    part, whole = share
    wholes, rest = np.divmod(events.work[of], whole)
    bound = wholes * part + rest * part // whole
    first = of - events.number[of]
    edges = np.flatnonzero(np.diff(first, prepend=-1, append=len(events.number)))
    at = np.empty(len(of), dtype=np.int64)
    for start, end in pairwise(edges.tolist()):
        work = events.work[first[start] : of[end - 1] + 1]
        at[start:end] = first[start] - 1 + np.searchsorted(work, bound[start:end], side="right")
    return at


@dataclass(frozen=True)
class Trials:
    """The past forecasts that the newer half of a job's events has proved, for each event.

    Attributes
    ----------
    events, origin
        The events, and where their forecasts were made.
    tried
        Whether the event proves a forecast.
    tries
        How many such events the newer half has.
    """

    events: Events
    origin: Origin
    tried: Bools
    tries: Ints

    @classmethod
    def of(cls, events: Events, origin: Origin, least: int = 1) -> Trials:
        """The forecasts of a window that exists from so many ticks on."""
        tried = origin.valid & (events.number[origin.at] >= least)
        return cls(events, origin, tried, sum_recent(events, tried))

    @property
    def known(self) -> Bools:
        """Whether the newer half proves any."""
        return self.tries > 0

    def mean(self, error: Floats, *, unknown: float = 0.0) -> Floats:
        """Mean of these errors, one for each event that proves a forecast."""
        # Sums of integers: a float sum would depend on what was summed before it, hence on other jobs.
        parts = error * _ERROR_UNIT
        parts *= self.tried
        mean: Floats = sum_recent(self.events, np.rint(parts, out=parts).astype(np.int64)) / _ERROR_UNIT
        mean /= np.maximum(self.tries, 1)
        if unknown:
            mean[~self.known] = unknown
        return mean


def sum_recent(events: Events, values: Ints | Bools) -> Ints:
    """Sum over the newer half of the job's events: the newest ceil(m / 2) + 1 of the m + 1."""
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    recent: Ints = sums[1:] - sums[events.older]
    return recent


def sum_newest(values: Ints | Bools, count: Ints) -> Ints:
    """Sum over the newest `count` values up to each one."""
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    recent: Ints = sums[1:] - sums[np.arange(1, len(values) + 1) - count]
    return recent


# Remaining time


@dataclass(frozen=True)
class Ticking:
    """What the ticks of whole jobs tell, e events.

    Attributes
    ----------
    events
        The ticks.
    pace
        What they tell about the pace.
    gap_variance
        Variance of the logarithm of the time between ticks.
    """

    events: Events
    pace: Pace
    gap_variance: Floats

    @classmethod
    def of(cls, running: Running) -> Ticking:
        """Find the ticks and the pace."""
        events = find_events(running)
        return cls(events, find_pace(events), log_variance(events, np.diff(events.tau, prepend=0.0)))

    @cached_property
    def advance_variance(self) -> Floats:
        """Variance of the logarithm of the work per tick."""
        advance = np.where(self.events.number > 0, np.diff(self.events.work, prepend=0), 0)
        return log_variance(self.events, advance.astype(np.float64))

    @cached_property
    def longest_gap(self) -> Floats:
        """Longest time between two of the job's ticks so far [s]."""
        gap = np.where(self.events.number > 0, np.diff(self.events.tau, prepend=0.0), 0.0)
        edges = np.append(np.flatnonzero(self.events.number == 0), len(gap))
        for start, end in pairwise(edges.tolist()):
            np.maximum.accumulate(gap[start:end], out=gap[start:end])
        return gap

    @cached_property
    def past_errors(self) -> tuple[Floats, ...]:
        """How far off lambda was as a forecast [logarithms]: mean |e| and mean e, at each origin."""
        means: list[Floats] = []
        for origin in self.pace.origins:
            trials, missed = Trials.of(self.events, origin), np.clip(origin.missed(self.pace.log_pace), -8, 8)
            means += [trials.mean(np.abs(missed), unknown=ERROR_UNKNOWN), trials.mean(missed)]
        return tuple(means)


@dataclass(frozen=True)
class Estimate:
    """What is known at some running rows, r rows.

    Attributes
    ----------
    rows
        The running rows; they rise.
    ticking
        The ticks that it stands on.
    newest
        The newest of them.
    gap
        Seconds that a tick is expected to take.
    age
        Seconds since the newest tick.
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

    rows: Ints
    ticking: Ticking
    newest: Ints
    gap: Floats
    age: Floats
    remaining: Floats
    delta: Floats
    ticks: Ints
    mean_advance: Floats
    errors: tuple[Floats, ...]


def estimate_remaining(running: Running, ticking: Ticking | None = None, rows: Ints | None = None) -> Estimate:
    """B = max(e^lambda R (1 + growth) - regular min(age, gap), 0) + max(age - 2 gap, 0), at these rows; None: at all.

    The work left at the present pace, more of it while the total grows, R / (1 - growth) of it while the total falls;
    credit for the batch under way if batches are regular; a stall is expected to last as long again as it already has.
    """
    ticking = ticking or Ticking.of(running)
    rows = np.arange(len(running.t)) if rows is None else rows
    events, newest, t = ticking.events, ticking.events.newest[rows], running.t[rows]
    advance = _mean_advance(events, newest)
    seconds_per_item = np.exp(ticking.pace.log_pace[newest])
    gap = seconds_per_item * advance
    age = t - events.tau[newest]
    growth = np.clip(growth_of_total(running, 8, rows), -1, 1)
    work_left = running.work_left[rows] * (1 + np.maximum(growth, 0)) / (1 - np.minimum(growth, 0))
    credit = regularity(events, ticking.gap_variance, newest) * np.minimum(age, gap)
    left = np.maximum(seconds_per_item * work_left - credit, 0)
    return Estimate(
        rows=rows,
        ticking=ticking,
        newest=newest,
        gap=gap,
        age=age,
        remaining=left + np.maximum(age - 2 * gap, 0),
        delta=np.maximum(t / np.maximum(running.polls[rows], 1), _MIN_POLL_S),
        ticks=events.number[newest],
        mean_advance=advance,
        errors=tuple(error[newest] for error in ticking.pace.errors),
    )


def _mean_advance(events: Events, at: Ints) -> Floats:
    """Work per tick, of the newest eight ticks; 0 before the first."""
    ticks = np.minimum(events.number[at], 8)
    advance: Floats = (events.work[at] - events.work[at - ticks]) / np.maximum(ticks, 1)
    return advance


def growth_of_total(running: Running, parts: int, rows: Ints) -> Floats:
    """How much the total grew per work done, over the newest part of the polls: 1 if it grew without work."""
    polls = running.polls[rows]
    before = running.head[rows] + polls - -(-polls // parts)
    grown = running.growth[rows] - running.growth[before]
    done = running.u[rows] - running.u[before]
    growth: Floats = np.clip(np.where(done > 0, grown / np.maximum(done, 1), np.sign(grown)), -1, 2)
    return growth


def regularity(events: Events, gap_variance: Floats, at: Ints) -> Floats:
    """1 for ticks at equal distances, falling to 0 where their logarithm spreads by 0.5, over the newer half."""
    return np.where(events.number[at] > 0, np.clip(1 - gap_variance[at] / 0.25, 0, 1), 0.0)


def log_variance(events: Events, values: Floats) -> Floats:
    """Variance of the logarithm of what each tick has, over the newer half of the ticks, at least four."""
    number = events.number
    ticked = number > 0
    first = values[np.minimum(events.first + 1, len(values) - 1)]
    log_ratio = np.log(np.maximum(np.where(ticked, values, 1.0), MIN_TICK_S) / np.maximum(first, MIN_TICK_S))
    steps = np.where(ticked, np.rint(np.clip(log_ratio, -30, 30) * 2.0**16), 0).astype(np.int64)
    count = np.minimum(np.maximum(-(-number // 2), 4), number)
    mean, mean_square = (sum_newest(sums, count) / np.maximum(count, 1) for sums in (steps, steps * steps))
    variance: Floats = np.maximum(mean_square - mean * mean, 0) / 2.0**32
    return variance

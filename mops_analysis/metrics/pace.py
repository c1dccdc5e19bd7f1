"""Pace of a job and the time its work left takes at that pace: the estimate that `eta` starts from.

Conventions as in `metrics.running`: events are a job's first sample and its ticks; ``U`` and ``tau`` are work and time
at an event. A log pace is the logarithm of the seconds per item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np

from mops_analysis.metrics.arrays import Bools, Floats, Ints, stretches
from mops_analysis.metrics.running import Events, Places, Running, by_stretch

#: Past forecasts are made where this share (numerator, denominator) of today's work was done.
ORIGINS = ((1, 2), (4, 5))
#: Error of a forecast in logarithms: counts as at least this much; taken to be this much while none is known.
ERROR_FLOOR, ERROR_UNKNOWN = 0.02, 0.3
#: An error as an input of the correction counts as no more than this.
_MOST_MISSED = 8
#: Errors are summed as integers of this many parts of one.
_ERROR_UNIT = 2.0**32
#: Two ticks are never closer than this [s], nor two polls in the mean.
MIN_TICK_S, _MIN_POLL_S = 1e-6, 1e-3


# Windows: how many ticks each reaches back


def all_ticks(number: Places) -> Places:
    """As many as there are."""
    return number


def without_lead(number: Places) -> Places:
    """All but the stretch before the first tick, which is often mere lead time."""
    return number - (number > 1)


def last_ticks(number: Places, ticks: int) -> Places:
    """So many newest ones."""
    return np.minimum(number, ticks)


def last_share(number: Places, parts: int) -> Places:
    """The newest one in so many, at least two."""
    return np.minimum(np.maximum(-(-number // parts), 2), number)


Window = Callable[[Places], Places]
#: The windows of the pace, and from how many ticks on there is such a window.
_WINDOWS: tuple[tuple[Window, int], ...] = (
    (all_ticks, 1),
    (without_lead, 2),
    *((partial(last_ticks, ticks=ticks), 1) for ticks in (3, 6, 12, 24, 48)),
    *((partial(last_share, parts=parts), 1) for parts in (2, 4, 8, 16)),
)


# Pace


@dataclass(frozen=True)
class Pace:
    """What the ticks so far tell about the pace, e events.

    Attributes
    ----------
    log_pace
        Logarithm of the seconds per item.
    origins
        The event at which the forecast was made that this event proves, per share of `ORIGINS`.
    errors
        Mean error that this pace would have had as a forecast so far [logarithms], per origin.
    """

    log_pace: Floats
    origins: tuple[Places, ...]
    errors: tuple[Floats, ...]


def find_pace(events: Events) -> Pace:
    """Mean log pace of the windows, weighted by (mean error of their forecasts so far + 0.02)^-4."""
    origins = [Origin.of(events, find_origins(events, share)) for share in ORIGINS]
    trials = {least: [Trials.of(events, origin.at, least) for origin in origins] for least in (1, 2)}
    weighted, weights = (np.zeros(len(events.number)) for _ in range(2))
    for window, least in _WINDOWS:
        log_pace = by_stretch(len(weights), partial(_window_pace, events, window))
        for part, weight in _weights(origins, trials[least], log_pace):
            weight[~(trials[1][0].known(part) | trials[1][1].known(part))] = 1.0  # no window has been tried
            weight[events.number[part] < least] = 0.0
            weights[part] += weight
            weighted[part] += np.multiply(weight, log_pace[part], out=weight)
        del log_pace
    weights[weights <= 0] = 1.0
    log_pace = np.divide(weighted, weights, out=weighted)
    del weights
    errors = (
        trial.mean(partial(origin.error, log_pace), unknown=ERROR_UNKNOWN)
        for origin, trial in zip(origins, trials[1], strict=True)
    )
    return Pace(log_pace, tuple(origin.at for origin in origins), tuple(errors))


def _window_pace(events: Events, window: Window, part: slice) -> Floats:
    """Log pace of the window that ends at each event."""
    return log_pace_since(events, np.arange(part.start, part.stop) - window(events.number[part]), part)


def _weights(origins: list[Origin], trials: list[Trials], log_pace: Floats) -> Iterator[tuple[slice, Floats]]:
    """(mean error + 0.02)^-4 over the origins from which a forecast was tried, 0 where from none; by stretches."""
    sums = [trial.sums(partial(origin.error, log_pace)) for origin, trial in zip(origins, trials, strict=True)]
    for part in stretches(len(log_pace)):
        tried = sum(trial.known(part).astype(np.int8) for trial in trials)
        error = sum(trial.recent(of_trial, part) for trial, of_trial in zip(trials, sums, strict=True))
        error /= np.maximum(tried, 1)
        error += ERROR_FLOOR
        error *= error
        error *= error
        weight = np.divide(1, error, out=error)
        weight[tried == 0] = 0.0
        yield part, weight


def log_pace_since(events: Events, start: Ints | Places, at: Ints | slice) -> Floats:
    """ln((tau - tau_start) / (U - U_start)) from each window's first event to its last; 0 for an empty window."""
    took = np.maximum(events.tau[at] - events.tau.take(start), MIN_TICK_S)
    done = events.work[at] - events.work.take(start)
    took /= np.maximum(done, 1)
    log_pace: Floats = np.log(took, out=took)
    log_pace[done <= 0] = 0.0
    return log_pace


def find_origins(events: Events, share: tuple[int, int]) -> Places:
    """The newest event by which no more than this share of the work was done, for each event."""
    return by_stretch(
        len(events.number), lambda part: origin_of(events, share, np.arange(part.start, part.stop)), np.int32
    )


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
class Origin:
    """Where a past forecast was made, for each event that proves it.

    Attributes
    ----------
    at
        The event at which it was made.
    log_truth
        Logarithm of the seconds per item that came true from there on.
    """

    at: Places
    log_truth: Floats

    @classmethod
    def of(cls, events: Events, at: Places) -> Origin:
        """What came of the forecasts that were made at these events."""
        return cls(at, by_stretch(len(at), lambda part: log_pace_since(events, at[part], part)))

    def missed(self, log_pace: Floats, part: slice) -> Floats:
        """Log pace foretold there minus log pace come true."""
        missed = log_pace.take(self.at[part])
        missed -= self.log_truth[part]
        return missed

    def error(self, log_pace: Floats, part: slice) -> Floats:
        """How far off the forecast was."""
        missed = self.missed(log_pace, part)
        return np.abs(missed, out=missed)


def is_proof(events: Events, of: Ints | slice, origin: Ints | Places, least: int = 1) -> Bools:
    """Whether these events prove a forecast: at the origin so many ticks gave a pace, and there was work to come."""
    proves: Bools = (events.number.take(origin) >= least) & (events.work.take(origin) < events.work[of])
    return proves


@dataclass(frozen=True)
class Trials:
    """The past forecasts that the newer half of a job's events has proved, for each event.

    Attributes
    ----------
    number
        The number of the event in its job.
    proofs
        How many of the job's events up to this one prove a forecast: once one does, so do all that follow.
    """

    number: Places
    proofs: Places

    @classmethod
    def of(cls, events: Events, origins: Places, least: int = 1) -> Trials:
        """The forecasts, made at these events, of a window that exists from so many ticks on."""
        is_one = by_stretch(len(origins), lambda part: is_proof(events, part, origins[part], least), np.int32)
        so_far = np.cumsum(is_one, out=is_one)
        so_far -= so_far.take(np.arange(len(so_far), dtype=np.int32) - events.number)
        return cls(events.number, so_far)

    def known(self, part: slice) -> Bools:
        """Whether the newer half proves any."""
        return self.proofs[part] > 0

    def sums(self, error: Callable[[slice], Floats]) -> Ints:
        """Sums of the errors of the forecasts that the events up to each one prove."""
        # Sums of integers: a float sum would depend on what was summed before it, hence on other jobs.
        sums = np.empty(len(self.number), dtype=np.int64)
        for part in stretches(len(sums)):
            parts = error(part) * _ERROR_UNIT
            parts *= self.known(part)
            np.rint(parts, out=sums[part], casting="unsafe")
        return np.cumsum(sums, out=sums)

    def recent(self, sums: Ints, part: slice) -> Floats:
        """Mean over the newer half, the newest ceil(m / 2) + 1 of m ticks; 0 where it proves none."""
        ticks = np.minimum(-(-self.number[part] // 2) + 1, self.number[part])
        mean: Floats = sum_newest(ticks, sums, part) / _ERROR_UNIT
        mean /= np.maximum(np.minimum(self.proofs[part], ticks), 1)
        return mean

    def mean(self, error: Callable[[slice], Floats], *, unknown: float = 0.0) -> Floats:
        """Mean of these errors over the newer half."""
        mean = by_stretch(len(self.number), partial(self.recent, self.sums(error)))
        mean[self.proofs == 0] = unknown
        return mean


def sum_newest(ticks: Places, sums: Ints, part: slice) -> Ints:
    """Sum over so many newest ticks of each event, given the sums over all events up to each one."""
    newest: Ints = sums[part] - sums.take(np.arange(part.start, part.stop) - ticks)
    return newest


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
        events = running.events
        return cls(events, find_pace(events), log_variance(events, events.tau))

    @cached_property
    def advance_variance(self) -> Floats:
        """Variance of the logarithm of the work per tick."""
        return log_variance(self.events, self.events.work)

    @cached_property
    def _longest(self) -> Ints:
        """The ticks that took longer than all before them in their job, and each job's first event."""
        longest = np.diff(self.events.tau, prepend=0.0)
        is_first = self.events.number == 0
        longest[is_first] = 0.0
        for start, end in pairwise([*np.flatnonzero(is_first).tolist(), len(longest)]):
            np.maximum.accumulate(longest[start:end], out=longest[start:end])
        is_first[1:] |= longest[1:] > longest[:-1]
        return np.flatnonzero(is_first)

    def longest_gap(self, at: Ints) -> Floats:
        """Longest time between two of the job's ticks up to these events [s]."""
        tau, longest = self.events.tau, self._longest[np.searchsorted(self._longest, at, side="right") - 1]
        return np.where(self.events.number[longest] > 0, tau[longest] - tau[longest - 1], 0.0)

    @cached_property
    def past_errors(self) -> tuple[Floats, ...]:
        """How far off lambda was as a forecast [logarithms]: mean |e| and mean e, at each origin."""
        pairs = zip(self.pace.origins, self.pace.errors, strict=True)
        return tuple(mean for at, errors in pairs for mean in self._past_errors(at, errors))

    def _past_errors(self, at: Places, errors: Floats) -> tuple[Floats, Floats]:
        trials = Trials.of(self.events, at)
        missed = partial(Origin.of(self.events, at).missed, self.pace.log_pace)

        def clipped(part: slice) -> Floats:
            return np.clip(missed(part), -_MOST_MISSED, _MOST_MISSED)

        # Where none is cut off, their sizes are the errors of the pace, which are there already.
        is_far = any((np.abs(missed(part)) > _MOST_MISSED)[trials.known(part)].any() for part in stretches(len(at)))
        sizes = trials.mean(lambda part: np.abs(clipped(part)), unknown=ERROR_UNKNOWN) if is_far else errors
        return sizes, trials.mean(clipped)

    def newest_error(self, at: Ints) -> Floats:
        """Signed error of the newest past forecast, made where half of the work was done; 0 where there is none."""
        origin = self.pace.origins[0][at]
        missed = self.pace.log_pace[origin] - log_pace_since(self.events, origin, at)
        return np.where(is_proof(self.events, at, origin), np.clip(missed, -2, 2), 0.0)


@dataclass(frozen=True)
class Estimate:
    """What is known at some running rows, r rows.

    Attributes
    ----------
    rows
        The running rows; they rise.
    polls
        How many polls the job had before each one.
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
    polls: Ints
    ticking: Ticking
    newest: Ints
    gap: Floats
    age: Floats
    remaining: Floats
    delta: Floats
    ticks: Places
    mean_advance: Floats
    errors: tuple[Floats, ...]


def estimate_remaining(running: Running, ticking: Ticking | None = None, rows: Ints | None = None) -> Estimate:
    """B = max(e^lambda R (1 + growth) - regular min(age, gap), 0) + max(age - 2 gap, 0), at these rows; None: at all.

    The work left at the present pace, more of it while the total grows, R / (1 - growth) of it while the total falls;
    credit for the batch under way if batches are regular; a stall is expected to last as long again as it already has.
    """
    ticking = ticking or Ticking.of(running)
    rows = np.arange(len(running.t)) if rows is None else rows
    events, t = ticking.events, running.t.take(rows)
    newest = events.newest.take(rows).astype(np.int64)  # numpy would convert it at each use
    polls = rows - running.head.take(rows)
    advance = _mean_advance(events, newest)
    seconds_per_item = np.exp(ticking.pace.log_pace.take(newest))
    gap = seconds_per_item * advance
    age = t - events.tau.take(newest)
    growth = np.clip(growth_of_total(running, 8, rows, polls), -1, 1)
    work_left = running.left(rows) * (1 + np.maximum(growth, 0)) / (1 - np.minimum(growth, 0))
    credit = regularity(events, ticking.gap_variance, newest) * np.minimum(age, gap)
    left = np.maximum(seconds_per_item * work_left - credit, 0)
    return Estimate(
        rows=rows,
        polls=polls,
        ticking=ticking,
        newest=newest,
        gap=gap,
        age=age,
        remaining=left + np.maximum(age - 2 * gap, 0),
        delta=np.maximum(t / np.maximum(polls, 1), _MIN_POLL_S),
        ticks=events.number.take(newest),
        mean_advance=advance,
        errors=tuple(error.take(newest) for error in ticking.pace.errors),
    )


def _mean_advance(events: Events, at: Ints) -> Floats:
    """Work per tick, of the newest eight ticks; 0 before the first."""
    ticks = np.minimum(events.number.take(at), 8)
    advance: Floats = (events.work.take(at) - events.work.take(at - ticks)) / np.maximum(ticks, 1)
    return advance


def growth_of_total(running: Running, parts: int, rows: Ints, polls: Ints) -> Floats:
    """How much the total grew per work done, over the newest part of the polls: 1 if it grew without work."""
    before = rows - -(-polls // parts)
    grown = running.growth.take(rows) - running.growth.take(before)
    done = running.done(rows) - running.done(before)
    growth: Floats = np.clip(np.where(done > 0, grown / np.maximum(done, 1), np.sign(grown)), -1, 2)
    return growth


def regularity(events: Events, gap_variance: Floats, at: Ints) -> Floats:
    """1 for ticks at equal distances, falling to 0 where their logarithm spreads by 0.5, over the newer half."""
    return np.where(events.number.take(at) > 0, np.clip(1 - gap_variance.take(at) / 0.25, 0, 1), 0.0)


def log_variance(events: Events, column: Ints | Floats) -> Floats:
    """Variance of the logarithm of each tick's rise of a column, over the newer half of the ticks, at least four."""
    rows = len(column)
    sums, squares = (np.empty(rows, dtype=np.int64) for _ in range(2))  # of integers, as of errors
    for part in stretches(rows):
        steps = _log_steps(events, column, part)
        sums[part], squares[part] = steps, steps * steps
    for of in (sums, squares):
        np.cumsum(of, out=of)

    def variance(part: slice) -> Floats:
        number = events.number[part]
        ticks = np.minimum(np.maximum(-(-number // 2), 4), number)
        mean, mean_square = (sum_newest(ticks, of, part) / np.maximum(ticks, 1) for of in (sums, squares))
        return np.maximum(mean_square - mean * mean, 0) / 2.0**32

    return by_stretch(rows, variance)


def _log_steps(events: Events, column: Ints | Floats, part: slice) -> Floats:
    """Logarithm of the rise at each tick over that at the job's first, in whole parts of 2^-16; 0 where is no tick."""
    at = np.arange(part.start, part.stop)
    number = events.number[part]
    first_tick = np.minimum(at - number + 1, len(column) - 1)
    rise = np.where(number > 0, column[part] - column.take(at - 1, mode="wrap"), 1.0)
    first_rise = column[first_tick] - column[first_tick - 1]
    log_ratio = np.log(np.maximum(rise, MIN_TICK_S) / np.maximum(first_rise, MIN_TICK_S))
    return np.where(number > 0, np.rint(np.clip(log_ratio, -30, 30) * 2.0**16), 0)

"""How fast: finished items per second, from time differences, never from row counts.

Conventions, shared by `summary` and `anomalies`:

- The *rate clock* of a job starts at its first `in_progress` sample or its first increment, whichever comes first:
  pending time is waiting, not working. What was finished by then is an offset.
- The clock stands still from a sample in `awaiting_review` or a terminal status to the next sample; what was finished
  meanwhile counts for no rate, since nobody knows how long it took.
- A *gap* is a step between samples longer than 2.5 times the job's median step.

Metrics: `throughput` per sample, `throughput_by` per period.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import (
    NS,
    Arrays,
    Bools,
    Floats,
    IncludesFailed,
    Ints,
    Piece,
    Trail,
    by_block,
    median_by_job,
    nanoseconds,
    quotient,
)
from mops_analysis.metrics.counting import failed_as_served, finished_as_served, includes_failed, rises

#: The rate clock stands still from a sample in one of these to the next sample.
IDLE_STATUSES = schema.TERMINAL_STATUSES | {schema.REVIEW_STATUS}

# Shares of an increment are rounded to this: floats then add up exactly, in any order, up to 2^23 (8 million) items.
_SHARE = 2.0**-30


def throughput(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    window: float | str | pd.Timedelta = "2min",
) -> pd.DataFrame:
    """Items finished per second over a trailing window, at each sample.

    The window smooths the batches in which jobs move; the rate of each interval, beside it, does not. A counter that
    falls is no negative rate. Neither tells why a job is slow.

    Parameters
    ----------
    samples
        Frame as in `schema`, n rows.
    processed_includes_failed
        The counting rule, see `counting`.
    window
        Width of the trailing window, in seconds or as a pandas offset string. Should span several samples.

    Returns
    -------
    DataFrame
        n rows with the index of `samples`: `job_id`, `sampled_at`; `finished_items`, int64, finished since the job's
        first sample, where it is 0, falls removed [items]; `interval_items_per_s`, since the previous sample, NaN at
        the first and while the rate clock stands still [items/s]; `items_per_s`, over the window [items/s]; `label`
        where the samples have one.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, or the window no duration.

    Notes
    -----
    With the rate clock a and the items C finished while it ran, ::

        items_per_s = (C(a) - C(a - w)) / w,   w = min(window, a since the clock's start)

    where C runs straight from sample to sample. NaN until w is half a window, and where more than half of w lies in a
    gap: a step longer than 2.5 times the job's median step. The clock starts at the first `in_progress` sample or first
    increment, and stands still after a sample in `awaiting_review` or a terminal status.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:0{minute}:00Z", "status": "in_progress",
    ...                    "progress_percentage": items / 6, "processed_items": items, "total_items": 600,
    ...                    "failed_items": 0, "latency_s": 0.1} for minute, items in enumerate([0, 60, 180, 180])])
    >>> throughput(frame)[["finished_items", "interval_items_per_s", "items_per_s"]]
       finished_items  interval_items_per_s  items_per_s
    0               0                   NaN          NaN
    1              60                   1.0          1.0
    2             180                   2.0          1.5
    3             180                   0.0          1.0
    """
    arrays = Arrays.of(samples)
    width = nanoseconds(window, "window")

    def formula(block: Arrays, includes_failed: Bools) -> Iterator[Piece]:
        served = finished_as_served(block, includes_failed)
        clock, done = RateClock.of(block, served), rises(block, served)
        yield slice(None), {"finished_items": block.so_far(done)}
        yield slice(None), {"interval_items_per_s": _interval_rates(block, clock, done)}
        finished = clock.finished(block, done)
        del served, done  # of a long job they take much memory
        for rows, rate in window_rates(block, clock, finished, width):
            yield rows, {"items_per_s": rate}

    frame = arrays.frame(by_block(arrays, formula, includes_failed(arrays, processed_includes_failed)))
    frame.attrs["window_s"] = width / NS  # a chart that shows how steps scatter in a window must know how wide it is
    return frame


# -- the rate clock ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateClock:
    """The time that counts for rates, since each job's first sample.

    Attributes
    ----------
    runs
        Whether the clock ran from the job's previous sample to this one (n).
    running
        Time for which it has run [ns] (n).
    is_gap
        Whether the step to the row is a gap (n).
    usual_step
        Median of the job's steps, those of no length left out [ns] (k).
    """

    runs: Bools
    running: Ints
    is_gap: Bools
    usual_step: Floats

    @classmethod
    def of(cls, block: Arrays, finished: Ints) -> RateClock:
        """The rate clocks of all jobs of a block, from its finished items as served."""
        rose = block.compared(np.greater, finished)
        start = block.first_of(np.flatnonzero(rose | block.is_status({schema.RUNNING_STATUS})))
        has_started = np.arange(len(rose)) >= block.each(np.where(start < 0, len(rose), start))
        runs = block.previous(has_started & ~block.is_status(IDLE_STATUSES))
        step = block.steps(block.elapsed_ns)
        moves = step > 0
        usual_step = median_by_job(step[moves], block.sums(moves))
        is_gap = step > block.each(2.5 * usual_step)
        step *= runs
        return cls(runs, block.so_far(step, out=step), is_gap, usual_step)

    def finished(self, block: Arrays, done: Ints) -> Ints:
        """Items finished while the clock ran, of those done since the sample before (n)."""
        ran = done * self.runs
        return block.so_far(ran, out=ran)

    def in_gaps(self, block: Arrays) -> Ints:
        """The part of the running time that lies in gaps [ns] (n)."""
        ran = block.steps(self.running)
        ran *= self.is_gap
        return block.so_far(ran, out=ran)


def _interval_rates(block: Arrays, clock: RateClock, done: Ints) -> Floats:
    """Items per second since the sample before (n); NaN where the clock stood still."""
    ran = block.steps(clock.running).astype(np.float64)
    ran[ran <= 0] = np.nan
    return done * 1e9 / ran


def window_rates(block: Arrays, clock: RateClock, finished: Ints, width: int) -> Iterator[tuple[slice, Floats]]:
    """Items per second over the window that ends at each row, one stretch of rows after the other.

    `finished` are the items finished while the clock ran.
    """
    in_gaps = clock.in_gaps(block)
    trail = Trail.of(block, clock.running, width)
    for rows in block.stretches():
        window = trail.window(rows)
        yield rows, window_rate(window.rise(finished), window.rise(in_gaps), window.width, width)


def window_rate(finished: Floats, in_gaps: Floats, took: Ints, width: int) -> Floats:
    """Items per second; NaN where the window covers less than half its width, or more than half of it is in gaps."""
    says = (2 * took >= width) & (2 * in_gaps <= took) & (took > 0)
    return quotient(finished * NS, took, where=says)


# -- periods -------------------------------------------------------------------------------------------------------


def throughput_by(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    every: float | str | pd.Timedelta = "10min",
    by: str | None = "job",
    tz: str | tzinfo = "UTC",
) -> pd.DataFrame:
    """Items finished per period of clock time, for each job, each group of jobs, or all together.

    For "how many per hour, per day, per merchant". What was finished between two samples is shared out evenly over the
    time between them, so that the periods add up to all that was finished since each job's first sample.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    processed_includes_failed
        The counting rule, see `counting`.
    every
        Length of the periods, in seconds or as a pandas offset string such as "10min", "1h", "1D".
    by
        "job", None for all jobs together, or a column of `samples` such as "label"; a job belongs where its first
        sample does.
    tz
        Time zone whose wall clock cuts the periods: multiples of `every` since midnight of 1 January 1970.

    Returns
    -------
    DataFrame
        One row per job (or group) and period between its first and last sample, sorted: `job_id` (or the column),
        `period_start` (aware, in `tz`), `finished_items` and `failed_items`, float64 [items], `items_per_s`, float64
        [items/s]; by job also `label` where the samples have one.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, the period no duration, the zone or the column unknown.

    Notes
    -----
    ``items_per_s`` is ``finished_items`` over the whole length of the period, also where the job ran for a part of it
    only. On a day on which the clocks change, "1D" has 23 or 25 hours; an hour that the clock shows twice is two
    periods of "1h" and a part of one longer period. Shares are rounded to 2^-30 item: up to 8 million items the periods
    add up exactly.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:{minute}:00Z", "status": "in_progress",
    ...                    "progress_percentage": 0, "processed_items": items, "total_items": 600, "failed_items": 0,
    ...                    "latency_s": 0.1} for minute, items in [("05", 0), ("15", 100), ("20", 160)]])
    >>> throughput_by(frame, tz="Europe/Berlin")[["period_start", "finished_items"]]
                   period_start  finished_items
    0 2026-11-18 15:00:00+01:00            50.0
    1 2026-11-18 15:10:00+01:00           110.0
    """
    arrays = Arrays.of(samples)
    edges = _period_edges(arrays.time_ns, nanoseconds(every, "every"), zone_of(tz))
    rule = includes_failed(arrays, processed_includes_failed)
    pieces = [_shares(block, rule[jobs], edges, jobs.start) for _, jobs, block in arrays.blocks()]
    job, period, finished, failed = (np.concatenate(column) for column in zip(*pieces, strict=True))
    groups = _groups(arrays, by)
    keys = {name: group.take(job).array for name, group in groups.items()}
    counts = pd.DataFrame({**keys, "period_start": period, "finished_items": finished, "failed_items": failed})
    if "job_id" not in groups:
        counts = counts.groupby([*keys, "period_start"], dropna=False, observed=True).sum().reset_index()
    nth = counts["period_start"].to_numpy()
    counts["period_start"] = pd.DatetimeIndex(edges[nth], tz="UTC").tz_convert(zone_of(tz))
    counts["items_per_s"] = counts["finished_items"] * NS / np.diff(edges)[nth]
    labels = arrays.label() if "job_id" in groups else {}
    return counts.assign(**{name: label.take(job).array for name, label in labels.items()})


def zone_of(tz: str | tzinfo) -> tzinfo:
    """The time zone of this name; SchemaError where there is none."""
    if isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise SchemaError(f"tz: expected a time zone such as 'UTC' or 'Europe/Berlin', got {tz!r}") from None


def _groups(arrays: Arrays, by: str | None) -> dict[str, pd.Series[Any]]:
    """The group of each job (k) under the name of its column; none for all jobs together."""
    if by is None:
        return {}
    if by in ("job", "job_id"):
        return {"job_id": pd.Series(arrays.job_ids, dtype="string")}
    if not isinstance(by, Hashable) or by not in arrays.samples:
        raise SchemaError(f"by: expected 'job', None or a column of the samples, got {by!r}")
    return {by: arrays.of_jobs(by)}


def _period_edges(time_ns: Ints, every: int, zone: tzinfo) -> Ints:
    """The instants that cut the periods, from before the first sample to after the last [ns]."""
    if not len(time_ns):
        return np.array([0, every])
    ends = pd.DatetimeIndex([time_ns.min(), time_ns.max()], tz="UTC").tz_convert(zone).tz_localize(None).asi8
    wall = pd.DatetimeIndex(np.arange(ends[0] // every - 1, ends[1] // every + 3) * every)
    # An hour that the clock shows twice: its first pass is daylight saving time.
    passes = (True, False) if every <= 3600 * NS else (True,)
    cuts = [
        wall.tz_localize(zone, ambiguous=np.full(len(wall), is_dst), nonexistent="shift_forward").asi8
        for is_dst in passes
    ]
    return np.unique(np.concatenate(cuts))


def _shares(block: Arrays, includes_failed: Bools, edges: Ints, first_job: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Job, period, finished and failed items, one for each job and period between its first and last sample."""
    finished, failed = finished_as_served(block, includes_failed), failed_as_served(block)
    end = block.time_ns
    start = end - block.steps(end)
    first_period = np.searchsorted(edges, start, side="right") - 1
    periods = np.maximum(np.searchsorted(edges, end, side="left") - 1 - first_period, 0) + 1
    row = np.repeat(np.arange(len(end)), periods)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(periods) - periods, periods)
    period = first_period[row] + nth
    reached = (np.minimum(end[row], edges[period + 1]) - start[row]) / np.maximum(end - start, 1)[row]
    reached[nth == periods[row] - 1] = 1
    job = block.job[row]
    begins = np.flatnonzero(np.diff(job, prepend=-1) | np.diff(period, prepend=-1))

    def shared(items: Ints) -> Floats:
        until = np.rint(items[row] * reached / _SHARE) * _SHARE
        share = np.diff(until, prepend=0.0)
        share[nth == 0] = until[nth == 0]
        return np.add.reduceat(share, begins) if len(begins) else share

    return job[begins] + first_job, period[begins], shared(rises(block, finished)), shared(rises(block, failed))

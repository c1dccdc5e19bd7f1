"""The samples as arrays, sorted by job and time, and the way back to the caller's rows.

Every metric starts with `Arrays.of(samples)`: it checks the frame once, sorts the rows where they are not, and finds
where each job begins, so that the formulas are plain numpy over many jobs at once. `Arrays.blocks()` cuts the rows into
blocks of whole jobs that stay in the processor's cache; `by_block` runs a formula over them. Every metric of one row
per sample ends with `Arrays.frame(...)`, which puts the results back under the caller's index, row for row.

Sums run over integers: a job's numbers are the same to the last bit, whichever other jobs are in the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from mops_analysis import schema
from mops_analysis.errors import SchemaError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
IncludesFailed = bool | str  # True, False or "auto"
Rows = slice | Ints  # rows in turn, or rising indices
Value = TypeVar("Value", bound=np.generic)

NS = 1_000_000_000  # nanoseconds in a second

# Measured: half or twice as many rows cost 10 % more, ten times as many leave the cache and cost twice the time.
_BLOCK_ROWS = 24_000


@dataclass(frozen=True)
class Arrays:
    """Samples of n rows and k jobs, sorted by job and time.

    Attributes
    ----------
    samples
        The caller's frame, checked but in the caller's order.
    order
        For each sorted row, its position in the caller's frame (n); None where that was sorted already.
    job_ids
        The jobs, sorted (k).
    edges
        Job i has the rows ``edges[i]:edges[i + 1]`` (k + 1).
    time_ns
        Time of the sample since the epoch [ns] (n).
    status_words
        The status words, as the frame's own string array (n).
    processed, total, failed
        The counters as served [items] (n).
    percentage
        The share done as served [%] (n).
    """

    samples: pd.DataFrame
    order: Ints | None
    job_ids: npt.NDArray[np.object_]
    edges: Ints
    time_ns: Ints
    status_words: Any
    processed: Ints
    total: Ints
    failed: Ints
    percentage: Floats

    @classmethod
    def of(cls, samples: pd.DataFrame) -> Arrays:
        """Check a samples frame, and sort it where it is not.

        Raises
        ------
        SchemaError
            As `schema.validate`.
        """
        checked, first = schema.by_job(schema.check(samples).reset_index(drop=True))
        edges = np.append(first, len(checked))
        return cls(
            samples=samples,
            order=None if isinstance(checked.index, pd.RangeIndex) else checked.index.to_numpy(dtype=np.int64),
            job_ids=checked["job_id"].iloc[edges[:-1]].to_numpy(dtype=object),
            edges=edges,
            time_ns=pd.DatetimeIndex(checked["sampled_at"]).asi8,
            status_words=checked["status"].array,
            processed=checked["processed_items"].to_numpy(),
            total=checked["total_items"].to_numpy(),
            failed=checked["failed_items"].to_numpy(),
            percentage=checked["progress_percentage"].to_numpy(),
        )

    @property
    def first(self) -> Ints:
        """Index of the first row of each job (k)."""
        return self.edges[:-1]

    @property
    def last(self) -> Ints:
        """Index of the last row of each job (k)."""
        return self.edges[1:] - 1

    @property
    def elapsed_ns(self) -> Ints:
        """Time since the job's first sample [ns] (n)."""
        # 1970 to 2116: differences of what lies outside would not fit 64 bits.
        elapsed = np.clip(self.time_ns, 0, 2**62)
        elapsed -= self.each(elapsed[self.first])
        return elapsed

    @cached_property
    def job(self) -> Ints:
        """The number of the row's job, 0 to k - 1 (n)."""
        return self.each(np.arange(len(self.job_ids)))

    @cached_property
    def lengths(self) -> Ints:
        """How many rows each job has (k)."""
        return np.diff(self.edges)

    def each(self, values: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """A value of each job (k) at each of its rows (n)."""
        return np.repeat(values, self.lengths)

    def each_at(self, rows: Rows, values: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """A value of each job (k) at some of its rows."""
        if isinstance(rows, slice):
            edges: Ints = np.clip(self.edges, rows.start, rows.stop)
            return np.repeat(values, np.diff(edges))
        return np.repeat(values, self.count(rows))

    def job_of(self, rows: Ints) -> Ints:
        """The number of the job of each of the (rising) rows, 0 to k - 1."""
        return self.each_at(rows, np.arange(len(self.job_ids)))

    def count(self, rows: Ints) -> Ints:
        """How many of the (rising) rows each job has (k)."""
        return np.diff(np.searchsorted(rows, self.edges))

    def sums(self, values: Ints | Bools) -> Ints:
        """Sum of the values over each job's rows (k)."""
        return np.add.reduceat(values, self.first, dtype=np.int64)

    @cached_property
    def _status_runs(self) -> tuple[list[str], Ints, Ints]:
        """The status words, and in turn which of them holds for how many rows: they change seldom."""
        starts = schema.changes(self.status_words)
        code, words = pd.factorize(self.status_words[starts])
        return words.tolist(), code, np.diff(starts, append=len(self.status_words))

    def is_status(self, words: Collection[str]) -> Bools:
        """Whether the row's status is one of the words (n)."""
        found, code, rows = self._status_runs
        return np.repeat(np.array([word in words for word in found], dtype=bool)[code], rows)

    def steps(self, values: Ints) -> Ints:
        """Change of a value since the job's previous row, 0 at its first (n)."""
        change = np.empty_like(values)
        np.subtract(values[1:], values[:-1], out=change[1:])
        change[self.first] = 0
        return change

    def compared(self, how: np.ufunc, values: Ints) -> Bools:
        """How a value compares with that of the job's previous row, such as `numpy.less`; False at its first (n)."""
        holds = np.zeros(len(values), dtype=bool)
        how(values[1:], values[:-1], out=holds[1:])
        holds[self.first] = False
        return holds

    def so_far(self, values: Ints | Bools, *, out: Ints | None = None) -> Ints:
        """Sum of the values over the job's rows up to and with this one (n); `out` may be the values themselves."""
        before = self.sums(values)[:-1]
        running = values.astype(np.int64) if out is None else out
        running[self.first[1:]] -= before  # each job starts anew
        return np.cumsum(running, out=running)

    def previous(self, values: Bools) -> Bools:
        """The value of the job's previous row, False at its first (n)."""
        before = np.empty_like(values)
        before[1:] = values[:-1]
        before[self.first] = False
        return before

    def first_of(self, rows: Ints) -> Ints:
        """For each job, the first of the (rising) rows that is its own; -1 where none is (k)."""
        starts = np.searchsorted(rows, self.edges)
        found = np.full(len(self.job_ids), -1)
        has = starts[:-1] < starts[1:]
        found[has] = rows[starts[:-1][has]]
        return found

    def only(self, jobs: Bools) -> tuple[Ints, Arrays]:
        """Some of the jobs as they stand here, with the rows that are theirs."""
        if jobs.all():
            return np.arange(len(self.time_ns)), self
        rows = np.flatnonzero(self.each(jobs))
        return rows, self._part(rows, jobs, self.caller(rows))

    def blocks(self) -> Iterator[tuple[slice, slice, Arrays]]:
        """Blocks of whole jobs, each with its rows and its jobs; one empty block where there are no samples."""
        job = 0
        while True:
            beyond = int(np.searchsorted(self.edges, self.edges[job] + _BLOCK_ROWS, side="right")) - 1
            jobs = slice(job, min(max(beyond, job + 1), len(self.job_ids)))
            rows = slice(int(self.edges[jobs.start]), int(self.edges[jobs.stop]))
            yield rows, jobs, self._part(rows, jobs, None if self.order is None else self.order[rows])
            job = jobs.stop
            if job >= len(self.job_ids):
                return

    def _part(self, rows: Rows, jobs: slice | Bools, order: Ints | None) -> Arrays:
        return Arrays(
            samples=self.samples,
            order=order,
            job_ids=self.job_ids[jobs],
            edges=np.append(0, np.cumsum(self.lengths[jobs])),
            time_ns=self.time_ns[rows],
            status_words=self.status_words[rows],
            processed=self.processed[rows],
            total=self.total[rows],
            failed=self.failed[rows],
            percentage=self.percentage[rows],
        )

    def stretches(self) -> Iterator[slice]:
        """The rows in turn, as `stretches` gives them; one empty stretch where there are no samples."""
        return stretches(len(self.time_ns)) if len(self.time_ns) else iter([slice(0, 0)])

    def frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        """Put results back under the caller's rows.

        Parameters
        ----------
        columns
            Name to array of n values in the sorted order.

        Returns
        -------
        DataFrame
            n rows with the index of the caller's frame: `job_id`, `sampled_at`, the columns, and the caller's `label`
            where there is one.
        """
        names = ["job_id", "sampled_at"]
        keys = self.samples[names].astype({name: schema.SAMPLE_DTYPES[name] for name in names})
        results = dict(columns)
        if self.order is not None:
            back = np.empty_like(self.order)
            back[self.order] = np.arange(len(self.order))
            results = {name: pd.Series(values, copy=False).take(back).array for name, values in columns.items()}
        label = {"label": self.samples["label"].copy()} if "label" in self.samples else {}
        columns = {**{name: keys[name] for name in names}, **results, **label}
        return pd.DataFrame(columns, index=self.samples.index, copy=False)

    def caller(self, rows: Ints) -> Ints:
        """Where these rows stand in the caller's frame."""
        return rows if self.order is None else self.order[rows]

    def label(self) -> dict[str, pd.Series[Any]]:
        """The label of each job, at its first row, as a column of a frame of jobs; empty where there are no labels."""
        return {"label": self.of_jobs("label")} if "label" in self.samples else {}

    def of_jobs(self, column: str) -> pd.Series[Any]:
        """A column of the caller's frame at the first row of each job (k)."""
        return self.samples[column].iloc[self.caller(self.first)].reset_index(drop=True)


def stretches(rows: int) -> Iterator[slice]:
    """So many rows in turn, as many at once as stay in the processor's cache."""
    for start in range(0, rows, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, rows))


Piece = tuple[slice, dict[str, npt.NDArray[Any]]]


def by_block(
    arrays: Arrays, formula: Callable[[Arrays, Bools], Iterable[Piece]], includes_failed: Bools
) -> dict[str, npt.NDArray[Any]]:
    """Columns of one value per sample: the formula's, block after block.

    Parameters
    ----------
    arrays
        Samples of n rows and k jobs.
    formula
        Takes a block and its part of `includes_failed`; gives pieces of the columns: rows of the block, and name to
        array of one value for each of them.
    includes_failed
        Per job, whether its processed items include the failed ones (k).

    Returns
    -------
    dict
        Name to array (n).
    """
    columns: dict[str, npt.NDArray[Any]] = {}
    for rows, jobs, block in arrays.blocks():
        for part, values in formula(block, includes_failed[jobs]):
            for name in list(values):
                if name not in columns:
                    columns[name] = np.empty(len(arrays.time_ns), dtype=values[name].dtype)
                columns[name][rows][part] = values.pop(name)  # else it would be held while the next piece is made
    return columns


@dataclass(frozen=True)
class Trail:
    """The trailing windows of a width along an axis that never falls within a job and is 0 at its first row.

    Attributes
    ----------
    axis
        Place of each row, such as its time since the job's first [ns] (n).
    width
        Width of the windows, in the unit of the axis.
    key, reach
        One rising axis through all jobs, and the width along it (n).
    block
        The jobs.
    """

    axis: Ints
    width: int
    key: Ints
    reach: int
    block: Arrays

    @classmethod
    def of(cls, block: Arrays, axis: Ints, width: int) -> Trail:
        """The windows of a block."""
        # A step beyond the width cannot be told from one of the width by any window, so cutting it keeps the sum within
        # 64 bits.
        reach = min(width, int(axis.max(initial=0)) + 1)
        links = block.steps(axis)
        np.minimum(links, reach, out=links)
        links[block.first] = reach
        return cls(axis, width, np.cumsum(links, out=links), reach, block)

    def window(self, rows: Rows) -> Window:
        """The windows that end at these rows."""
        edges = self.key[rows] - self.reach
        left = _merged(self.key, edges) if isinstance(rows, slice) else np.searchsorted(self.key, edges, side="right")
        left = np.maximum(left - 1, self.block.each_at(rows, self.block.first))
        end, start = self.axis[rows], self.axis[left]
        edge = np.maximum(end - self.width, 0)
        step = np.maximum(self.axis.take(left + 1, mode="clip") - start, 1)
        return Window(rows=rows, left=left, share=(edge - start) / step, width=end - edge)


def _merged(key: Ints, places: Ints) -> Ints:
    """How many keys lie at or before each place, both rising."""
    # As `np.searchsorted` with side="right". Where there are about as many places as keys it takes ten times as long as
    # to merge them, which is what a stable sort does with two rising runs.
    first, last = np.searchsorted(key, places[[0, -1]], side="right") if len(places) else (0, 0)
    order = np.argsort(np.concatenate([key[first:last], places]), kind="stable")
    return np.flatnonzero(order >= last - first) - np.arange(len(places)) + first


@dataclass(frozen=True)
class Window:
    """The windows of a trail that end at some rows: where each one's left edge lies.

    Attributes
    ----------
    rows
        The rows at which the windows end (m).
    left
        The last row at or before the left edge (m).
    share
        How far the edge lies on the way from `left` to the next row, 0 to 1 (m).
    width
        What the window covers, cut at the job's first row, in the unit of the axis (m).
    """

    rows: Rows
    left: Ints
    share: Floats
    width: Ints

    def rise(self, counter: Ints) -> Floats:
        """Rise of a counter within the window, the counter running straight from row to row (m)."""
        before, after = counter[self.left], counter.take(self.left + 1, mode="clip")
        return np.asarray((counter[self.rows] - before) - self.share * (after - before), dtype=np.float64)


def median_by_job(values: Ints | Floats, counts: Ints) -> Floats:
    """Median of each job's values, NaN where it has none.

    Parameters
    ----------
    values
        The values of one job after the other (m).
    counts
        How many values each job has (k).
    """
    ends = np.cumsum(counts)
    median = np.full(len(counts), np.nan)
    # Jobs of one length are the rows of a table: selecting in it costs a twentieth of sorting by job and value.
    for count in np.unique(counts[counts > 0]):
        alike = np.flatnonzero(counts == count)
        low, high = (count - 1) // 2, count // 2
        table = sliding_window_view(values, count)[ends[alike] - count]
        table.partition((low, high), axis=1)
        median[alike] = table[:, low] + (table[:, high] - table[:, low]) / 2
    return median


def quotient(dividend: npt.NDArray[np.number[Any]], divisor: Ints, where: Bools) -> Floats:
    """The quotient where it is asked for, else NaN."""
    return np.asarray(dividend / np.where(where, divisor, np.nan), dtype=np.float64)


def seconds(duration: float | str | pd.Timedelta, name: str) -> float:
    """Return a duration, given in seconds or as a pandas offset string, in seconds.

    Raises
    ------
    SchemaError
        If it is no duration, or not positive and finite.

    Examples
    --------
    >>> seconds("2min", "window"), seconds(90, "window")
    (120.0, 90.0)
    """
    try:
        value = duration if isinstance(duration, int | float) else pd.Timedelta(duration).total_seconds()
    except (ValueError, TypeError):
        value = float("nan")
    if isinstance(duration, bool) or not (0 < value < float("inf")):
        raise SchemaError(f"{name}: expected seconds or a duration such as '2min', more than zero; got {duration!r}")
    return float(value)


def nanoseconds(duration: float | str | pd.Timedelta, name: str) -> int:
    """Return a duration in whole nanoseconds, at least one and at most a century."""
    return round(min(max(seconds(duration, name) * NS, 1), 100 * 365 * 86_400 * NS))

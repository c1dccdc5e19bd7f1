"""The door of the charts: a frame in, one track per job out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.charts import clock
from mops_analysis.charts.lines import GAP_STEPS, Floats, Ints, Line, Numbers, Places, fall_starts, gap_starts
from mops_analysis.errors import ConfigurationError, SchemaError


class _Columns:
    """The columns of all jobs, each looked up once: that alone would take a second for some thousand jobs."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._series: dict[str, pd.Series[Any]] = {}
        self._numbers: dict[str, Numbers] = {}
        self._times: dict[str, Places] = {}

    def series(self, column: str) -> pd.Series[Any]:
        """A column as it is."""
        if column not in self._series:
            self._series[column] = self.frame[column]
        return self._series[column]

    def numbers(self, column: str) -> Numbers:
        """A column in whole numbers or floats; what is missing is NaN."""
        if column not in self._numbers:
            values = self.series(column)
            is_plain = values.dtype in (np.int64, np.float64)
            self._numbers[column] = (
                values.to_numpy() if is_plain else values.to_numpy(dtype=np.float64, na_value=np.nan)
            )
        return self._numbers[column]

    def times(self, column: str) -> Places:
        """A column of times [days]."""
        if column not in self._times:
            self._times[column] = clock.places_of(self.series(column))
        return self._times[column]


@dataclass(frozen=True)
class Track:
    """What one chart shows of one job: n rows in the order of time, none of them copied.

    Attributes
    ----------
    job_id
        The job.
    name
        What the reader is shown: its `label`, else its id; `short` where there is little room.
    days
        Time of each row, in days since 1970-01-01 UTC.
    x
        Position of each row on the x axis: the same, the elapsed time, or the share done [%].
    """

    job_id: str
    name: str
    days: Places
    x: Places
    _columns: _Columns = field(repr=False)  # of all jobs
    _rows: slice

    @property
    def short(self) -> str:
        """The name in at most 14 characters."""
        return elided(self.name, 14)

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.days)

    @property
    def last(self) -> pd.Series[Any]:
        """The last row."""
        row: pd.Series[Any] = self._columns.frame.iloc[self._rows.stop - 1]
        return row

    @property
    def status(self) -> str:
        """Its last status, of a samples frame."""
        return str(self._columns.series("status").array[self._rows.stop - 1])

    @cached_property
    def gaps(self) -> Ints:
        """The positions i where no sample came from i to i + 1."""
        return gap_starts(self.days.values)

    @cached_property
    def breaks(self) -> Ints:
        """The positions where a line is broken: gaps, and on an axis of shares where a counter starts again."""
        is_share = self.x.values.dtype == np.float64
        return np.union1d(self.gaps, fall_starts(self.x.values)) if is_share else self.gaps

    @property
    def overdue(self) -> float:
        """When its next sample is overdue [days]: so long after the last one as makes a gap; -inf right after a gap."""
        before = self.size - 2
        if before < 0 or before in self.gaps:
            return -np.inf
        return float(self.days[-1] + GAP_STEPS * (self.days[-1] - self.days[before]))

    def place(self, days: Floats) -> Floats:
        """Return the positions of moments [days] on the x axis."""
        placed: Floats = (days * self.days.unit - self.x.origin) / self.x.unit
        return placed

    def values(self, column: str) -> Numbers:
        """Return a column of numbers as it is, in whole numbers or floats; what is missing is NaN."""
        return self._columns.numbers(column)[self._rows]

    def times(self, column: str) -> Places:
        """Return a column of times [days]."""
        whole = self._columns.times(column)
        return replace(whole, values=whole.values[self._rows])

    def runs(self, column: str) -> list[tuple[str, int, int]]:
        """Return the words of a column in turn, each with its first row and the first row after it."""
        words = self._columns.series(column).iloc[self._rows]
        starts = schema.changes(words.array)
        ends = np.append(starts[1:], self.size)
        return list(zip(words.iloc[starts].astype(str), starts.tolist(), ends.tolist(), strict=True))

    def line(self, column: str, *, scale: float = 1.0, breaks: Ints | None = None) -> Line:
        """Return the line of a column, times `scale`, broken at its own or at other `breaks`."""
        return Line(self.x, Places(self.values(column), unit=1 / scale), self.breaks if breaks is None else breaks)

    def span_s(self, position: int) -> float:
        """Return the seconds from row `position` to the next."""
        return float(self.days[position + 1] - self.days[position]) * clock.SECONDS_PER_DAY


def check_metric(frame: pd.DataFrame, columns: Sequence[str], maker: str) -> pd.DataFrame:
    """Refuse a frame of one row per sample that the metric `maker` did not return; give it back in order.

    Raises
    ------
    SchemaError
        As `check_frame`.
    """
    check_frame(frame, ("job_id", "sampled_at", *columns), maker)
    return schema.in_order(frame)


def check_frame(frame: pd.DataFrame, columns: Sequence[str], maker: str) -> None:
    """Refuse a frame that `maker` did not return.

    Raises
    ------
    SchemaError
        If it is no frame, a column is missing, or its times are naive.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"expected the frame that {maker} returns, got {type(frame).__name__}")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SchemaError(f"column {missing[0]!r} is missing; pass the frame that {maker} returns")
    times = {"sampled_at", "first_sampled_at", "last_sampled_at", "started_before", "period_start", "eta"}
    naive = [name for name in columns if name in times and not isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    if naive:
        raise SchemaError(
            f"column {naive[0]!r}: expected times with a zone, got naive ones; "
            f"say which zone they are in: frame[{naive[0]!r}].dt.tz_localize('UTC')"
        )


def tracks_of(frame: pd.DataFrame, *, x: str = "clock") -> tuple[list[Track], str | None]:
    """Split a checked frame, in order, into its jobs.

    Returns
    -------
    tuple
        The tracks in the order of job id, and the unit of the x axis: None for a clock, "%" for shares. A sample whose
        share done is unknown has no place on an axis of shares, and is left out.

    Raises
    ------
    ConfigurationError
        If `x` is none of its words.
    SchemaError
        If `x` is "share", and the frame has no `progress_percentage`.
    """
    if x not in ("clock", "elapsed", "share"):
        raise ConfigurationError(f"x: expected 'clock', 'elapsed' or 'share', got {x!r}")
    if x == "share" and "progress_percentage" not in frame.columns:
        raise SchemaError(
            "column 'progress_percentage' is missing; for x='share' add it: "
            "frame.assign(progress_percentage=samples['progress_percentage'])"
        )
    if x == "share" and frame["progress_percentage"].hasnans:
        frame = frame[frame["progress_percentage"].notna()]
    edges = np.append(_starts(frame["job_id"]), len(frame))
    firsts, lasts = edges[:-1], edges[1:] - 1
    times = clock.places_of(frame["sampled_at"])
    unit, scale = ("%" if x == "share" else None), 1.0
    if x == "elapsed":
        unit, scale = clock.elapsed_unit(float((times[lasts] - times[firsts]).max(initial=0.0)))
    names = names_of(frame.iloc[lasts])
    columns = _Columns(frame)
    tracks = []
    for first, last, name in zip(firsts.tolist(), lasts.tolist(), names, strict=True):
        rows = slice(first, last + 1)
        days = places = Places(times.values[rows], unit=times.unit)
        if x == "elapsed":
            places = Places(days.values, origin=days.values[0], unit=times.unit / scale)
        elif x == "share":
            places = Places(columns.numbers("progress_percentage")[rows].astype(np.float64))
        tracks.append(Track(str(columns.series("job_id").array[first]), name, days, places, columns, rows))
    return tracks, unit


def _starts(job_ids: pd.Series[str]) -> Ints:
    """Where each job begins, in sorted ids: where the first is the last, there is only one."""
    if len(job_ids) and job_ids.iloc[0] == job_ids.iloc[-1]:
        return np.array([0])
    return schema.changes(job_ids.array)


def names_of(jobs: pd.DataFrame) -> list[str]:
    """Return what the reader is shown of each row's job: its `label`, else its id."""
    labels = jobs["label"] if "label" in jobs.columns else jobs["job_id"]
    pairs = zip(jobs["job_id"], labels, strict=True)
    return [str(job_id) if pd.isna(label) else str(label) for job_id, label in pairs]


def elided(name: str, most: int) -> str:
    """Shorten a name in its middle, as ids and labels differ at both ends.

    Examples
    --------
    >>> elided("catalog import 2026-11", 15)
    'catalog…2026-11'
    """
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-((most - 1) // 2) :]}"

"""The door of the charts: a frame in, one track per job out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mops_analysis.charts import clock
from mops_analysis.charts.lines import Floats, Ints, fall_starts, gap_starts
from mops_analysis.errors import ConfigurationError, SchemaError


@dataclass(frozen=True)
class Track:
    """What one chart shows of one job: n rows in the order of time.

    Attributes
    ----------
    job_id
        The job.
    name
        What the reader is shown: its `label`, else its id; `short` where there is little room.
    frame
        The job's rows.
    days
        Time of each row, in days since 1970-01-01 UTC.
    x
        Position of each row on the x axis: the same, the elapsed time, or the share done [%].
    gaps
        The positions i where no sample came from i to i + 1.
    origin, scale
        `x` is `(days - origin) * scale`, where it is a time.
    """

    job_id: str
    name: str
    frame: pd.DataFrame
    days: Floats
    x: Floats
    gaps: Ints
    origin: float
    scale: float

    @property
    def breaks(self) -> Ints:
        """The positions where a line is broken: gaps, and on an axis of shares where a counter starts again."""
        return np.union1d(self.gaps, fall_starts(self.x))

    @property
    def short(self) -> str:
        """The name in at most 14 characters."""
        return elided(self.name, 14)

    @property
    def status(self) -> str:
        """Its last status, of a samples frame."""
        return str(self.frame["status"].iloc[-1])

    def place(self, days: Floats) -> Floats:
        """Return the positions of moments [days] on the x axis."""
        return (days - self.origin) * self.scale

    def values(self, column: str) -> Floats:
        """Return a column as floats; what is missing is NaN."""
        return self.frame[column].to_numpy(dtype=np.float64, na_value=np.nan)

    def span_s(self, position: int) -> float:
        """Return the seconds from row `position` to the next."""
        return float(self.days[position + 1] - self.days[position]) * clock.SECONDS_PER_DAY


def check_metric(frame: pd.DataFrame, columns: Sequence[str], maker: str) -> None:
    """Refuse a frame of one row per sample that the metric `maker` did not return.

    Raises
    ------
    SchemaError
        As `check_frame`.
    """
    check_frame(frame, ("job_id", "sampled_at", *columns), maker)


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
    """Split a checked frame into its jobs.

    Returns
    -------
    tuple
        The tracks in the order of job id, and the unit of the x axis: None for a clock, "%" for shares.

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
            "column 'progress_percentage' is missing; for x='share' join it: frame.join(samples['progress_percentage'])"
        )
    ordered = frame.sort_values(["job_id", "sampled_at"], kind="stable")
    parts = [(str(job_id), part) for job_id, part in ordered.groupby("job_id", sort=True)]
    days = [clock.days_of(part["sampled_at"]) for _, part in parts]
    unit, scale, origins = None, 1.0, [0.0] * len(days)
    if x == "elapsed":
        unit, scale = clock.elapsed_unit(max((float(times[-1] - times[0]) for times in days), default=0.0))
        origins = [float(times[0]) for times in days]
    if x == "share":
        unit, places = "%", [part["progress_percentage"].to_numpy(dtype=np.float64) for _, part in parts]
    else:
        places = [(times - origin) * scale for times, origin in zip(days, origins, strict=True)]
    tracks = [
        Track(job_id, names_of(part.tail(1))[0], part, times, place, gap_starts(times), origin, scale)
        for (job_id, part), times, place, origin in zip(parts, days, places, origins, strict=True)
    ]
    return tracks, unit


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

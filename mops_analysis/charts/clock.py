"""Time on an axis: one named zone, both offsets across a change, a line at midnight, elapsed time beside it.

Times are drawn as matplotlib's days since 1970-01-01 UTC; a zone is only a matter of ticks and words.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from dateutil.tz import tzlocal  # type: ignore[import-untyped]
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.markers import TICKUP

from mops_analysis.charts.lines import Floats, Places
from mops_analysis.charts.palette import Theme
from mops_analysis.errors import ConfigurationError

SECONDS_PER_DAY = 86_400

_TICK_POINTS = 48  # what "14:02:30" takes, with its distance to the next

# Unit of an elapsed axis: name, units per day, longest span in days.
_ELAPSED_UNITS = (("s", 86_400.0, 3 / 1440), ("min", 1440.0, 3 / 24), ("h", 24.0, 3.0), ("d", 1.0, float("inf")))


def places_of(times: pd.Series[pd.Timestamp]) -> Places:
    """Return where aware times lie on an axis of days since 1970-01-01 UTC; nothing is copied."""
    index = pd.DatetimeIndex(times)
    # `as_unit` copies also where nothing is to be done.
    return Places((index if index.unit == "ns" else index.as_unit("ns")).asi8, unit=SECONDS_PER_DAY * 1e9)


def days_of(times: pd.Series[pd.Timestamp]) -> Floats:
    """Return aware times as days since 1970-01-01 UTC; NaT becomes NaN."""
    days: Floats = places_of(times)[:]
    return days


def zone_of(tz: str | dt.tzinfo | None) -> dt.tzinfo:
    """Return the zone to show times in; None is the viewer's own.

    Raises
    ------
    ConfigurationError
        If there is no zone of that name.
    """
    if tz is None:
        return cast(dt.tzinfo, tzlocal())
    if isinstance(tz, dt.tzinfo):
        return tz
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(f"tz: expected a zone such as 'Europe/Berlin' or 'UTC', got {tz!r}") from None


def _local(days: float, zone: dt.tzinfo) -> dt.datetime:
    # Through pandas, as matplotlib's own conversion refuses what lies beyond the year 9999.
    return pd.Timestamp(round(days * SECONDS_PER_DAY * 1e6), unit="us", tz="UTC").to_pydatetime().astimezone(zone)


def _offset(moment: dt.datetime) -> str:
    offset = moment.utcoffset() or dt.timedelta()
    sign = "-" if offset < dt.timedelta() else "+"
    minutes = abs(round(offset.total_seconds() / 60))
    return f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def zone_text(zone: dt.tzinfo, low: float, high: float) -> str:
    """Name a zone with its offset, or offsets where a change lies between two moments [days].

    Examples
    --------
    >>> berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    >>> zone_text(berlin, 20775.5, 20775.6)  # 18 November 2026
    'Europe/Berlin (UTC+01:00)'
    >>> zone_text(berlin, 20750.5, 20751.5)  # 24 to 25 October 2026
    'Europe/Berlin (UTC+02:00, then UTC+01:00)'
    """
    moments = [_local(low, zone), _local(high, zone)]
    offsets = list(dict.fromkeys(_offset(moment) for moment in moments))
    if isinstance(zone, tzlocal):
        name = "local zone " + " / ".join(dict.fromkeys(str(moment.tzname()) for moment in moments))
    else:
        name = str(getattr(zone, "key", None) or zone)
    if name.removeprefix("local zone ") == "UTC" and offsets == ["UTC+00:00"]:
        return "UTC"
    return f"{name} ({', then '.join(offsets)})"


def clock_text(days: float, zone: dt.tzinfo, *, seconds: bool = False) -> str:
    """Say a moment [days] as the clock on the wall has it.

    Examples
    --------
    >>> clock_text(20775.5, dt.timezone.utc), clock_text(20775.5, dt.timezone.utc, seconds=True)
    ('12:00', '12:00:00')
    """
    moment = _local(days, zone)
    if seconds:
        return moment.strftime("%H:%M:%S")
    # To the nearest minute: 14:50:59 is 14:51.
    return (moment + dt.timedelta(seconds=30)).strftime("%H:%M")


def span_text(low: float, high: float, zone: dt.tzinfo) -> str:
    """Say from when to when, to the second where it is less than two minutes.

    Examples
    --------
    >>> span_text(20775.5, 20775.6, dt.timezone.utc), span_text(20775.5, 20775.5003, dt.timezone.utc)
    ('12:00 to 14:24', '12:00:00 to 12:00:25')
    """
    seconds = (high - low) * SECONDS_PER_DAY < 120
    return f"{clock_text(low, zone, seconds=seconds)} to {clock_text(high, zone, seconds=seconds)}"


def moment_text(days: float, zone: dt.tzinfo, low: float, high: float) -> str:
    """Say a moment [days] as the clock has it, with its date where `low` to `high` is more than one date.

    Examples
    --------
    >>> moment_text(20775.5, dt.timezone.utc, 20775.1, 20775.9), moment_text(20775.5, dt.timezone.utc, 20775.1, 20777.0)
    ('12:00', '18 Nov 12:00')
    """
    text = clock_text(days, zone)
    if _local(low, zone).date() == _local(high, zone).date():
        return text
    return f"{_local(days, zone).strftime('%d %b')} {text}"


def date_text(low: float, high: float, zone: dt.tzinfo) -> str:
    """Say the date, or the first and the last, between two moments [days].

    Examples
    --------
    >>> date_text(20775.2, 20775.5, dt.timezone.utc), date_text(20775.5, 20776.5, dt.timezone.utc)
    ('Wed 18 Nov 2026', '18 Nov to 19 Nov 2026')
    """
    first, last = _local(low, zone), _local(high, zone)
    if first.date() == last.date():
        return first.strftime("%a %d %b %Y")
    return f"{first.strftime('%d %b' if first.year == last.year else '%d %b %Y')} to {last.strftime('%d %b %Y')}"


def duration_text(seconds: float) -> str:
    """Say a duration in its two largest units.

    Examples
    --------
    >>> duration_text(3142), duration_text(46), duration_text(7_260), duration_text(0.25)
    ('52 m 22 s', '46 s', '2 h 1 m', '0.25 s')
    """
    if abs(seconds) < 10:
        return f"{seconds:.2g} s"
    sign, whole = "-" if seconds < 0 else "", round(abs(seconds))
    sizes = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    largest = next(position for position, (_, size) in enumerate(sizes) if whole >= size)
    parts: list[str] = []
    for name, size in sizes[largest : largest + 2]:
        parts.append(f"{whole // size} {name}" if whole // size or not parts else "")
        whole %= size
    return sign + " ".join(part for part in parts if part)


_STEPS_S = (
    *(0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30),
    *(60 * step for step in (1, 2, 5, 10, 15, 30)),
    *(3600 * step for step in (1, 2, 3, 6, 12)),
    *(86_400 * step for step in (1, 2, 7, 14, 28, 91, 364, 3640)),
)
_EPOCH = dt.datetime(1970, 1, 1)


class ClockTicks(ticker.Locator):
    """Ticks at round times of the wall clock, also on a day whose offset changes."""

    def __init__(self, zone: dt.tzinfo, most: int) -> None:
        self.zone = zone
        self.most = most

    def __call__(self) -> list[float]:
        """Return the ticks between the limits as they are now [days]."""
        assert self.axis is not None  # noqa: S101  matplotlib sets it before it asks
        return self.tick_values(*sorted(self.axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return at most about `most` ticks between two moments [days]."""
        step = next((s for s in _STEPS_S if (vmax - vmin) * SECONDS_PER_DAY / s <= self.most), _STEPS_S[-1])
        first, last = ((_local(end, self.zone).replace(tzinfo=None) - _EPOCH).total_seconds() for end in (vmin, vmax))
        walls = [_EPOCH + dt.timedelta(seconds=k * step) for k in range(int(first // step), int(last // step) + 2)]
        days = {wall.replace(tzinfo=self.zone).timestamp() / SECONDS_PER_DAY for wall in walls}
        return sorted(day for day in days if vmin <= day <= vmax)


class ClockWords(ticker.Formatter):
    """Tick labels as short as the distance between the ticks allows."""

    def __init__(self, zone: dt.tzinfo) -> None:
        self.zone = zone

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks [days]."""
        step = float(np.diff(values).min()) if len(values) > 1 else 1 / 24
        return [self._text(_local(value, self.zone), step) for value in values]

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002  matplotlib's signature
        """Return the label of one moment [days]."""
        return self._text(_local(x, self.zone), 1 / 24)

    @staticmethod
    def _text(moment: dt.datetime, step: float) -> str:
        if step > 27:
            return moment.strftime("%d %b %Y")
        # Below a day, midnight says which day begins.
        if step > 0.9 or (step > 0.9 / 24 and moment.hour == moment.minute == 0):
            return moment.strftime("%d %b")
        if step > 0.9 / 1440:
            return moment.strftime("%H:%M")
        return moment.strftime("%H:%M:%S") + (f".{moment.microsecond // 1000:03d}" if step < 0.9 / 86_400 else "")


def draw_clock_axis(axis: Axis, zone: dt.tzinfo, *, ticks: int = 7) -> None:
    """Tick an axis that holds days as a clock in one zone; a narrow x axis gets fewer ticks, so that none overlap."""
    if axis is axis.axes.xaxis:
        extent = axis.axes.get_window_extent()
        ticks = min(ticks, max(2, int(extent.width / axis.axes.figure.dpi * 72 / _TICK_POINTS)))
    axis.set_major_locator(ClockTicks(zone, ticks))
    axis.set_major_formatter(ClockWords(zone))


def clock_label(zone: dt.tzinfo, low: float, high: float) -> str:
    """Label a clock axis: its zone with offset, and the date."""
    return f"clock time, {zone_text(zone, low, high)}, {date_text(low, high, zone)}"


def draw_midnights(ax: Axes, zone: dt.tzinfo, theme: Theme) -> None:
    """Draw a dated line at each midnight inside the limits, where there are at most four."""
    low, high = ax.get_xlim()
    first = _local(low, zone).date()
    count = (_local(high, zone).date() - first).days
    for day in range(1, count + 1) if count <= 4 else ():
        midnight = dt.datetime.combine(first + dt.timedelta(days=day), dt.time(), tzinfo=zone)
        position = midnight.timestamp() / SECONDS_PER_DAY
        ax.axvline(position, color=theme.faint, linewidth=0.8, zorder=1)
        right = (position - low) / (high - low) > 0.85
        ax.annotate(
            midnight.strftime("%a %d %b"),
            (position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if right else 3, -3),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=8,
            color=theme.muted,
        )


def elapsed_unit(span: float) -> tuple[str, float]:
    """Return the unit for an elapsed span [days], and how many of it a day has."""
    return next((name, per_day) for name, per_day, longest in _ELAPSED_UNITS if span <= longest)


_ELAPSED_STEPS = [1, 1.5, 2, 3, 5, 6, 10]


def draw_elapsed_axis(axis: Axis) -> None:
    """Tick an axis that holds elapsed time."""
    axis.set_major_locator(_ElapsedTicks(nbins=7))


class _ElapsedTicks(ticker.MaxNLocator):
    """Ticks at 10, 15, 30 or 60 of a unit; below ten of it at decimal steps, as nobody counts in 0.6 minutes."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        is_short = max(abs(vmin), abs(vmax)) < 10
        self.set_params(steps=[1, 2, 5, 10] if is_short else _ELAPSED_STEPS)
        return super().tick_values(vmin, vmax)


def draw_elapsed_top(ax: Axes, start: float, theme: Theme) -> None:
    """Write elapsed time since `start` [days] along the top of a clock axis, whose limits must be set before.

    Drawn as words with ticks of their own: matplotlib's second axis would cost a fifth of the whole chart.
    """
    low, high = ax.get_xlim()
    unit, per_day = elapsed_unit(high - start)
    room = ax.get_window_extent().width * 72 / ax.figure.dpi / (1.3 * _TICK_POINTS)
    locator = _ElapsedTicks(nbins=int(np.clip(room, 2, 7)))
    elapsed = np.asarray(locator.tick_values(0.0, (high - start) * per_day))
    places = elapsed / per_day + start
    seen = (places >= low - 1e-9) & (places <= high)
    look: dict[str, Any] = {"marker": TICKUP, "markersize": 3, "linestyle": "none", "color": theme.faint}
    top: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "scalex": False, "scaley": False}
    ax.plot(places[seen], np.ones(seen.sum()), label="elapsed", **look, **top)
    words: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "color": theme.muted}
    words |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False}
    for place, value in zip(places[seen], elapsed[seen], strict=True):
        text = f"{value:g} {unit}" if value else "elapsed 0"
        ax.annotate(text, (float(place), 1), xytext=(0, 5), **words)

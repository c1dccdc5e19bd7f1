"""Chart B: how fast are the jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mops_analysis.charts import canvas, clock, many
from mops_analysis.charts.canvas import EndLabel, number_text
from mops_analysis.charts.crowd import Crowd, crowd_text, draw_crowd
from mops_analysis.charts.lines import Line, Numbers, Places, about, draw_band, draw_line, last_known, median
from mops_analysis.charts.palette import Theme, theme_named
from mops_analysis.charts.tracks import Track, check_metric, tracks_of

_QUESTION = "How fast?"

# Unit of the y axis for the largest rate [items/s]: name, short name, how many in a second.
_UNITS = ((0.5, "second", "s", 1.0), (0.5 / 60, "minute", "min", 60.0), (0.0, "hour", "h", 3600.0))


def plot_throughput(
    throughput: pd.DataFrame,
    *,
    x: str = "clock",
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Throughput over time: the trailing window, over the rate of each step between two samples.

    Look for dips of the bold line below the dashed median: a slow phase is a dip that lasts longer than a window. The
    band holds 90 % of the steps of each window, from 5 to 95 %: where it is wide, the job moves in batches. The bold
    line breaks where a window was not seen by half and while the job waits; nothing is interpolated. The axis starts at
    zero; slow jobs are shown per minute or hour.

    One job is drawn in full; 2 to 6 share the Axes, told apart by colour, dash and marker; 7 to 24 get a panel each
    inside the Axes (its `child_axes`), on one scale. Of more, the median and the ranges that hold half and nine tenths
    of those that work at each moment are drawn, and over them by name the three with the lowest median, of those that
    are still sampled, if there are as many.

    Parameters
    ----------
    throughput
        What `throughput(samples)` returned.
    x
        "clock", "elapsed" or "share": time of the day, time since each job's first sample, or the percentage done.
        The last needs the samples' own column: ``frame.assign(progress_percentage=samples["progress_percentage"])``.
    ax, tz, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no rows. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `throughput` returns, or lacks the shares.
    ConfigurationError
        If `x`, `tz` or `theme` is none of its words.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"job_id": ["a", "a"], "sampled_at": pd.to_datetime([0, 60], unit="s", utc=True),
    ...                       "interval_items_per_s": [float("nan"), 2.0], "items_per_s": [float("nan"), 2.0]})
    >>> ax = plot_throughput(frame, tz="UTC")
    >>> ax.get_ylabel(), ax.get_ylim()[0]
    ('items per second', np.float64(0.0))
    """
    frame = check_metric(throughput, ("interval_items_per_s", "items_per_s"), "throughput()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    tracks, unit = tracks_of(frame, x=x)
    ax = canvas.open_axes(ax, colours)
    top = _top(tracks)
    _, name, short, scale = next(row for row in _UNITS if top >= row[0] or top == 0)
    ax.set_ylabel(f"items per {name}")
    if not tracks:
        return canvas.close_empty(ax, _QUESTION, "Throughput", colours)
    rates = {track.job_id: _windows(track) for track in tracks}
    named = many.to_name(tracks, _rank(tracks, rates))
    paces = {track.job_id: _Pace.of(rates[track.job_id]) for track in named}
    view = _View(ax, tracks, named, rates, paces, frame.attrs.get("window_s"), scale, short, zone, unit, colours)
    canvas.set_time_limits(ax, tracks)
    ax.set_ylim(0, 1.08 * top * scale if top > 0 else 1)
    above = canvas.dress_time(ax, tracks, zone, unit, colours)
    method = many.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above)
    ax.set_label(_words(view))
    return ax


@dataclass(frozen=True)
class _Pace:
    """What is said of a job's window rates [items/s]; NaN where none is known."""

    known: int
    median: float
    slowest: int  # its row
    last: float

    @classmethod
    def of(cls, rates: Numbers) -> _Pace:
        known = rates.size - int(np.count_nonzero(np.isnan(rates)))
        if not known:
            return cls(0, np.nan, -1, np.nan)
        slowest = int((rates == np.fmin.reduce(rates)).argmax())
        return cls(known, median(rates), slowest, float(rates[last_known(rates)]))


def _rank(tracks: list[Track], rates: dict[str, Numbers]) -> Callable[[Track], float]:
    """The median of the window rates of a job that is still sampled; NaN where none is known."""
    going = {track.job_id for track in many.still_sampled(tracks)}

    def rank(track: Track) -> float:
        known = track.job_id in going and last_known(rates[track.job_id]) >= 0
        return median(rates[track.job_id]) if known else np.nan

    return rank


@dataclass(frozen=True)
class _View:
    """What the drawing functions share; rates are drawn times `scale`."""

    ax: Axes
    tracks: list[Track]
    named: list[Track]
    rates: dict[str, Numbers]  # of the windows
    paces: dict[str, _Pace]
    window_s: float | None
    scale: float
    short: str
    zone: dt.tzinfo
    unit: str | None
    theme: Theme

    def line(self, track: Track) -> Line:
        """The window rates of a job, broken at gaps and where it starts again."""
        return Line(track.x, Places(self.rates[track.job_id], unit=1 / self.scale), track.breaks)

    @cached_property
    def crowd(self) -> Crowd:
        """All jobs together, once the limits are set."""
        return Crowd.of(self.ax, self.tracks, self.line)

    def text(self, rate: float) -> str:
        """A rate [items/s] in words."""
        return f"{number_text(rate * self.scale)}/{self.short}"


def _windows(track: Track) -> Numbers:
    """The window rates, unknown where the rate clock stands still: a job that waits is not as fast as it was before."""
    rates = track.values("items_per_s")
    still = np.flatnonzero(np.isnan(track.values("interval_items_per_s")))
    if np.isfinite(rates[still]).any():
        rates = rates.copy()
        rates[still] = np.nan
    return rates


def _top(tracks: list[Track]) -> float:
    """The largest rate to show: a single wild step must not flatten the rest, and beside other jobs none is drawn.

    Nor must a few wild jobs: no band of a crowd reaches higher than nineteen in twenty of its jobs do.
    """
    tops = [0.0]
    for track in tracks:
        windows, steps = (track.values(name) for name in _RATES)
        tops.append(float(np.fmax.reduce(windows, initial=0.0)))
        some = about(steps)
        some = some[np.isfinite(some)]
        if len(tracks) == 1 and some.size:
            tops.append(float(np.quantile(some, 0.98)))
    return float(np.quantile(tops[1:], 0.95)) if many.is_crowd(tracks) else max(tops)


_RATES = ("items_per_s", "interval_items_per_s")


def _draw_single(view: _View) -> str:
    ax, track, theme, pace = view.ax, view.tracks[0], view.theme, view.paces[view.tracks[0].job_id]
    steps = track.values("interval_items_per_s").copy()
    # A step across a gap is an average over the gap: drawn, it would look like many samples.
    steps[track.gaps + 1] = np.nan
    line = Line(track.x, Places(steps, unit=1 / view.scale), track.gaps)
    # More steps than there are pixels would be a wall that hides the rest.
    alpha = float(np.clip(2 * ax.get_window_extent().width / track.size, 0.25, 1.0))
    draw_line(ax, line, color=theme.faint, linewidth=0.9, alpha=alpha, drawstyle="steps-pre", zorder=2, label="steps")
    drawn = draw_line(ax, view.line(track), color=theme.main, linewidth=2, zorder=3, label=track.name)
    canvas.hatch_gaps(ax, track, theme, line=drawn)
    method = f"{track.name}: each step between samples (grey), trailing window (blue)"
    if pace.known:
        method += _draw_spread(view, track, steps)
        usual = pace.median * view.scale
        ax.axhline(usual, color=theme.ink, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2.5, label="median")
        canvas.write_end_labels(ax, [EndLabel(usual, f"median\n{view.text(pace.median)}")], theme)
        method += ", its median (dashed)"
        _draw_slowest(view, track, pace)
    else:
        canvas.write_nothing(ax, "no rate yet", theme)
    cut = np.count_nonzero(steps > ax.get_ylim()[1] / view.scale)
    return method + (f"; {cut:,} step{'s' if cut > 1 else ''} beyond the axis" if cut else "")


def _draw_spread(view: _View, track: Track, steps: Numbers) -> str:
    """Draw between which rates nine in ten steps of each window lie: how steady the job was, beside how fast."""
    if view.window_s is None:
        return ""
    times = track.days.values
    edges = np.linspace(*view.ax.get_xlim(), int(view.ax.get_window_extent().width / _SPREAD_PIXELS) + 1)
    rows = np.unique(np.append(track.x.firsts(edges), track.size - 1))
    rows = rows[rows < track.size]
    # A window, or where the drawn points lie farther apart than that, all steps between them.
    starts = np.searchsorted(times, times[rows] - round(view.window_s * 1e9), side="right")
    starts = np.minimum(starts, np.append(0, rows[:-1] + 1))
    picks = (starts[:, None] + (rows + 1 - starts)[:, None] * np.arange(_SPREAD_STEPS) / _SPREAD_STEPS).astype(int)
    ordered = np.sort(steps[picks], axis=1)  # what is not known comes last
    last = np.isfinite(ordered).sum(axis=1) - 1
    ends = [ordered[np.arange(rows.size), np.maximum(np.round(share * last).astype(int), 0)] for share in (0.05, 0.95)]
    ends = [np.where(np.isfinite(view.rates[track.job_id][rows]), end, np.nan) for end in ends]
    breaks = np.unique(np.searchsorted(rows, track.gaps, side="right") - 1)
    lower, upper = (Line(Places(track.x[rows]), Places(end, unit=1 / view.scale), breaks) for end in ends)
    draw_band(view.ax, lower, upper, color=view.theme.main, alpha=0.12, zorder=1.5, label="90 % of the steps")
    return " with the range of 90 % of its steps (band)"


_SPREAD_PIXELS = 3  # between two points of the band
_SPREAD_STEPS = 100  # looked at in each window; of fewer, each several times


def _draw_slowest(view: _View, track: Track, pace: _Pace) -> None:
    """Point at the slowest window, where it is clearly slower than usual and not just the start or the end."""
    slowest, rate = pace.slowest, float(track.values("items_per_s")[pace.slowest])
    if pace.known < 20 or rate > 0.8 * pace.median:
        return
    ax, theme = view.ax, view.theme
    low, high = ax.get_xlim()
    place = (float(track.x[slowest]) - low) / (high - low)
    value = rate * view.scale / ax.get_ylim()[1]
    moment = clock.moment_text(float(track.days[slowest]), view.zone, track.days[0], track.days[-1])
    at: dict[str, Any] = {"xy": (track.x[slowest], rate * view.scale), "xycoords": "data"}
    arrow = {"arrowstyle": "-", "color": theme.ink, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3}
    canvas.note(
        ax,
        f"slowest {view.text(rate)}\nat {moment}",
        theme,
        xytext=(min(max(place - 0.09, 0.09), 0.88), 0.05 if value > 0.3 else 0.88),
        textcoords="axes fraction",
        ha="center",
        va="bottom" if value > 0.3 else "top",
        arrowprops=arrow,
        **at,
    )


def _draw_named(view: _View) -> list[EndLabel]:
    labels = []
    for track, stroke in zip(view.named, canvas.strokes(len(view.named), view.theme), strict=True):
        draw_line(view.ax, view.line(track), linewidth=2, zorder=3, label=track.name, **stroke.line)
        pace = view.paces[track.job_id]
        rate = view.text(pace.last) if pace.known else "no rate yet"
        if many.is_crowd(view.tracks):  # what it is named for
            rate = f"median {view.text(pace.median)}"
        height = pace.last * view.scale if pace.known else 0.0
        labels.append(EndLabel(height, f"{track.short}\n{rate}", stroke))
    return labels


def _draw_overlay(view: _View) -> str:
    canvas.write_end_labels(view.ax, _draw_named(view), view.theme)
    return f"Trailing window of {len(view.tracks)} jobs, newest value at the right; lines break where no samples came"


def _draw_panels(view: _View) -> str:
    for panel, track in many.panels(view.ax, view.tracks, view.zone, view.unit, view.theme):
        draw_line(panel, view.line(track), color=view.theme.main, linewidth=1.5, label=track.name)
    return f"Trailing window of {len(view.tracks)} jobs on one scale; hatched: no samples"


def _draw_crowd(view: _View) -> str:
    draw_crowd(view.ax, view.crowd, view.theme)
    labels = view.crowd.labels(lambda rate: view.text(rate / view.scale))
    canvas.write_end_labels(view.ax, [*labels, *_draw_named(view)], view.theme)
    return crowd_text(view.tracks, "trailing window", view.named, "slowest by their median")


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.named:
        pace = view.paces[track.job_id]
        if not pace.known:
            parts.append(f"{track.name} no rate yet")
            continue
        moment = clock.moment_text(track.days[pace.slowest], view.zone, track.days[0], track.days[-1])
        slowest = view.text(track.values("items_per_s")[pace.slowest])
        parts.append(
            f"{track.name} median {view.text(pace.median)}, last {view.text(pace.last)}, "
            f"slowest window {slowest} at {moment}"
        )
    crowd = view.crowd.words(lambda rate: view.text(rate / view.scale)) if many.is_crowd(view.tracks) else ""
    return canvas.words("Throughput", view.tracks, view.zone, parts, crowd=crowd)

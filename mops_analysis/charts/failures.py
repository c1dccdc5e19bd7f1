"""Chart D: how many items fail, and is it getting worse."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mops_analysis.charts import canvas, clock, many
from mops_analysis.charts.canvas import EndLabel
from mops_analysis.charts.crowd import Crowd, crowd_text, draw_crowd
from mops_analysis.charts.lines import Ints, Line, Numbers, about, draw_band, draw_line, fall_starts, last_known
from mops_analysis.charts.palette import Theme, theme_named
from mops_analysis.charts.tracks import Track, check_metric, elided, tracks_of
from mops_analysis.errors import SchemaError

_QUESTION = "How many fail, and is it getting worse?"
_MILLISECOND = 1e-3 / clock.SECONDS_PER_DAY
_COLUMNS = ("failed", "finished", "failure_rate", "failure_rate_low", "failure_rate_high")


def plot_failure_rate(
    failure_rate: pd.DataFrame,
    *,
    cumulative: pd.DataFrame | None = None,
    window: float | str | pd.Timedelta | None = None,
    baseline: float | tuple[float, float, float] | None = None,
    x: str = "clock",
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Share of failed items over time, with its confidence interval.

    Look for red squares: windows whose whole interval lies above the baseline. A hollow dot is no more than chance,
    however high it is. A cumulative rate is a line: it says how many failed so far, and hides a late burst.

    One job is drawn in full; 2 to 6 share the Axes, told apart by colour, dash and marker; 7 to 24 get a panel each
    inside the Axes (its `child_axes`), on one scale. Of more, the median and the ranges that hold half and nine tenths
    of them at each moment are drawn, and over them by name the three whose newest interval begins highest.

    Parameters
    ----------
    failure_rate
        What `failure_rate(samples, window=...)` returned: rates of a trailing window become dots with whiskers, as
        many as do not overlap; without a window, the rate since the start becomes a line with its band.
    cumulative
        What `failure_rate(samples)` returned, to be drawn as a line below the dots.
    window
        The window that `failure_rate` was given [s, or as "2min"]; only needed where the frame has forgotten it, as
        after a round trip through CSV.
    baseline
        What is usual: a rate, or a median with the low and high end of the usual range.
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
        If a frame is not what `failure_rate` returns, is windowed and its window is not known, or lacks the shares.
    ConfigurationError
        If `x`, `tz` or `theme` is none of its words.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"job_id": ["a"], "sampled_at": pd.to_datetime([0], unit="s", utc=True), "failed": [1],
    ...                       "finished": [4], "failure_rate": [0.25], "failure_rate_low": [0.05],
    ...                       "failure_rate_high": [0.7]})
    >>> alt_text = plot_failure_rate(frame, tz="UTC").get_label()
    >>> alt_text[-40:]
    'a 25% failed so far (1 of 4, 5% to 70%).'
    """
    frame = check_metric(failure_rate, _COLUMNS, "failure_rate()")
    so_far = None if cumulative is None else check_metric(cumulative, _COLUMNS, "failure_rate()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    tracks, unit = tracks_of(frame, x=x)
    width = _width(frame, tracks, window)
    ax = canvas.open_axes(ax, colours)
    ax.set_ylabel("failed share of finished items")
    if not tracks:
        return canvas.close_empty(ax, _QUESTION, "Failure rate", colours)
    totals = {} if so_far is None else {track.job_id: track for track in tracks_of(so_far, x=x)[0]}
    usual = baseline if isinstance(baseline, tuple) or baseline is None else (baseline,) * 3
    named = many.to_name(tracks, lambda track: -_newest(track, "failure_rate_low"))
    view = _View(ax, tracks, named, totals, width, usual, zone, unit, colours)
    canvas.set_time_limits(ax, tracks)
    ax.set_ylim(0, _top(view))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda rate, _: percent_text(rate)))
    above = canvas.dress_time(ax, tracks, zone, unit, colours)
    method = many.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above)
    ax.set_label(_words(view))
    return ax


@dataclass(frozen=True)
class _View:
    """What the drawing functions share."""

    ax: Axes
    tracks: list[Track]
    named: list[Track]
    totals: dict[str, Track]
    width: float | None  # of the window [days]; None is since the start
    usual: tuple[float, float, float] | None
    zone: dt.tzinfo
    unit: str | None
    theme: Theme

    def band(self, track: Track) -> tuple[Line, Line]:
        """The ends of the intervals of a job, broken where its line is."""
        return track.line("failure_rate_low"), track.line("failure_rate_high")

    def windows(self, track: Track) -> Ints:
        """The rows of windows that do not overlap, from the newest back."""
        known = np.flatnonzero(np.isfinite(track.values("failure_rate")))
        times = track.days.values[known]
        step = round(((self.width or 0.0) - _MILLISECOND) * clock.SECONDS_PER_DAY * 1e9)
        chosen, after = [], known.size
        while after > 0:
            chosen.append(after - 1)
            after = int(np.searchsorted(times, times[after - 1] - step, side="right"))
            after = min(after, chosen[-1])
        return known[chosen[::-1]]

    @cached_property
    def crowd(self) -> Crowd:
        """All jobs together, once the limits are set."""
        return Crowd.of(self.ax, self.tracks, lambda track: track.line("failure_rate"))

    def is_worse(self, low: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the lower ends of intervals are above what is usual."""
        return low > self.usual[2] if self.usual is not None else np.zeros(low.size, dtype=bool)


def percent_text(rate: float) -> str:
    """Say a ratio in percent.

    Examples
    --------
    >>> percent_text(0.0193), percent_text(0.5), percent_text(0.00012)
    ('1.93%', '50%', '0.012%')
    """
    return f"{100 * rate:.3g}%"


def _width(frame: pd.DataFrame, tracks: list[Track], window: float | str | pd.Timedelta | None) -> float | None:
    """The window in days. A rate since the start never counts fewer items than before; one of a window does."""
    if window is None:
        window = frame.attrs.get("window_s")
    if window is not None:
        seconds = float(window) if isinstance(window, int | float) else pd.Timedelta(window).total_seconds()
        return seconds / clock.SECONDS_PER_DAY
    if any(fall_starts(track.values("finished")).size for track in tracks):
        raise SchemaError("these are rates of a window: say which, as in plot_failure_rate(frame, window='2min')")
    return None


def _top(view: _View) -> float:
    """The largest share to show: the wide intervals of the first few items must not flatten the rest."""
    tops = [0.0 if view.usual is None else 1.3 * view.usual[2]]
    mine, totals = view.tracks, list(view.totals.values())
    if many.is_crowd(view.tracks):
        mine, totals = view.named, []
        tops.append(1.1 * view.crowd.ends[1])
    if view.width is not None:
        for track in mine:
            rows = view.windows(track)
            rate, high = (track.values(name)[rows] for name in ("failure_rate", "failure_rate_high"))
            tops.append(1.1 * float(np.minimum(high, 1.4 * rate).max(initial=0.0)))
    for track in [*mine, *totals]:
        finished, rate, high = (about(track.values(name)) for name in ("finished", "failure_rate", "failure_rate_high"))
        solid = np.isfinite(rate) & (finished >= 0.1 * np.fmax.reduce(finished, initial=0.0))
        if solid.any():
            tops += [float(rate[solid].max()) * 1.1, float(np.nanquantile(high[solid], 0.9)) * 1.1]
    top = max(tops)
    return min(top, 1.05) if top > 0 else 0.05


def _draw_single(view: _View) -> str:
    ax, track, theme = view.ax, view.tracks[0], view.theme
    labels = _draw_baseline(view)
    total = view.totals.get(track.job_id) if view.width is not None else track
    drawn = None
    if total is not None:
        if view.width is None:
            draw_band(ax, *view.band(total), color=theme.main, alpha=0.16)
        look = {"color": theme.main, "linewidth": 2} if view.width is None else {"color": theme.ink, "linewidth": 1.1}
        drawn = draw_line(ax, total.line("failure_rate"), zorder=3, label="cumulative", **look)
        if np.isfinite(last := _last(total)):
            labels.append(EndLabel(last, f"since the start\n{_last_text(total)}"))
    if view.width is not None:
        drawn = _draw_dots(view, track) or drawn
    canvas.hatch_gaps(ax, track, theme, line=drawn)
    if not np.isfinite(_last(track)):
        is_total = total is not None and np.isfinite(_last(total))
        canvas.write_nothing(ax, "no window seen yet" if is_total else "no items finished yet", theme)
    canvas.write_end_labels(ax, labels, theme)
    interval = "with confidence interval"
    if view.width is None:
        method = f"{track.name}: share of failed items since the start {interval} (band)"
    else:
        method = f"{track.name}: failed share per {clock.duration_text(view.width * clock.SECONDS_PER_DAY)} {interval}"
        every, shown = view.windows(track).size, _worst(view, track).size
        method += f", of {every:,} windows the {shown:,} worst in their place" if shown < every else ""
        method += ", cumulative (line)" if total is not None else ""
    return method + ("; red: above baseline" if view.usual is not None and view.width is not None else "")


def _draw_baseline(view: _View) -> list[EndLabel]:
    if view.usual is None:
        return []
    median, low, high = view.usual
    view.ax.axhspan(low, high, color=view.theme.baseline, alpha=0.15, linewidth=0, zorder=0.5, label="usual range")
    dashed: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.3, "zorder": 2}
    view.ax.axhline(median, color=view.theme.baseline, label="baseline", **dashed)
    return [EndLabel(median, f"baseline\n{percent_text(median)}")]


def _worst(view: _View, track: Track) -> Ints:
    """The rows to draw as dots: of windows that lie too close for dots of their own, the worst."""
    rows = view.windows(track)
    low, high = view.ax.get_xlim()
    places = view.ax.get_window_extent().width * 72 / view.ax.figure.dpi / _DOT_POINTS
    if rows.size <= places:
        return rows
    place = np.floor((track.x[rows] - low) / (high - low) * places)
    order = np.lexsort((track.values("failure_rate_low")[rows], place))
    worst: Ints = rows[order[np.append(np.flatnonzero(np.diff(place[order])), rows.size - 1)]]
    return worst


_DOT_POINTS = 7.0


def _draw_dots(view: _View, track: Track, *, color: str | None = None, marker: str = "o") -> Line2D | None:
    """Draw a dot with whiskers per window, filled and square where it is worse than usual."""
    rows = _worst(view, track)
    drawn = None
    rate, low, high = (track.values(name)[rows] for name in _COLUMNS[2:])
    worse = view.is_worse(low)
    usual = color or view.theme.main
    for chosen, tint, shape in ((~worse, usual, marker), (worse, view.theme.alarm, "s")):
        if not chosen.any():
            continue
        if len(view.tracks) == 1 or tint == view.theme.alarm:  # the whiskers of many jobs hide one another
            view.ax.vlines(track.x[rows][chosen], low[chosen], high[chosen], color=tint, linewidth=1.5, zorder=3.5)
        (drawn,) = view.ax.plot(
            track.x[rows][chosen],
            rate[chosen],
            linestyle="none",
            marker=shape,
            markersize=6,
            markeredgecolor=tint,
            markerfacecolor=tint if shape == "s" and tint == view.theme.alarm else view.theme.paper,
            zorder=4,
            clip_on=False,
            label="above baseline" if tint == view.theme.alarm else track.name,
        )
    if worse.any() and len(view.tracks) == 1:
        first = int(rows[worse][0])
        moment = clock.moment_text(track.days[first], view.zone, track.days[0], track.days[-1])
        text = f"above baseline\nsince {moment}"
        low_x, high_x = view.ax.get_xlim()
        place = (float(track.x[first]) - low_x) / (high_x - low_x)
        # Left of the first, where none of the others can be.
        beside: dict[str, Any] = {"xytext": (place - 0.04, 0.95), "ha": "right"}
        if place < 0.25:
            beside = {"xytext": (0.99, 0.95), "ha": "right"}
        at = {"xy": (track.x[first], rate[worse][0]), **beside}
        arrow = {"arrowstyle": "-", "color": view.theme.alarm, "linewidth": 0.8, "shrinkB": 4}
        words: dict[str, Any] = {"color": view.theme.alarm, "fontweight": "bold", "va": "top", "arrowprops": arrow}
        canvas.note(view.ax, text, view.theme, textcoords="axes fraction", **at, **words)
    return drawn


def _draw_named(view: _View) -> list[EndLabel]:
    labels = _draw_baseline(view)
    for track, stroke in zip(view.named, canvas.strokes(len(view.named), view.theme), strict=True):
        if view.width is None:
            draw_band(view.ax, *view.band(track), color=stroke.color, alpha=0.1)
        else:
            _draw_dots(view, track, color=stroke.color, marker=stroke.marker)
        thin = {"linewidth": 2.0} if view.width is None else {"linewidth": 0.9, "alpha": 0.8}
        draw_line(view.ax, track.line("failure_rate"), zorder=3, label=track.name, **stroke.line, **thin)
        last = _last(track)
        labels.append(EndLabel(last if np.isfinite(last) else 0.0, f"{track.short}\n{_last_text(track)}", stroke))
    return labels


def _draw_overlay(view: _View) -> str:
    canvas.write_end_labels(view.ax, _draw_named(view), view.theme)
    return f"Failed share {_kind_text(view)} with confidence interval, {len(view.tracks)} jobs"


def _draw_panels(view: _View) -> str:
    for panel, track in many.panels(view.ax, view.tracks, view.zone, view.unit, view.theme):
        draw_band(panel, *view.band(track), color=view.theme.main, alpha=0.16)
        draw_line(panel, track.line("failure_rate"), color=view.theme.main, linewidth=1.5, label=track.name)
        if view.usual is not None:
            panel.axhline(view.usual[0], color=view.theme.baseline, linewidth=1, linestyle=(0, (4, 3)))
        many.write_panel_title(panel, f"{elided(track.name, 18)}, {_last_text(track)}", view.theme)
    return f"Failed share {_kind_text(view)} with confidence interval, {len(view.tracks)} jobs on one scale"


def _draw_crowd(view: _View) -> str:
    draw_crowd(view.ax, view.crowd, view.theme)
    canvas.write_end_labels(view.ax, [*view.crowd.labels(percent_text), *_draw_named(view)], view.theme)
    return crowd_text(view.tracks, f"failed share {_kind_text(view)}", view.named, "that surely fail most")


def _kind_text(view: _View) -> str:
    if view.width is None:
        return "since the start"
    return f"per {clock.duration_text(view.width * clock.SECONDS_PER_DAY)}"


def _last(track: Track) -> float:
    """The newest rate; NaN where none is known."""
    return _newest(track, "failure_rate")


def _newest(track: Track, column: str) -> float:
    values = track.values(column)
    return float(values[last_known(values)])


def _last_text(track: Track) -> str:
    return percent_text(_last(track)) if np.isfinite(_last(track)) else "none finished"


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.named:
        row = last_known(track.values("failure_rate"))
        failed, finished, rate, low, high = (track.values(name)[row] for name in _COLUMNS)
        if not np.isfinite(rate):
            parts.append(f"{track.name} no items finished yet")
            continue
        span = "so far" if view.width is None else f"in the last {_kind_text(view).removeprefix('per ')}"
        part = f"{track.name} {percent_text(rate)} failed {span} ({failed:,.0f} of {finished:,.0f}, "
        part += f"{percent_text(low)} to {percent_text(high)})"
        if view.usual is not None and view.width is not None:
            rows = view.windows(track)
            worse = view.is_worse(track.values("failure_rate_low")[rows])
            part += f", {worse.sum()} of {rows.size} windows above the baseline of {percent_text(view.usual[0])}"
        parts.append(part)
    crowd = view.crowd.words(percent_text) if many.is_crowd(view.tracks) else ""
    return canvas.words("Failure rate", view.tracks, view.zone, parts, crowd=crowd)

"""Chart D: how many items fail, and is it getting worse."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from mops_analysis.charts import canvas, clock
from mops_analysis.charts.canvas import EndLabel
from mops_analysis.charts.lines import Floats, Ints, broken, draw_band, draw_line, fall_starts
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
    inside the Axes (its `child_axes`), on one scale; more are drawn as thin lines without names.

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
        The last needs the samples' own column: ``frame.join(samples["progress_percentage"])``.
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
    for frame in (failure_rate, *(() if cumulative is None else (cumulative,))):
        check_metric(frame, _COLUMNS, "failure_rate()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    width = _width(failure_rate, window)
    tracks, unit = tracks_of(failure_rate, x=x)
    ax = canvas.open_axes(ax, colours)
    ax.set_ylabel("failed share of finished items")
    if not tracks:
        return canvas.close_empty(ax, _QUESTION, "Failure rate", colours)
    totals = {} if cumulative is None else {track.job_id: track for track in tracks_of(cumulative, x=x)[0]}
    usual = baseline if isinstance(baseline, tuple) or baseline is None else (baseline,) * 3
    view = _View(ax, tracks, totals, width, usual, zone, unit, colours)
    canvas.set_time_limits(ax, tracks)
    ax.set_ylim(0, _top(view))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda rate, _: percent_text(rate)))
    above = canvas.dress_time(ax, tracks, zone, unit, colours)
    method = canvas.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above)
    ax.set_label(_words(view))
    return ax


@dataclass(frozen=True)
class _View:
    """What the drawing functions share."""

    ax: Axes
    tracks: list[Track]
    totals: dict[str, Track]
    width: float | None  # of the window [days]; None is since the start
    usual: tuple[float, float, float] | None
    zone: dt.tzinfo
    unit: str | None
    theme: Theme

    def line(self, track: Track, column: str = "failure_rate") -> tuple[Floats, Floats]:
        """The rates of a job, broken at gaps and where it starts again."""
        x = np.insert(track.x, track.breaks + 1, track.x[track.breaks])
        return x, broken(track.values(column), track.breaks)

    def windows(self, track: Track) -> Ints:
        """The rows to draw as dots: those whose windows do not overlap, from the newest back."""
        known = np.flatnonzero(np.isfinite(track.values("failure_rate")))
        chosen: list[int] = []
        for row in known[::-1]:
            if not chosen or track.days[chosen[-1]] - track.days[row] >= (self.width or 0.0) - _MILLISECOND:
                chosen.append(int(row))
        return np.array(chosen[::-1], dtype=np.int64)

    def is_worse(self, low: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
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


def _width(frame: pd.DataFrame, window: float | str | pd.Timedelta | None) -> float | None:
    """The window in days. A rate since the start never counts fewer items than before; one of a window does."""
    if window is None:
        window = frame.attrs.get("window_s")
    if window is not None:
        seconds = float(window) if isinstance(window, int | float) else pd.Timedelta(window).total_seconds()
        return seconds / clock.SECONDS_PER_DAY
    if any(fall_starts(track.values("finished")).size for track in tracks_of(frame)[0]):
        raise SchemaError("these are rates of a window: say which, as in plot_failure_rate(frame, window='2min')")
    return None


def _top(view: _View) -> float:
    """The largest share to show: the wide intervals of the first few items must not flatten the rest."""
    tops = [0.0 if view.usual is None else 1.3 * view.usual[2]]
    if view.width is not None:
        tops += [
            1.1 * float(track.values("failure_rate")[view.windows(track)].max(initial=0.0)) for track in view.tracks
        ]
    for track in [*view.tracks, *view.totals.values()]:
        finished, rate, high = map(track.values, ("finished", "failure_rate", "failure_rate_high"))
        solid = np.isfinite(rate) & (finished >= 0.1 * np.nanmax(finished, initial=0.0))
        if solid.any():
            tops += [float(np.nanmax(rate[solid])) * 1.1, float(np.nanquantile(high[solid], 0.9)) * 1.1]
    top = max(tops)
    return min(top, 1.05) if top > 0 else 0.05


def _draw_single(view: _View) -> str:
    ax, track, theme = view.ax, view.tracks[0], view.theme
    x, y = view.line(track)
    canvas.hatch_gaps(ax, track, theme, line=(x, y / ax.get_ylim()[1]))
    labels = _draw_baseline(view)
    total = view.totals.get(track.job_id) if view.width is not None else track
    if total is not None:
        x, y = view.line(total)
        if view.width is None:
            band = view.line(total, "failure_rate_low")[1], view.line(total, "failure_rate_high")[1]
            draw_band(ax, x, *band, color=theme.main, alpha=0.16)
        look = {"color": theme.main, "linewidth": 2} if view.width is None else {"color": theme.ink, "linewidth": 1.1}
        draw_line(ax, x, y, zorder=3, label="cumulative", **look)
        known = y[np.isfinite(y)]
        if known.size:
            labels.append(EndLabel(float(known[-1]), f"since the start\n{_last_text(total)}"))
    if view.width is not None:
        _draw_dots(view, track)
    if not np.isfinite(track.values("failure_rate")).any():
        canvas.write_nothing(ax, "no items finished yet", theme)
    canvas.write_end_labels(ax, labels, theme)
    interval = "with confidence interval"
    if view.width is None:
        method = f"{track.name}: share of failed items since the start {interval} (band)"
    else:
        method = f"{track.name}: failed share per {clock.duration_text(view.width * clock.SECONDS_PER_DAY)} {interval}"
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


def _draw_dots(view: _View, track: Track, *, color: str | None = None, marker: str = "o") -> None:
    """Draw a dot with whiskers per window, filled and square where it is worse than usual."""
    rows = view.windows(track)
    rate, low, high = (track.values(name)[rows] for name in _COLUMNS[2:])
    worse = view.is_worse(low)
    usual = color or view.theme.main
    for chosen, tint, shape in ((~worse, usual, marker), (worse, view.theme.alarm, "s")):
        if not chosen.any():
            continue
        if len(view.tracks) == 1 or tint == view.theme.alarm:  # the whiskers of many jobs hide one another
            view.ax.vlines(track.x[rows][chosen], low[chosen], high[chosen], color=tint, linewidth=1.5, zorder=3.5)
        view.ax.plot(
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
        moment = clock.moment_text(float(track.days[first]), view.zone, track.days[0], track.days[-1])
        text = f"above baseline\nsince {moment}"
        left = track.x[first] < np.mean(view.ax.get_xlim())
        at: dict[str, Any] = {"xy": (track.x[first], rate[worse][0]), "xytext": (0.03 if left else 0.5, 0.93)}
        arrow = {"arrowstyle": "-", "color": view.theme.alarm, "linewidth": 0.8, "shrinkB": 4}
        words: dict[str, Any] = {"color": view.theme.alarm, "fontweight": "bold", "va": "top", "arrowprops": arrow}
        canvas.note(view.ax, text, view.theme, textcoords="axes fraction", **at, **words)


def _draw_overlay(view: _View) -> str:
    labels = _draw_baseline(view)
    for track, stroke in zip(view.tracks, canvas.strokes(len(view.tracks), view.theme), strict=True):
        x, y = view.line(track)
        if view.width is None:
            band = view.line(track, "failure_rate_low")[1], view.line(track, "failure_rate_high")[1]
            draw_band(view.ax, x, *band, color=stroke.color, alpha=0.1)
        else:
            _draw_dots(view, track, color=stroke.color, marker=stroke.marker)
        thin = {"linewidth": 2.0} if view.width is None else {"linewidth": 0.9, "alpha": 0.8}
        draw_line(view.ax, x, y, zorder=3, label=track.name, **stroke.line, **thin)
        known = y[np.isfinite(y)]
        labels.append(EndLabel(float(known[-1]) if known.size else 0.0, f"{track.short}\n{_last_text(track)}", stroke))
    canvas.write_end_labels(view.ax, labels, view.theme)
    return f"Failed share {_kind_text(view)} with confidence interval, {len(view.tracks)} jobs"


def _draw_panels(view: _View) -> str:
    for panel, track in canvas.panels(view.ax, view.tracks, view.zone, view.unit, view.theme):
        x, y = view.line(track)
        band = view.line(track, "failure_rate_low")[1], view.line(track, "failure_rate_high")[1]
        draw_band(panel, x, *band, color=view.theme.main, alpha=0.16)
        draw_line(panel, x, y, color=view.theme.main, linewidth=1.5, label=track.name)
        if view.usual is not None:
            panel.axhline(view.usual[0], color=view.theme.baseline, linewidth=1, linestyle=(0, (4, 3)))
        canvas.write_panel_title(panel, f"{elided(track.name, 18)}, {_last_text(track)}", view.theme)
    return f"Failed share {_kind_text(view)} with confidence interval, {len(view.tracks)} jobs on one scale"


def _draw_crowd(view: _View) -> str:
    canvas.draw_crowd(view.ax, [view.line(track) for track in view.tracks], view.theme)
    return canvas.crowd_text(len(view.tracks))


def _kind_text(view: _View) -> str:
    if view.width is None:
        return "since the start"
    return f"per {clock.duration_text(view.width * clock.SECONDS_PER_DAY)}"


def _last_text(track: Track) -> str:
    rate = track.values("failure_rate")
    known = rate[np.isfinite(rate)]
    return percent_text(float(known[-1])) if known.size else "none finished"


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.tracks[: canvas.OVERLAY_MOST]:
        known = np.flatnonzero(np.isfinite(track.values("failure_rate")))
        if known.size == 0:
            parts.append(f"{track.name} no items finished yet")
            continue
        failed, finished, rate, low, high = (track.values(name)[known[-1]] for name in _COLUMNS)
        span = "so far" if view.width is None else f"in the last {_kind_text(view).removeprefix('per ')}"
        part = f"{track.name} {percent_text(rate)} failed {span} ({failed:,.0f} of {finished:,.0f}, "
        part += f"{percent_text(low)} to {percent_text(high)})"
        if view.usual is not None and view.width is not None:
            rows = view.windows(track)
            worse = view.is_worse(track.values("failure_rate_low")[rows])
            part += f", {worse.sum()} of {rows.size} windows above the baseline of {percent_text(view.usual[0])}"
        parts.append(part)
    return canvas.words("Failure rate", view.tracks, view.zone, parts)

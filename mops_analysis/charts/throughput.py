"""Chart B: how fast are the jobs."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mops_analysis.charts import canvas, clock
from mops_analysis.charts.canvas import EndLabel, number_text
from mops_analysis.charts.lines import Floats, broken, draw_line
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

    Look for dips of the bold line below the dashed median, and for how far the grey steps scatter: a slow phase is
    a dip that lasts longer than a window. The bold line breaks where a window was not seen by half; nothing is
    interpolated. The axis starts at zero; slow jobs are shown per minute or hour.

    One job is drawn in full; 2 to 6 share the Axes, told apart by colour, dash and marker; 7 to 24 get a panel each
    inside the Axes (its `child_axes`), on one scale; more are drawn as thin lines without names.

    Parameters
    ----------
    throughput
        What `throughput(samples)` returned.
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
    check_metric(throughput, ("interval_items_per_s", "items_per_s"), "throughput()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    tracks, unit = tracks_of(throughput, x=x)
    ax = canvas.open_axes(ax, colours)
    top = _top(tracks)
    _, name, short, scale = next(row for row in _UNITS if top >= row[0] or top == 0)
    ax.set_ylabel(f"items per {name}")
    if not tracks:
        return canvas.close_empty(ax, _QUESTION, "Throughput", colours)
    view = _View(ax, tracks, scale, short, zone, unit, colours)
    canvas.set_time_limits(ax, tracks)
    ax.set_ylim(0, 1.08 * top * scale if top > 0 else 1)
    above = canvas.dress_time(ax, tracks, zone, unit, colours)
    method = canvas.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above)
    ax.set_label(_words(view))
    return ax


@dataclass(frozen=True)
class _View:
    """What the drawing functions share; rates are per second times `scale`."""

    ax: Axes
    tracks: list[Track]
    scale: float
    short: str
    zone: dt.tzinfo
    unit: str | None
    theme: Theme

    def line(self, track: Track) -> tuple[Floats, Floats]:
        """The window rates of a job, broken at gaps and where it starts again."""
        x = np.insert(track.x, track.breaks + 1, track.x[track.breaks])
        return x, broken(track.values("items_per_s") * self.scale, track.breaks)

    def text(self, rate: float) -> str:
        """A rate [items/s] in words."""
        return f"{number_text(rate * self.scale)}/{self.short}"


def _top(tracks: list[Track]) -> float:
    """The largest rate to show: a single wild step must not flatten the rest."""
    tops = [0.0]
    for track in tracks:
        windows, steps = (column[np.isfinite(column)] for column in map(track.values, _RATES))
        tops.append(max(windows.max(initial=0.0), np.quantile(steps, 0.98) if steps.size else 0.0))
    return max(tops)


_RATES = ("items_per_s", "interval_items_per_s")


def _draw_single(view: _View) -> str:
    ax, track, theme = view.ax, view.tracks[0], view.theme
    x, y = view.line(track)
    steps = track.values("interval_items_per_s") * view.scale
    # A step across a gap is an average over the gap: drawn, it would look like many samples.
    steps[track.gaps + 1] = np.nan
    canvas.hatch_gaps(ax, track, theme, line=(x, y / ax.get_ylim()[1]))
    draw_line(ax, track.x, steps, color=theme.faint, linewidth=0.9, drawstyle="steps-pre", zorder=2, label="steps")
    draw_line(ax, x, y, color=theme.main, linewidth=2, zorder=3, label=track.name)
    method = f"{track.name}: each step between samples (grey), trailing window (blue)"
    windows = track.values("items_per_s")
    if np.isfinite(windows).any():
        median = float(np.nanmedian(windows))
        ax.axhline(
            median * view.scale, color=theme.ink, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2.5, label="median"
        )
        canvas.write_end_labels(ax, [EndLabel(median * view.scale, f"median\n{view.text(median)}")], theme)
        method += ", its median (dashed)"
        _draw_slowest(view, track, median)
    else:
        canvas.write_nothing(ax, "no rate yet", theme)
    cut = int((steps[np.isfinite(steps)] > ax.get_ylim()[1]).sum())
    return method + (f"; {cut:,} step{'s' if cut > 1 else ''} beyond the axis" if cut else "")


def _draw_slowest(view: _View, track: Track, median: float) -> None:
    """Point at the slowest window, where it is clearly slower than usual and not just the start or the end."""
    windows = track.values("items_per_s")
    slowest = int(np.nanargmin(windows))
    if np.isfinite(windows).sum() < 20 or windows[slowest] > 0.8 * median:
        return
    ax, theme = view.ax, view.theme
    low, high = ax.get_xlim()
    place = (float(track.x[slowest]) - low) / (high - low)
    value = windows[slowest] * view.scale / ax.get_ylim()[1]
    moment = clock.moment_text(float(track.days[slowest]), view.zone, track.days[0], track.days[-1])
    at: dict[str, Any] = {"xy": (track.x[slowest], windows[slowest] * view.scale), "xycoords": "data"}
    arrow = {"arrowstyle": "-", "color": theme.ink, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3}
    canvas.note(
        ax,
        f"slowest {view.text(float(windows[slowest]))}\nat {moment}",
        theme,
        xytext=(min(max(place - 0.09, 0.09), 0.88), 0.05 if value > 0.3 else 0.88),
        textcoords="axes fraction",
        ha="center",
        va="bottom" if value > 0.3 else "top",
        arrowprops=arrow,
        **at,
    )


def _draw_overlay(view: _View) -> str:
    labels = []
    for track, stroke in zip(view.tracks, canvas.strokes(len(view.tracks), view.theme), strict=True):
        x, y = view.line(track)
        draw_line(view.ax, x, y, linewidth=2, zorder=3, label=track.name, **stroke.line)
        known = y[np.isfinite(y)]
        last = float(known[-1]) if known.size else 0.0
        rate = view.text(last / view.scale) if known.size else "no rate yet"
        labels.append(EndLabel(last, f"{track.short}\n{rate}", stroke))
    canvas.write_end_labels(view.ax, labels, view.theme)
    return f"Trailing window of {len(view.tracks)} jobs, newest value at the right; lines break where no samples came"


def _draw_panels(view: _View) -> str:
    for panel, track in canvas.panels(view.ax, view.tracks, view.zone, view.unit, view.theme):
        x, y = view.line(track)
        draw_line(panel, x, y, color=view.theme.main, linewidth=1.5, label=track.name)
    return f"Trailing window of {len(view.tracks)} jobs on one scale; hatched: no samples"


def _draw_crowd(view: _View) -> str:
    canvas.draw_crowd(view.ax, [view.line(track) for track in view.tracks], view.theme)
    return canvas.crowd_text(len(view.tracks))


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.tracks[: canvas.OVERLAY_MOST]:
        windows = track.values("items_per_s")
        known = np.flatnonzero(np.isfinite(windows))
        if known.size == 0:
            parts.append(f"{track.name} no rate yet")
            continue
        slowest = int(np.nanargmin(windows))
        parts.append(
            f"{track.name} median {view.text(float(np.nanmedian(windows)))}, last {view.text(windows[known[-1]])}, "
            f"slowest window {view.text(windows[slowest])} at "
            f"{clock.moment_text(track.days[slowest], view.zone, track.days[0], track.days[-1])}"
        )
    return canvas.words("Throughput", view.tracks, view.zone, parts)

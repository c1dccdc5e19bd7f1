"""Items per hour, day or week: what many jobs got done over a long time."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mops_analysis.charts import canvas, clock
from mops_analysis.charts.canvas import EndLabel, number_text
from mops_analysis.charts.lines import Floats, plot_line
from mops_analysis.charts.palette import Theme, theme_named
from mops_analysis.charts.tracks import check_frame, elided, names_of

_QUESTION = "How much got done?"
_COLUMNS = ("period_start", "finished_items", "failed_items")


def plot_throughput_by(
    throughput_by: pd.DataFrame,
    *,
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Items finished per period: a bar each, or a line for each job or group.

    Look for days far from the dashed median, and for red on top of a bar: items that failed. A period without samples
    stays blank, which is not the same as nothing done. The first and the last period are mostly cut short. Of more than
    six groups the six with most items have names; the others are thin grey lines.

    Parameters
    ----------
    throughput_by
        What `throughput_by(samples)` returned, for all jobs together, by job or by a column.
    ax, theme
        As for `plot_progress`.
    tz
        Zone to show. By default that of the periods.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no periods. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `throughput_by` returns.
    ConfigurationError
        If there is no such zone or theme.

    Examples
    --------
    >>> days = pd.date_range("2026-11-16", periods=3, tz="Europe/Berlin")
    >>> ax = plot_throughput_by(pd.DataFrame({"period_start": days, "finished_items": [10.0, 30.0, 20.0],
    ...                                       "failed_items": [0.0, 3.0, 0.0]}))
    >>> ax.get_ylabel(), [bar.get_height() for bar in ax.containers[0]]
    ('items finished per 1 d', [np.float64(10.0), np.float64(30.0), np.float64(20.0)])
    """
    check_frame(throughput_by, _COLUMNS, "throughput_by()")
    colours = theme_named(theme)
    zone = throughput_by["period_start"].dt.tz if tz is None else clock.zone_of(tz)
    ax = canvas.open_axes(ax, colours)
    ax.set_ylabel("items finished")
    if throughput_by.empty:
        return canvas.close_empty(ax, _QUESTION, "Items by period", colours)
    first = str(throughput_by.columns[0])
    key = None if first in _COLUMNS else first
    starts = np.unique(clock.days_of(throughput_by["period_start"]))
    width = float(np.diff(starts).min()) if starts.size > 1 else 1 / 24
    period = clock.duration_text(width * clock.SECONDS_PER_DAY) if starts.size > 1 else "period"
    ax.set_xlim(starts[0], starts[-1] + width)
    ax.set_ylabel(f"items finished per {period}" if starts.size > 1 else "items finished")
    clock.draw_clock_axis(ax.xaxis, zone)
    ax.set_xlabel(clock.clock_label(zone, float(starts[0]), float(starts[-1] + 0.99 * width)))
    if key is None:
        method, words = _draw_bars(ax, throughput_by, width, period, zone, colours)
    else:
        method, words = _draw_groups(ax, throughput_by, key, width, colours)
    canvas.count_axis(ax)
    canvas.write_title(ax, _QUESTION, method, colours)
    ends = float(starts[0]), float(starts[-1] + 0.99 * width)
    ax.set_label(f"Items by period, {clock.date_text(*ends, zone)} {clock.zone_text(zone, *ends)}: {words}.")
    return ax


def _draw_bars(
    ax: Axes, frame: pd.DataFrame, width: float, period: str, zone: dt.tzinfo, theme: Theme
) -> tuple[str, str]:
    """All jobs together: the method, and the numbers in words."""
    days = clock.days_of(frame["period_start"])
    finished, failed = (frame[name].to_numpy(dtype=float) for name in _COLUMNS[1:])
    look: dict[str, Any] = {"align": "edge", "edgecolor": theme.paper, "linewidth": 0.5}
    ax.bar(days, finished, width, color=theme.main, label="finished", **look)
    ax.bar(days, failed, width, bottom=finished - failed, color=theme.alarm, label="failed", **look)
    median, most = float(np.median(finished)), int(finished.argmax())
    ax.set_ylim(0, 1.08 * finished[most] if finished[most] > 0 else 1)
    ax.axhline(median, color=theme.ink, linewidth=1.1, linestyle=(0, (4, 3)), label="median")
    canvas.write_end_labels(ax, [EndLabel(median, f"median\n{number_text(median)}")], theme)
    moment = clock.moment_text(float(days[most]), zone, float(days[0]), float(days[-1]) + width)
    words = f"{number_text(finished.sum())} items finished, {number_text(failed.sum())} of them failed; median "
    words += f"{number_text(median)} per {period}, most {number_text(finished[most])} from {moment}"
    return f"All jobs, items per {period}; red: failed; dashed: the median", words


def _draw_groups(ax: Axes, frame: pd.DataFrame, key: str, width: float, theme: Theme) -> tuple[str, str]:
    """Jobs or groups side by side: the method, and the numbers in words."""
    named = frame.assign(name=names_of(frame) if key == "job_id" else frame[key].astype("string").fillna("none"))
    sums = named.groupby(key, dropna=False)["finished_items"].sum().sort_values(ascending=False, kind="stable")
    shown = list(sums.index[: canvas.OVERLAY_MOST])
    labels: list[EndLabel] = []
    ax.set_ylim(0, 1.08 * max(float(named["finished_items"].max()), 1e-9))
    look = dict(zip(shown, canvas.strokes(max(len(shown), 2), theme), strict=False))
    for group, rows in named.groupby(key, dropna=False):
        x, y = _steps(rows, width)
        if group not in look:
            plot_line(ax, x, y, color=theme.faint, linewidth=0.8, zorder=2, label="others")
            continue
        stroke, name = look[group], str(rows["name"].iloc[-1])
        plot_line(ax, x, y, linewidth=2, zorder=3, label=name, marker=stroke.marker, markersize=4, **stroke.line)
        known = y[np.isfinite(y)]
        labels.append(EndLabel(float(known[-1]), f"{elided(name, 14)}\n{number_text(sums[group])} in all", stroke))
    canvas.write_end_labels(ax, labels, theme)
    what = "jobs" if key == "job_id" else f"values of {key}"
    method = f"{len(sums):,} {what}, a point per period at its middle; at the right their sums"
    method += f"; grey: {len(sums) - len(shown):,} smaller ones" if len(sums) > len(shown) else ""
    first = [f"{named.loc[named[key] == group, 'name'].iloc[-1]} {number_text(sums[group])}" for group in shown]
    return method, f"items of {len(sums):,} {what}, the most: {', '.join(first)}"


def _steps(rows: pd.DataFrame, width: float) -> tuple[Floats, Floats]:
    """The middle of each period and its items, broken where a period is missing."""
    days = clock.days_of(rows["period_start"])
    values = rows["finished_items"].to_numpy(dtype=float)
    breaks = np.flatnonzero(np.diff(days) > 1.5 * width) + 1
    return np.insert(days + width / 2, breaks, days[breaks - 1] + width), np.insert(values, breaks, np.nan)

"""Chart A: how far are the jobs, and when will they be done."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from mops_analysis import schema
from mops_analysis.charts import canvas, clock, many
from mops_analysis.charts.canvas import EndLabel, Stroke
from mops_analysis.charts.crowd import Crowd, crowd_text, draw_crowd
from mops_analysis.charts.lines import NAT, Line, Numbers, draw_line, fall_starts
from mops_analysis.charts.palette import Theme, status_colour, status_mark, theme_named
from mops_analysis.charts.tracks import Track, check_metric, elided, tracks_of
from mops_analysis.errors import ConfigurationError

_QUESTION = "How far, and when done?"
_COUNTERS = {"items": "processed_items", "share": "progress_percentage"}
_OPACITIES = (0.26, 0.18, 0.12)  # of the narrowest band to the widest


def plot_progress(
    samples: pd.DataFrame,
    *,
    forecast: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    issued_at: pd.Timestamp | None = None,
    y: str | None = None,
    x: str = "clock",
    record: str | None = None,
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Progress over time, with the forecast of the finish.

    Look for the slope: a straight line is a steady job, a flat stretch is a stall, a break is a time without samples
    (hatched for a single job), a fall is a counter that started again. A forecast is a dashed line from the moment it
    was issued to the predicted finish, with a band up to its interval.

    One job is drawn in full; 2 to 6 share the Axes, told apart by colour, dash and marker; 7 to 24 get a panel each
    inside the Axes (its `child_axes`), on one scale. Of more, the median and the ranges that hold half and nine tenths
    of them are drawn, a job that has ended counting on as it ended, and over them by name the three that will be done
    last; without a forecast, the three that run and are least done.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    forecast
        What `eta(samples)` returned; or several of them with different intervals, drawn as a fan.
    issued_at
        Draw the forecast that stood at this moment. By default the newest one; for a job that has ended, the one at
        half of its way, to compare it with what happened.
    y
        "items" draws `processed_items` against `total_items`, "share" the served percentage. By default items for one
        job, and share for more.
    x
        "clock" or "elapsed": time of the day, or time since each job's first sample.
    record
        How well such forecasts held before, to be written under the question: what `backtest_summary` returned.
    ax
        Axes to draw on; they and the background of their figure get the colours of the theme. By default new ones in
        a figure of their own that pyplot does not know: a notebook shows it as the last expression of a cell, and
        `ax.figure.savefig()` saves it. Names at the line ends need a margin of an inch and a half at the right.
    tz
        Zone to show, such as "Europe/Berlin". By default the viewer's own.
    theme
        "light" or "dark".

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no samples. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or `forecast` not what `eta` returns.
    ConfigurationError
        If `x`, `y`, `tz` or `theme` is none of its words.

    Examples
    --------
    >>> from mops_analysis import schema
    >>> ax = plot_progress(schema.to_frame([]), tz="UTC")
    >>> ax.get_title(loc="left"), ax.get_label()
    ('How far, and when done?', 'Progress: no samples.')
    """
    if x not in ("clock", "elapsed"):  # over the share done itself, progress says nothing
        raise ConfigurationError(f"x: expected 'clock' or 'elapsed', got {x!r}")
    if y not in (None, *_COUNTERS):
        raise ConfigurationError(f"y: expected 'items' or 'share', got {y!r}")
    forecasts = [forecast] if isinstance(forecast, pd.DataFrame) else list(forecast or ())
    fans = [check_metric(frame, ("eta", "eta_low", "eta_high"), "eta()") for frame in forecasts]
    zone, colours = clock.zone_of(tz), theme_named(theme)
    tracks, unit = tracks_of(schema.validate(samples), x=x)
    ax = canvas.open_axes(ax, colours)
    y = y or ("items" if len(tracks) <= 1 else "share")
    ax.set_ylabel("items processed" if y == "items" else "share done")
    if not tracks:
        return canvas.close_empty(ax, _QUESTION, "Progress", colours)
    issues = _issues(tracks, fans, issued_at)
    named = many.to_name(tracks, lambda track: _rank(track, issues))
    view = _View(ax, tracks, named, issues, _COUNTERS[y], zone, unit, colours)
    _set_limits(view)
    above = canvas.dress_time(ax, tracks, zone, unit, colours)
    method = many.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above, record=record)
    ax.set_label(_words(view) + (f" {record}." if record else ""))
    return ax


@dataclass(frozen=True)
class _Issue:
    """A forecast as it stood at one row of a job's track [days]."""

    row: int
    median: float
    bands: list[tuple[float, float]]  # from the narrowest to the widest


@dataclass(frozen=True)
class _View:
    """What the drawing functions share."""

    ax: Axes
    tracks: list[Track]
    named: list[Track]
    issues: dict[str, _Issue]
    column: str
    zone: dt.tzinfo
    unit: str | None
    theme: Theme

    @property
    def is_share(self) -> bool:
        """Whether the y axis is the share done."""
        return self.column == "progress_percentage"

    @cached_property
    def crowd(self) -> Crowd:
        """All jobs together, once the limits are set."""
        ended = [track for track in self.tracks if track.status in schema.TERMINAL_STATUSES]
        return Crowd.of(self.ax, self.tracks, self.line, ended=ended)

    def goal(self, track: Track) -> Numbers:
        """What the counter is to reach, at each row."""
        return np.full(track.size, 100.0) if self.is_share else track.values("total_items")

    def has_forecast(self, track: Track) -> bool:
        """Whether one is drawn; beside others for jobs that run, alone for one that has ended too."""
        has_panels = canvas.OVERLAY_MOST < len(self.tracks) <= canvas.PANELS_MOST
        if track.job_id not in self.issues or has_panels:
            return False
        return len(self.tracks) == 1 or track.status not in schema.TERMINAL_STATUSES

    def text(self, value: float) -> str:
        """A value in words."""
        return f"{value:.0f} %" if self.is_share else canvas.number_text(value)

    def line(self, track: Track) -> Line:
        """The line of a job, broken at gaps and falls."""
        return track.line(self.column, breaks=np.union1d(track.gaps, fall_starts(track.values(self.column))))


def _rank(track: Track, issues: dict[str, _Issue]) -> float:
    """The lower, the later a job will be done, or without any forecast, the less it has done; NaN after its end."""
    if track.status in schema.TERMINAL_STATUSES:
        return np.nan
    if issues:
        return -issues[track.job_id].median if track.job_id in issues else np.nan
    return float(track.values("progress_percentage")[-1])


def _issues(tracks: Sequence[Track], fans: Sequence[pd.DataFrame], issued_at: pd.Timestamp | None) -> dict[str, _Issue]:
    """Find the forecast to draw, for each job that has one."""
    by_job = [{each.job_id: each for each in tracks_of(fan)[0]} for fan in fans]
    found = {}
    for track in tracks:
        forecasts = [jobs[track.job_id] for jobs in by_job if track.job_id in jobs]
        if forecasts and (issue := _issue(track, forecasts, issued_at)) is not None:
            found[track.job_id] = issue
    return found


def _issue(track: Track, forecasts: Sequence[Track], issued_at: pd.Timestamp | None) -> _Issue | None:
    """Find the forecast to draw for one job."""
    first, moments = forecasts[0], forecasts[0].days.values
    newest = track.days.values[-1]
    until = newest if issued_at is None else min(newest, issued_at.as_unit("ns").value)
    seen = int(np.searchsorted(moments, until, side="right"))
    known = np.flatnonzero(first.times("eta").values[:seen] != NAT)
    if not known.size:
        return None
    chosen = int(known[-1])
    if issued_at is None and track.status in schema.TERMINAL_STATUSES:
        share = track.values("progress_percentage")
        then = share[np.searchsorted(track.days.values, moments[known], side="right") - 1]
        chosen = int(known[np.abs(then - share[-1] / 2).argmin()])
    elif issued_at is None and moments[chosen] != newest:
        return None  # a job of which nothing can be said now has no forecast, whatever was said before
    bands = []
    for each in forecasts:
        at = int(np.searchsorted(each.days.values, moments[chosen], side="right")) - 1
        if at >= 0 and each.days.values[at] == moments[chosen]:
            bands.append((float(each.times("eta_low")[at]), float(each.times("eta_high")[at])))
    row = int(np.searchsorted(track.days.values, moments[chosen], side="right")) - 1
    return _Issue(row, float(first.times("eta")[chosen]), sorted(bands, key=lambda band: band[1] - band[0]))


def _set_limits(view: _View) -> None:
    ends = [
        track.place(np.array([view.issues[track.job_id].median, *view.issues[track.job_id].bands[-1]]))
        for track in view.named
        if view.has_forecast(track)
    ]
    low = min(float(track.x[0]) for track in view.tracks)
    last = max(float(track.x[-1]) for track in view.tracks)
    # A band may reach for days: what has been seen keeps at least a third of the width, the median is inside. Of a
    # crowd it keeps half, as the forecasts of a few are a side of it only.
    is_crowd = many.is_crowd(view.tracks)
    most = [low + 2 * (last - low) if is_crowd else max(float(end[0]), low + 3 * (last - low)) for end in ends]
    reach = [min(float(np.nanmax(end)), limit) for end, limit in zip(ends, most, strict=True)]
    canvas.set_time_limits(view.ax, view.tracks, until=max(reach, default=-np.inf))
    top = max(float(np.fmax.reduce(values)) for t in view.tracks for values in (view.goal(t), t.values(view.column)))
    view.ax.set_ylim(0, 1.12 * top if top > 0 else 1)
    if view.is_share:
        view.ax.set_yticks([0, 25, 50, 75, 100])
        view.ax.yaxis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:g} %"))
    else:
        canvas.count_axis(view.ax)


def _draw_single(view: _View) -> str:
    ax, track, theme = view.ax, view.tracks[0], view.theme
    _draw_goal(view, track)
    _draw_waiting(view, track)
    drawn = draw_line(ax, view.line(track), color=theme.main, linewidth=2, zorder=3, label=track.name)
    canvas.hatch_gaps(ax, track, theme, line=drawn)
    _draw_falls(view, track)
    _draw_rug(ax, track, theme)
    stroke = canvas.strokes(1, theme)[0]
    issue = view.issues.get(track.job_id)
    method = f"{track.name}: {'served percentage' if view.is_share else 'items processed'}"
    if issue is not None:
        _draw_forecast(view, track, stroke)
        method += f"; forecast of {_issued_text(view, track)}: dashed median, {_band_text(view)}"
    _draw_end(view, track)
    canvas.write_end_labels(ax, [EndLabel(float(track.values(view.column)[-1]), _state_text(view, track))], theme)
    return f"{method}; {track.size:,} sample{'s' if track.size != 1 else ''}"


def _draw_goal(view: _View, track: Track) -> None:
    goal = view.goal(track)
    if goal.max() <= 0:
        return
    ax, theme = view.ax, view.theme
    right = ax.get_xlim()[1]
    changes = np.append(0, np.flatnonzero(goal[1:] != goal[:-1]) + 1)
    ax.plot(
        np.append(track.x[changes], right),
        np.append(goal[changes], goal[-1]),
        drawstyle="steps-post",
        color=theme.muted,
        linewidth=1.1,
        zorder=2,
        label="total",
    )
    if view.is_share:
        return
    place: dict[str, Any] = {"xycoords": "data", "xytext": (3, 2), "textcoords": "offset points", "va": "bottom"}
    for change in {int(changes[0]), int(changes[-1])}:
        canvas.note(ax, f"{goal[change]:,.0f} total", theme, xy=(track.x[change], goal[change]), **place)


def _draw_waiting(view: _View, track: Track) -> None:
    """Tint the times in which the job waited: pending, in review, or in a status that we do not know."""
    low, high = view.ax.get_xlim()
    for word, start, after in track.runs("status"):
        end = min(after, track.size - 1)
        if word == schema.RUNNING_STATUS or word in schema.TERMINAL_STATUSES or start == end:
            continue
        left, right = track.x[start], track.x[end]
        colour = status_colour(word, view.theme)
        view.ax.axvspan(left, right, color=colour, alpha=0.18, linewidth=0, zorder=0.5, label=word)
        if (right - left) / (high - low) > 0.09:
            text = f"{status_mark(word)} {word.replace('_', ' ')}"
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "center"}
            low_line = track.values(view.column)[start] < 0.3 * view.ax.get_ylim()[1]
            canvas.note(view.ax, text, view.theme, xy=((left + right) / 2, 0.5 if low_line else 0.12), **place)


def _draw_falls(view: _View, track: Track) -> None:
    values = track.values(view.column)
    falls = fall_starts(values)
    for fall in falls:
        ends = [values[fall], values[fall + 1]]
        view.ax.plot([track.x[fall + 1]] * 2, ends, color=view.theme.alarm, linewidth=1, linestyle=(0, (1.5, 1.5)))
    for fall in falls[:3]:
        text = f"counter reset\n{values[fall]:,.0f} → {values[fall + 1]:,.0f}"
        right = track.x[fall + 1] > sum(view.ax.get_xlim()) / 2
        place: dict[str, Any] = {"textcoords": "offset points", "va": "top", "ha": "left", "xytext": (5, 0)}
        if right and values[fall + 1] > 0.5 * values[fall]:
            place |= {"va": "bottom", "ha": "right", "xytext": (-5, 6)}
        canvas.note(view.ax, text, view.theme, xy=(track.x[fall + 1], values[fall]), color=view.theme.alarm, **place)


def _draw_rug(ax: Axes, track: Track, theme: Theme) -> None:
    """Mark each sample at the foot of the Axes, at most one per pixel."""
    low, high = ax.get_xlim()
    pixels = np.linspace(low, high, int(ax.get_window_extent().width) + 1)
    firsts = np.unique(track.x.firsts(pixels))
    marks = track.x[firsts[firsts < track.size]]
    # One broken line: a line per sample would make vector files large.
    x, y = np.repeat(marks, 3), np.tile([0.0, 0.022, np.nan], marks.size)
    look: dict[str, Any] = {"color": theme.faint, "linewidth": 0.7, "zorder": 2, "label": "samples"}
    ax.plot(x, y, transform=ax.get_xaxis_transform(), scalex=False, scaley=False, **look)


def _draw_forecast(view: _View, track: Track, stroke: Stroke) -> None:
    ax, issue = view.ax, view.issues[track.job_id]
    goal = float(view.goal(track)[issue.row])
    start, here = float(track.x[issue.row]), float(track.values(view.column)[issue.row])
    median, *ends = track.place(np.array([issue.median, *(end for band in issue.bands for end in band)]))
    # Over the bands of a crowd, those of a few jobs are only a hint.
    opacities = _OPACITIES[-1:] if many.is_crowd(view.tracks) else _OPACITIES
    for position, opacity in zip(range(len(issue.bands)), opacities, strict=False):
        low, high = ends[2 * position : 2 * position + 2]
        corners = ([start, low, high], [here, goal, goal])
        ax.fill(*corners, color=stroke.color, alpha=opacity, linewidth=0, zorder=1.5, label="forecast band")
    ax.plot([start, median], [here, goal], color=stroke.color, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2.5)
    ax.plot([ends[-2], ends[-1]], [goal] * 2, color=stroke.color, linewidth=1.6, marker="|", markersize=8, zorder=4)
    ax.plot(
        [median],
        [goal],
        marker=stroke.marker,
        markersize=6,
        markerfacecolor=view.theme.paper,
        markeredgecolor=stroke.color,
        linestyle="none",
        zorder=5,
        label="predicted finish",
    )
    if len(view.tracks) > 1:
        return
    ax.axvline(start, color=view.theme.muted, linewidth=1, linestyle=(0, (1, 2)), zorder=2)
    low_x, high_x = ax.get_xlim()
    far = (start - low_x) / (high_x - low_x)
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    # Below the line after the issue, or above it before: there nothing else is drawn.
    right = (here > 0.5 * goal and far < 0.75) or far * points < _NOTE_POINTS
    lower = right or here > 0.5 * goal
    place: dict[str, Any] = {"ha": "left" if right else "right", "va": "bottom" if lower else "top"}
    offset = (5 if right else -5, 0)
    text = f"forecast issued\n{_issued_text(view, track)}"
    at: dict[str, Any] = {"xy": (start, 0.06 if lower else 0.84), "xycoords": ("data", "axes fraction")}
    canvas.note(ax, text, view.theme, xytext=offset, textcoords="offset points", color=view.theme.muted, **at, **place)


_NOTE_POINTS = 80  # what "forecast issued" takes


def _draw_end(view: _View, track: Track) -> None:
    """Mark the end of a job that has ended in the colour of its status."""
    if track.status not in schema.TERMINAL_STATUSES:
        return
    view.ax.plot(
        [track.x[-1]],
        [track.values(view.column)[-1]],
        marker="D",
        markersize=7.5,
        markerfacecolor=status_colour(track.status, view.theme),
        markeredgecolor=view.theme.ink,
        linestyle="none",
        zorder=5,
        clip_on=False,
        label=track.status,
    )


def _draw_named(view: _View) -> list[EndLabel]:
    labels = []
    for track, stroke in zip(view.named, canvas.strokes(len(view.named), view.theme), strict=True):
        draw_line(view.ax, view.line(track), linewidth=2, zorder=3, label=track.name, **stroke.line)
        if view.has_forecast(track):
            _draw_forecast(view, track, stroke)
        _draw_end(view, track)
        labels.append(EndLabel(float(track.values(view.column)[-1]), _overlay_text(view, track), stroke))
    return labels


def _draw_overlay(view: _View) -> str:
    canvas.write_end_labels(view.ax, _draw_named(view), view.theme)
    running = any(map(view.has_forecast, view.tracks))
    method = "Served percentage" if view.is_share else "Items processed"
    forecast = f"; newest forecast (dashed) with its {_band_text(view)}" if running else ""
    return f"{method}, {len(view.tracks)} jobs{forecast}; diamond: the end, in the colour of its status"


def _draw_panels(view: _View) -> str:
    for panel, track in many.panels(view.ax, view.tracks, view.zone, view.unit, view.theme):
        draw_line(panel, view.line(track), color=view.theme.main, linewidth=1.5, label=track.name)
        mark = f"{status_mark(track.status)} {elided(track.name, 18)}, {track.values('progress_percentage')[-1]:.0f} %"
        many.write_panel_title(panel, mark, view.theme)
    method = "Served percentage" if view.is_share else "Items processed"
    return f"{method}, {len(view.tracks)} jobs on one scale; mark: the newest status; hatched: no samples"


def _draw_crowd(view: _View) -> str:
    draw_crowd(view.ax, view.crowd, view.theme)
    canvas.write_end_labels(view.ax, [*view.crowd.labels(view.text), *_draw_named(view)], view.theme)
    method = "served percentage" if view.is_share else "items processed"
    which = "to be done last" if view.issues else "running and least done"
    return crowd_text(view.tracks, method, view.named, which)


def _band_text(view: _View) -> str:
    return "bands" if any(len(i.bands) > 1 for i in view.issues.values()) else "band"


def _issued_text(view: _View, track: Track) -> str:
    row = view.issues[track.job_id].row
    share = track.values("progress_percentage")[row]
    return f"{clock.clock_text(track.days[row], view.zone)}, {share:.0f} % done"


def _state_text(view: _View, track: Track) -> str:
    last = track.last
    ended = track.status in schema.TERMINAL_STATUSES
    moment = clock.clock_text(float(track.days[-1]), view.zone, seconds=True)
    total = f" of {last['total_items']:,}" if last["total_items"] else ""
    return "\n".join(
        [
            _status_text(track),
            f"{'at' if ended else 'last sample'} {moment}",
            f"{last['processed_items']:,}{total}",
            f"{last['failed_items']:,} failed",
        ]
    )


def _status_text(track: Track) -> str:
    return textwrap.fill(f"{status_mark(track.status)} {track.status.replace('_', ' ')}", 18)


def _overlay_text(view: _View, track: Track) -> str:
    """Name, share done, and where there is one the forecast."""
    text = f"{track.short} {track.values('progress_percentage')[-1]:.0f} %"
    issue = view.issues.get(track.job_id)
    if track.status in schema.TERMINAL_STATUSES or issue is None:
        return f"{text}\n{_status_text(track)}"
    return f"{text}\n{_finish_text(issue, view.zone)}"


def _finish_text(issue: _Issue, zone: dt.tzinfo) -> str:
    low, high = (clock.clock_text(end, zone) if np.isfinite(end) else "?" for end in issue.bands[-1])
    return f"{clock.clock_text(issue.median, zone)} ({low}–{high})"


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.named:
        last = track.last
        part = f"{track.name} {last['progress_percentage']:.0f} % done"
        part += f" ({last['processed_items']:,} of {last['total_items']:,} items processed), {track.status}"
        issue = view.issues.get(track.job_id)
        if issue is not None and track.status not in schema.TERMINAL_STATUSES:
            part += f", predicted finish {_finish_text(issue, view.zone)}"
        parts.append(part)
    crowd = view.crowd.words(view.text) if many.is_crowd(view.tracks) else ""
    return canvas.words("Progress", view.tracks, view.zone, parts, crowd=crowd)

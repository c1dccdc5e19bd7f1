"""Chart C: are the predictions settling."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mops_analysis import schema
from mops_analysis.charts import canvas, clock, many
from mops_analysis.charts.canvas import EndLabel
from mops_analysis.charts.crowd import Crowd, crowd_text, draw_crowd
from mops_analysis.charts.lines import NAT, Line, about, draw_band, draw_line, last_known
from mops_analysis.charts.palette import Theme, status_colour, theme_named
from mops_analysis.charts.tracks import Track, check_metric, tracks_of

_QUESTION = "When done? Are the predictions settling?"
_CUT_SHORT = ("failed", "cancelled", "canceled")  # a forecast of the last item says nothing about such an end
_SHARES_LABELLED = (25, 50, 75)  # percent done at which the error is written
_ERROR_POINTS = 62  # that takes so much of the width


def plot_eta(
    eta: pd.DataFrame,
    *,
    samples: pd.DataFrame | None = None,
    record: str | None = None,
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Predicted finish over the time of the prediction, with its interval.

    Look for flatness: a flat line is a forecast to trust, a rising one keeps promising too much. The grey diagonal is
    "now": where the line meets it, the job is done. With `samples`, the true finish of a job that has ended is a
    heavy rule, and the error of the forecasts at 25, 50 and 75 % done is written beside them: "+10 m" predicted ten
    minutes too late. A job that failed or was cancelled has no such errors.

    One job is drawn in full; 2 to 6 share the Axes, told apart by colour, dash and marker; 7 to 24 get a panel each
    inside the Axes (its `child_axes`), on one scale. Of more, the median and the ranges that hold half and nine tenths
    of the forecasts of each moment are drawn, and over them by name the three that will be done last; where none has a
    forecast any more, those that had the latest.

    Parameters
    ----------
    eta
        What `eta(samples)` returned.
    samples
        The samples themselves, for what really happened.
    record, ax, tz, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there is no forecast. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If `eta` is not a frame that `eta` returns, or `samples` no samples frame.
    ConfigurationError
        If `tz` or `theme` is none of its words.

    Examples
    --------
    >>> import pandas as pd
    >>> times = pd.to_datetime([0, 60], unit="s", utc=True)
    >>> frame = pd.DataFrame({"job_id": ["a", "a"], "sampled_at": times, "eta": times + pd.Timedelta("5min"),
    ...                       "eta_low": times + pd.Timedelta("4min"), "eta_high": times + pd.Timedelta("7min")})
    >>> plot_eta(frame, tz="UTC").get_ylabel()
    'predicted finish'
    """
    frame = check_metric(eta, ("eta", "eta_low", "eta_high"), "eta()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    tracks, _ = tracks_of(frame)
    ax = canvas.open_axes(ax, colours)
    ax.set_ylabel("predicted finish")
    tracks = [track for track in tracks if last_known(track.times("eta").values) >= 0]
    if not tracks:
        reason = "no forecast yet" if len(eta) else "no samples"
        return canvas.close_empty(ax, _QUESTION, "Predicted finish", colours, reason)
    named = many.to_name(tracks, _rank(tracks))
    truths = _truths(samples, named if many.is_crowd(tracks) else tracks)
    view = _View(ax, tracks, named, truths, zone, colours)
    _set_limits(view)
    above = canvas.dress_time(ax, tracks, zone, None, colours)
    clock.draw_clock_axis(ax.yaxis, zone)
    method = many.draw_by_count(len(tracks), _draw_single, _draw_overlay, _draw_panels, _draw_crowd)(view)
    canvas.write_title(ax, _QUESTION, method, colours, above=above, record=record)
    ax.set_label(_words(view) + (f" {record}." if record else ""))
    return ax


@dataclass(frozen=True)
class _Truth:
    """What really happened to a job."""

    track: Track
    size: int  # rows up to its end
    status: str

    @property
    def finish(self) -> float:
        """The end [days]; NaN where the job has not ended."""
        return float(self.track.days[self.size - 1]) if self.status in schema.TERMINAL_STATUSES else np.nan


@dataclass(frozen=True)
class _View:
    """What the drawing functions share."""

    ax: Axes
    tracks: list[Track]
    named: list[Track]
    truths: dict[str, _Truth]
    zone: dt.tzinfo
    theme: Theme

    def finish(self, track: Track) -> float:
        """The true finish of a job [days]; NaN where it is not known."""
        truth = self.truths.get(track.job_id)
        return np.nan if truth is None else truth.finish

    def line(self, track: Track, column: str = "eta") -> Line:
        """The predictions of a job [days], broken at gaps."""
        return Line(track.x, track.times(column), track.gaps)

    @cached_property
    def crowd(self) -> Crowd:
        """All jobs together, once the limits of the x axis are set."""
        return Crowd.of(self.ax, self.tracks, self.line)


def _rank(tracks: list[Track]) -> Callable[[Track], float]:
    """The lower, the later a job will be done; NaN where another still has a forecast, and it has none."""
    goes_on = any(_row(track) == track.size - 1 for track in tracks)
    return lambda track: np.nan if goes_on and _row(track) < track.size - 1 else -_newest(track)[0]


def _truths(samples: pd.DataFrame | None, wanted: Sequence[Track]) -> dict[str, _Truth]:
    """What happened to the jobs wanted."""
    if samples is None:
        return {}
    tracks, _ = tracks_of(schema.validate(samples))
    truths, job_ids = {}, {track.job_id for track in wanted}
    for track in tracks:
        if track.job_id not in job_ids:
            continue
        ends = [(first + 1, word) for word, first, _ in track.runs("status") if word in schema.TERMINAL_STATUSES]
        truths[track.job_id] = _Truth(track, *(ends[0] if ends else (track.size, track.status)))
    return truths


def _set_limits(view: _View) -> None:
    canvas.set_time_limits(view.ax, view.tracks)
    lows: list[float] = []
    highs: list[float] = []
    is_crowd = many.is_crowd(view.tracks)
    if is_crowd:
        lows, highs = ([end] for end in view.crowd.ends)
    for track in view.named if is_crowd else view.tracks:
        # Some of many forecasts say as much about the limits as all of them.
        rows = about(np.flatnonzero(track.times("eta").values != NAT))
        median, low, high = (track.times(name)[rows] for name in ("eta", "eta_low", "eta_high"))
        # The first forecasts may be far off; what the axis cannot show, the subtitle says.
        lows += [float(median.min()), float(np.quantile(np.fmin(low, median), 0.05))]
        highs += [float(np.quantile(median, 0.98)), float(np.quantile(np.fmax(high, median), 0.9))]
        if np.isfinite(view.finish(track)):
            lows.append(view.finish(track))
            highs.append(view.finish(track))
    left, right = view.ax.get_xlim()
    pad = max(0.08 * (max(highs) - min(lows)), 0.1 * (right - left))
    view.ax.set_ylim(min(lows) - pad, max(highs) + pad)


def _draw_single(view: _View) -> str:
    ax, track, theme = view.ax, view.tracks[0], view.theme
    _draw_now(view)
    draw_band(ax, view.line(track, "eta_low"), view.line(track, "eta_high"), color=theme.main, alpha=0.16)
    drawn = draw_line(ax, view.line(track), color=theme.main, linewidth=2, zorder=3, label=track.name)
    canvas.hatch_gaps(ax, track, theme, line=drawn)
    finish = view.finish(track)
    labels = []
    if np.isfinite(finish):
        ax.axhline(finish, color=theme.ink, linewidth=2, zorder=2.5, label="true finish")
        status = view.truths[track.job_id].status
        moment = clock.clock_text(finish, view.zone, seconds=True)
        labels.append(EndLabel(finish, f"true finish\n{moment}\n{status.replace('_', ' ')}"))
        if status not in _CUT_SHORT:
            _draw_errors(view, track, finish)
    else:
        row = _row(track)
        when = (
            "newest forecast"
            if row == track.size - 1
            else f"forecast of {clock.clock_text(track.days[row], view.zone)}"
        )
        labels.append(EndLabel(_newest(track)[0], f"{when}\n{_finish_text(view, track)}"))
    canvas.write_end_labels(ax, labels, theme)
    method = f"{track.name}: predicted finish at each moment (line) and its interval (band)"
    method += ", true finish (rule)" if np.isfinite(finish) else ""
    eta = track.times("eta")
    cut = np.count_nonzero(eta.values > ax.get_ylim()[1] * eta.unit)
    return method + (f"; {cut:,} early forecast{'s' if cut > 1 else ''} beyond the axis" if cut else "")


def _draw_now(view: _View) -> None:
    """Draw the diagonal on which the predicted finish is the present."""
    low, high = max(view.ax.get_xlim()[0], view.ax.get_ylim()[0]), min(view.ax.get_xlim()[1], view.ax.get_ylim()[1])
    if low >= high:
        return
    view.ax.plot([low, high], [low, high], color=view.theme.faint, linewidth=1, zorder=2, label="now")
    finishes = [view.finish(track) for track in view.named]
    clear = [
        at
        for at in (0.5, 0.3, 0.75)
        if not any(abs(low + at * (high - low) - f) < _CLEAR * (high - low) for f in finishes)
    ]
    middle = low + (clear[0] if clear else 0.5) * (high - low)
    place: dict[str, Any] = {"xytext": (-4, 3), "textcoords": "offset points", "ha": "right", "va": "bottom"}
    canvas.note(view.ax, "now", view.theme, xy=(middle, middle), color=view.theme.muted, **place)


_CLEAR = 0.15  # of the diagonal: so far must the word "now" be from a rule


def _draw_errors(view: _View, track: Track, finish: float) -> None:
    """Write the error of the forecasts at a quarter, half and three quarters of the way, as far as there is room."""
    truth, eta = view.truths[track.job_id], track.times("eta")
    low, high = view.ax.get_ylim()
    left, right = view.ax.get_xlim()
    points = view.ax.get_window_extent().width * 72 / view.ax.figure.dpi / (right - left)
    taken = {True: -np.inf, False: -np.inf}  # how far words reach below and above the line
    percentage = truth.track.values("progress_percentage")[: truth.size]
    known = np.flatnonzero(eta.values != NAT)
    for share in _SHARES_LABELLED:
        reached = percentage >= share
        if not reached.any():
            continue
        moment = truth.track.days.values[reached.argmax()]
        later = known[np.searchsorted(track.days.values[known], moment) :]
        if later.size == 0:
            continue
        row = int(later[0])
        point = (track.x[row], float(eta[row]))
        view.ax.plot(
            *([value] for value in point),
            marker="o",
            markersize=6,
            markerfacecolor=view.theme.paper,
            markeredgecolor=view.theme.main,
            linestyle="none",
            zorder=5,
            label=f"{share} % done",
        )
        error = (point[1] - finish) * clock.SECONDS_PER_DAY
        sign = "+" if error >= 0 else ""
        height, at = (point[1] - low) / (high - low), float(point[0] - left) * points
        sides = [side for side in (point[1] < finish, point[1] >= finish) if (height > 0.2 if side else height < 0.85)]
        free = [below for below in sides if at >= taken[below]]
        if not free:
            continue
        below = free[0]
        taken[below] = at + _ERROR_POINTS
        place: dict[str, Any] = {"xytext": (0, -10 if below else 10), "va": "top" if below else "bottom"}
        text = f"{share} % done\n{sign}{clock.duration_text(error)}"
        canvas.note(view.ax, text, view.theme, xy=point, textcoords="offset points", ha="center", **place)


def _draw_named(view: _View) -> list[EndLabel]:
    labels = []
    _draw_now(view)
    for track, stroke in zip(view.named, canvas.strokes(len(view.named), view.theme), strict=True):
        band = view.line(track, "eta_low"), view.line(track, "eta_high")
        draw_band(view.ax, *band, color=stroke.color, alpha=0.12)
        draw_line(view.ax, view.line(track), linewidth=2, zorder=3, label=track.name, **stroke.line)
        finish = view.finish(track)
        text = f"done {clock.clock_text(finish, view.zone)}" if np.isfinite(finish) else _finish_text(view, track)
        labels.append(EndLabel(_newest(track)[0], f"{track.short}\n{text}", stroke))
        if np.isfinite(finish):
            look: dict[str, Any] = {"marker": "D", "markersize": 7, "markeredgecolor": view.theme.ink, "zorder": 5}
            look["markerfacecolor"] = status_colour(view.truths[track.job_id].status, view.theme)
            view.ax.plot([finish], [finish], linestyle="none", label="true finish", **look)
    return labels


def _draw_overlay(view: _View) -> str:
    canvas.write_end_labels(view.ax, _draw_named(view), view.theme)
    ended = any(np.isfinite(view.finish(track)) for track in view.tracks)
    method = f"Predicted finish at each moment and its interval, {len(view.tracks)} jobs; a flat line can be trusted"
    return method + ("; diamond: the true finish" if ended else "")


def _draw_panels(view: _View) -> str:
    for panel, track in many.panels(view.ax, view.tracks, view.zone, None, view.theme):
        clock.draw_clock_axis(panel.yaxis, view.zone, ticks=4)
        band = view.line(track, "eta_low"), view.line(track, "eta_high")
        draw_band(panel, *band, color=view.theme.main, alpha=0.16)
        draw_line(panel, view.line(track), color=view.theme.main, linewidth=1.5, label=track.name)
        if np.isfinite(view.finish(track)):
            panel.axhline(view.finish(track), color=view.theme.ink, linewidth=1.2, label="true finish")
    return f"Predicted finish at each moment and its interval, {len(view.tracks)} jobs on one scale; rule: true finish"


def _draw_crowd(view: _View) -> str:
    draw_crowd(view.ax, view.crowd, view.theme)
    labels = view.crowd.labels(lambda days: clock.clock_text(days, view.zone))
    canvas.write_end_labels(view.ax, [*labels, *_draw_named(view)], view.theme)
    goes_on = any(_row(track) == track.size - 1 for track in view.named)
    which = "to be done last" if goes_on else "with the latest forecasts at their end"
    return crowd_text(view.tracks, "predicted finish", view.named, which)


def _newest(track: Track) -> list[float]:
    """The newest forecast of a job, and the ends of its interval [days]."""
    row = _row(track)
    return [float(track.times(name)[row : row + 1][0]) for name in ("eta", "eta_low", "eta_high")]


def _row(track: Track) -> int:
    """The row of the newest forecast of a job."""
    return last_known(track.times("eta").values)


def _finish_text(view: _View, track: Track) -> str:
    """The newest forecast of a job, with its interval, in words."""
    middle, low, high = (clock.clock_text(end, view.zone) if np.isfinite(end) else "?" for end in _newest(track))
    return f"{middle} ({low}–{high})"


def _words(view: _View) -> str:
    """The chart in words, from its numbers."""
    parts = []
    for track in view.named:
        part = f"{track.name} newest forecast {_finish_text(view, track)}"
        finish = view.finish(track)
        if np.isfinite(finish):
            part += f", true finish {clock.clock_text(finish, view.zone, seconds=True)}"
        parts.append(part)
    is_crowd = many.is_crowd(view.tracks)
    crowd = view.crowd.words(lambda days: clock.clock_text(days, view.zone)) if is_crowd else ""
    return canvas.words("Predicted finish", view.tracks, view.zone, parts, crowd=crowd)

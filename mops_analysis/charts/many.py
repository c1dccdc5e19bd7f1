"""Many jobs on one chart: which way they are drawn, which of them are told in words, and panels for some."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes

from mops_analysis.charts import canvas, clock
from mops_analysis.charts.palette import Theme
from mops_analysis.charts.tracks import Track, elided

View = TypeVar("View")


def panels(
    ax: Axes, tracks: Sequence[Track], zone: dt.tzinfo, unit: str | None, theme: Theme
) -> Iterator[tuple[Axes, Track]]:
    """Give each job a small panel inside the Axes, with the limits and ticks of the Axes.

    The Axes keep title and axis labels and lose their own frame and ticks; the panels are their `child_axes`.
    """
    columns = int(np.ceil(np.sqrt(len(tracks))))
    rows = int(np.ceil(len(tracks) / columns))
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.grid(visible=False)
    ax.tick_params(length=0, labelleft=False, labelbottom=False)
    ax.xaxis.labelpad, ax.yaxis.labelpad = 16, 30
    # No words stand right of panels: over our own Axes they may use that margin too.
    margin = ax.trail - 0.05 if isinstance(ax, canvas.ChartAxes) else 0.0
    wide = 1 + margin * ax.figure.dpi / ax.get_window_extent().width
    for position, track in enumerate(tracks):
        row, column = divmod(position, columns)
        place = ((column + 0.04) / columns * wide, 1 - (row + 0.98) / rows, 0.92 / columns * wide, 0.74 / rows)
        panel = ax.inset_axes(place)
        canvas.dress(panel, theme)
        panel.set_xlim(ax.get_xlim())
        panel.set_ylim(ax.get_ylim())
        write_panel_title(panel, elided(track.name, 24), theme)
        if unit is None:
            clock.draw_clock_axis(panel.xaxis, zone, ticks=4)
        else:
            clock.draw_elapsed_axis(panel.xaxis)
        panel.yaxis.set_major_locator(ticker.MaxNLocator(nbins=3, steps=[1, 2, 2.5, 5, 10]))
        panel.yaxis.set_major_formatter(ax.yaxis.get_major_formatter())
        last = position + columns >= len(tracks)
        panel.tick_params(labelsize=6.5, length=2, labelleft=column == 0, labelbottom=last)
        canvas.hatch_gaps(panel, track, theme)
        yield panel, track


def write_panel_title(panel: Axes, text: str, theme: Theme) -> None:
    """Name a panel, in as many letters as fit. A name is text: a dollar sign in it begins no formula."""
    points = panel.get_window_extent().width * 72 / panel.figure.dpi
    panel.set_title(
        elided(text, max(8, int(points / (0.56 * 7.5)))),
        loc="left",
        fontsize=7.5,
        color=theme.ink,
        pad=2.5,
        parse_math=False,
    )


def draw_by_count(
    jobs: int,
    single: Callable[[View], str],
    overlay: Callable[[View], str],
    panelled: Callable[[View], str],
    crowd: Callable[[View], str],
) -> Callable[[View], str]:
    """Choose how to draw so many jobs."""
    if jobs == 1:
        return single
    if jobs <= canvas.OVERLAY_MOST:
        return overlay
    return panelled if jobs <= canvas.PANELS_MOST else crowd


def is_crowd(tracks: Sequence[Track]) -> bool:
    """Whether there are more jobs than can be told apart."""
    return len(tracks) > canvas.PANELS_MOST


def to_name(tracks: Sequence[Track], rank: Callable[[Track], float]) -> list[Track]:
    """Choose whom to tell in words: the first of some; of a crowd those of the lowest rank, none where it is NaN."""
    if not is_crowd(tracks):
        return list(tracks[: canvas.OVERLAY_MOST])
    ranks = np.array([rank(track) for track in tracks], dtype=np.float64)
    return [tracks[position] for position in np.argsort(ranks, kind="stable")[:_NAMED] if np.isfinite(ranks[position])]


def still_sampled(tracks: Sequence[Track]) -> list[Track]:
    """Return the jobs whose next sample is not overdue at the newest of all; all of them where these are but a few."""
    newest = max(float(track.days[-1]) for track in tracks)
    going = [track for track in tracks if track.overdue >= newest]
    return going if len(going) >= _NAMED else list(tracks)


_NAMED = 3  # of a crowd

"""A crowd on one chart: how the lines of many jobs lie at each moment; the few that need a look are drawn over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mops_analysis.charts import canvas
from mops_analysis.charts.canvas import EndLabel
from mops_analysis.charts.lines import Floats, Ints, Line, plot_line
from mops_analysis.charts.palette import Theme
from mops_analysis.charts.tracks import Track

_ENOUGH = 5  # jobs, before it is drawn how they lie
_SEEN = 0.75  # of the jobs that go on
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_COLUMN_PIXELS = 3
_FOOT = 0.035  # of the height: how many jobs there are


@dataclass(frozen=True)
class Crowd:
    """The lines of many jobs in columns of a few pixels.

    Attributes
    ----------
    x
        The middle of each column.
    heights
        How high each line runs there, a row per job; NaN where nothing of it would be drawn.
    unseen
        The spans in which no job was sampled.
    """

    x: Floats
    heights: Floats
    unseen: list[tuple[float, float]]

    @classmethod
    def of(
        cls, ax: Axes, tracks: Sequence[Track], line: Callable[[Track], Line], *, ended: Sequence[Track] = ()
    ) -> Crowd:
        """Read off the line of each job, from the first sample to the newest of all; the x limits must be set before.

        The last height of a job counts until its next sample is overdue, and that of those which have `ended` for good.
        So that these alone are not taken for all, nothing is known where a quarter of the others are not seen.
        """
        ends = np.array([track.x.ends() for track in tracks])
        low, high, (left, right) = ends.min(), ends.max(), ax.get_xlim()
        count = int(ax.get_window_extent().width * (high - low) / (right - left) / _COLUMN_PIXELS)
        edges = np.linspace(low, high, max(count, 1) + 1)
        edges[-1] = np.nextafter(high, np.inf)  # the newest sample lies in the last column
        heights = np.array([line(track).heights(edges) for track in tracks])
        first, last = (np.searchsorted(edges, ends.T, side="right") - 1)[..., None]
        columns = np.arange(edges.size - 1)
        runs = (columns >= first) & (columns <= last)
        is_blind = np.count_nonzero(runs & ~np.isnan(heights), axis=0) < _SEEN * np.count_nonzero(runs, axis=0)
        is_over = {track.job_id for track in ended}
        # On an axis of shares nothing is overdue: a job that is not sampled any more does not move.
        is_time = tracks[0].x.values.dtype == np.int64
        overdue = [float(track.place(np.array(track.overdue))) if is_time else -np.inf for track in tracks]
        until = np.array(
            [np.inf if track.job_id in is_over else each for track, each in zip(tracks, overdue, strict=True)]
        )
        goes_on = (columns > last) & (edges[:-1] < until[:, None])
        heights = np.where(goes_on, np.take_along_axis(heights, last, axis=1), heights)
        if is_over:
            heights[:, is_blind] = np.nan
        return cls((edges[:-1] + edges[1:]) / 2, heights, _unseen(tracks))

    @cached_property
    def counts(self) -> Ints:
        """Of how many jobs something is known, column by column."""
        counts: Ints = np.count_nonzero(~np.isnan(self.heights), axis=0).astype(np.int64)
        return counts

    @cached_property
    def quantiles(self) -> Floats:
        """Below which heights 5, 25, 50, 75 and 95 % of the jobs lie, a row each; NaN where too few are known.

        Fewer than five are too few, unless there mostly are no more.
        """
        found = np.full((len(_SHARES), self.x.size), np.nan)
        usual = np.median(self.counts[self.counts > 0]) if self.counts.any() else 0
        enough = self.counts >= (_ENOUGH if usual >= _ENOUGH else 1)
        found[:, enough] = np.nanquantile(self.heights[:, enough], _SHARES, axis=0)
        return found

    @property
    def newest(self) -> Floats:
        """The newest quantiles that are known, NaN where none are."""
        known = np.flatnonzero(~np.isnan(self.quantiles[0]))
        newest: Floats = self.quantiles[:, known[-1] if known.size else -1]
        return newest

    @property
    def ends(self) -> tuple[float, float]:
        """Between which heights to draw the bands, but for a few peaks; 0 and 0 where nothing is known."""
        low, high = (each[~np.isnan(each)] for each in self.quantiles[[0, -1]])
        return (float(low.min()), float(np.quantile(high, 0.98))) if high.size else (0.0, 0.0)

    def labels(self, say: Callable[[float], str]) -> list[EndLabel]:
        """Return what to write beside the median and the counts."""
        if not self.counts.any():
            return []
        median = float(self.newest[2])
        counts = f"foot: jobs known,\nup to {self.counts.max():,}"
        return [EndLabel(median, f"median {say(median)}"), EndLabel(-np.inf, counts)]

    def words(self, say: Callable[[float], str]) -> str:
        """Say how the jobs lie at the end."""
        if not self.counts.any():
            return "nothing known yet"
        low, lower, median, upper, high = map(say, map(float, self.newest))
        return f"median {median}, half of the jobs {lower} to {upper}, nine in ten {low} to {high}"


def draw_crowd(ax: Axes, crowd: Crowd, theme: Theme) -> None:
    """Draw the median of a crowd with its bands, how many jobs it is made of, and when no job was sampled."""
    low, lower, median, upper, high = crowd.quantiles
    look: dict[str, Any] = {"color": theme.muted, "linewidth": 0, "zorder": 1.5}
    ax.fill_between(crowd.x, low, high, alpha=0.16, label="5 to 95 %", **look)
    ax.fill_between(crowd.x, lower, upper, alpha=0.26, label="middle half", **look)
    plot_line(ax, crowd.x, median, color=theme.ink, linewidth=1.6, zorder=2.5, label="median")
    foot = _FOOT * crowd.counts / max(crowd.counts.max(), 1)
    place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": theme.faint, "linewidth": 0}
    ax.fill_between(crowd.x, 0, foot, zorder=2, label="jobs at once", **place)
    for left, right in crowd.unseen:
        if (right - left) / np.ptp(ax.get_xlim()) * ax.get_window_extent().width >= 1:
            canvas.hatch(ax, left, right, theme)


def _unseen(tracks: Sequence[Track]) -> list[tuple[float, float]]:
    """The spans in which no job was sampled, between the first and the last sample; none on an axis of shares."""
    if tracks[0].x.values.dtype != np.int64:
        return []
    starts = np.concatenate([track.x[np.append(0, track.gaps + 1)] for track in tracks])
    ends = np.concatenate([track.x[np.append(track.gaps, track.size - 1)] for track in tracks])
    order = np.argsort(starts)
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    holes = np.flatnonzero(starts[1:] > reach[:-1])
    return list(zip(reach[holes].tolist(), starts[holes + 1].tolist(), strict=True))


def crowd_text(tracks: Sequence[Track], what: str, named: Sequence[Track], which: str) -> str:
    """Say what a crowd's chart shows, and which jobs are named."""
    text = f"{len(tracks):,} jobs, {what}: median (line), middle half (dark), 5 to 95 % (pale)"
    return text + (f"; named: the {'one' if len(named) == 1 else len(named)} {which}" if named else "")

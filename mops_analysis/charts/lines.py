"""Lines that tell the truth: broken at gaps, and thinned without a visible change."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: A gap is a step longer than this many of the job's median steps.
GAP_STEPS = 2.5

#: Lines of more points than this are thinned: drawing gains from about 8,000 on, a vector file much earlier.
THIN_ABOVE = 2_000


def gap_starts(times: Floats) -> Ints:
    """Return the positions i where no sample came for so long that i to i + 1 is a gap.

    Examples
    --------
    >>> gap_starts(np.array([0.0, 1.0, 2.0, 9.0, 10.0])).tolist()
    [2]
    """
    steps = np.diff(times)
    typical = np.median(steps[steps > 0]) if (steps > 0).any() else np.inf
    return np.flatnonzero(steps > GAP_STEPS * typical).astype(np.int64)


def fall_starts(counter: Floats) -> Ints:
    """Return the positions i where the counter falls from i to i + 1.

    Examples
    --------
    >>> fall_starts(np.array([0.0, 5.0, 1.0, 1.0])).tolist()
    [1]
    """
    return np.flatnonzero(np.diff(counter) < 0).astype(np.int64)


def broken(values: Floats, breaks: Ints) -> Floats:
    """Return the values with a NaN after each position in `breaks`, so that a line through them breaks there.

    Examples
    --------
    >>> broken(np.array([1.0, 2.0, 3.0]), np.array([0])).tolist()
    [1.0, nan, 2.0, 3.0]
    """
    return np.insert(np.asarray(values, dtype=np.float64), breaks + 1, np.nan)


def thinned(x: Floats, y: Floats, *, low: float, high: float, columns: int) -> Ints:
    """Return the positions of the points that draw the same picture as all of them.

    Parameters
    ----------
    x
        Rising positions; those of NaN in `y` do not matter.
    y
        Values; a NaN is a break and is kept as one.
    low, high
        The limits of the drawn axis.
    columns
        Pixel columns between the limits.

    Returns
    -------
    array
        Rising positions: of each unbroken run in each pixel column the first, lowest, highest and last point; one NaN
        between two runs.

    Notes
    -----
    M4: U. Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014, section 4.
    """
    drawn = np.flatnonzero(np.isfinite(y))
    if drawn.size == 0:
        return drawn.astype(np.int64)
    column = np.floor((x[drawn] - low) / (high - low or 1.0) * columns)
    starts = np.flatnonzero((np.diff(drawn, prepend=-2) > 1) | (np.diff(column, prepend=np.nan) != 0))
    if 4 * starts.size >= drawn.size:  # nothing to win
        return np.arange(x.size, dtype=np.int64)
    kept = [starts, np.append(starts[1:], drawn.size) - 1]
    values = y[drawn]
    runs = np.split(values, starts[1:])
    kept.append(starts + np.array([run.argmin() for run in runs]))
    kept.append(starts + np.array([run.argmax() for run in runs]))
    breaks = drawn[np.flatnonzero(np.diff(drawn) > 1)] + 1
    return np.unique(np.concatenate([drawn[np.concatenate(kept)], breaks])).astype(np.int64)


def _shown(ax: Axes, x: Floats, *ys: Floats) -> Ints:
    """Positions to draw on the Axes as its limits are now: all, or those that make the same picture."""
    if x.size <= THIN_ABOVE:
        return np.arange(x.size)
    low, high = ax.get_xlim()
    # Twice the screen's columns, so that an export at 200 dpi is still exact.
    columns = int(np.ceil(2 * ax.get_window_extent().width))
    return np.unique(np.concatenate([thinned(x, y, low=low, high=high, columns=columns) for y in ys])).astype(np.int64)


def draw_line(ax: Axes, x: Floats, y: Floats, **style: Any) -> Line2D:
    """Draw a line through all points, thinned to what is visible; a lone point between two gaps becomes a dot.

    The limits of the x axis must be set before. `style` goes to `Axes.plot`.
    """
    shown = _shown(ax, x, y)
    (line,) = ax.plot(x[shown], y[shown], solid_capstyle="round", **style)
    finite = np.isfinite(y[shown])
    lone = finite & ~np.append(finite[1:], False) & ~np.append(False, finite[:-1])
    if lone.any():
        dots = shown[lone]
        size = 2.2 * line.get_linewidth()
        ax.plot(
            x[dots], y[dots], linestyle="none", marker="o", markersize=size, color=line.get_color(), zorder=line.zorder
        )
    return line


def draw_band(ax: Axes, x: Floats, low: Floats, high: Floats, **style: Any) -> PolyCollection:
    """Fill between two lines, thinned to what is visible. `style` goes to `Axes.fill_between`."""
    shown = _shown(ax, x, low, high)
    return ax.fill_between(x[shown], low[shown], high[shown], linewidth=0, **style)

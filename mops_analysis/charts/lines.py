"""Lines that tell the truth: broken at gaps, and thinned without a visible change.

Here alone points are left out, so that ten million are drawn as fast as ten thousand: a line stays in the arrays of its
frame, and only what is drawn becomes positions on the axes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64 | np.int64]

#: A gap is a step longer than this many of the job's median steps.
GAP_STEPS = 2.5

#: Lines of more points than this are thinned: drawing gains from about 8,000 on, a vector file much earlier.
THIN_ABOVE = 2_000

NAT = np.iinfo(np.int64).min  # "not a time", as numpy has it in whole nanoseconds
_FAR = 9e18  # a limit beyond this is no time in 64 bits
_NO_BREAKS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Places:
    """Where values lie on an axis, worked out for those asked for: `places[rows]` is `(values - origin) / unit`.

    Attributes
    ----------
    values
        Numbers, or times in whole nanoseconds; NaN and NaT lie nowhere.
    origin
        The value at 0.
    unit
        How much of the values is 1 on the axis.
    """

    values: Numbers
    origin: float = 0
    unit: float = 1.0

    def __getitem__(self, rows: Any) -> Any:
        """Return the places of some values; NaN where they are unknown."""
        chosen = self.values[rows]
        places = (chosen - self.origin) / self.unit
        return np.where(_is_unknown(chosen), np.nan, places) if isinstance(chosen, np.ndarray) else places

    def __len__(self) -> int:
        return self.values.size

    def unknown(self) -> Ints:
        """Positions of values that lie nowhere."""
        return np.flatnonzero(_is_unknown(self.values))

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest place. Times rise; a share done may fall."""
        if self.values.dtype == np.int64:
            return float(self[0]), float(self[-1])
        return float(np.min(self[:])), float(np.max(self[:]))

    def firsts(self, edges: Floats) -> Ints:
        """Positions at which the values pass an edge; the first value at or after each where they rise."""
        sought = edges * self.unit + self.origin
        if self.values.dtype == np.int64:
            sought = np.ceil(np.clip(sought, -_FAR, _FAR)).astype(np.int64)
        elif fall_starts(self.values).size:
            return (np.flatnonzero(np.diff(np.searchsorted(sought, self.values, side="right"))) + 1).astype(np.int64)
        return np.searchsorted(self.values, sought).astype(np.int64)


def _is_unknown(values: Numbers) -> Bools:
    return values == NAT if values.dtype == np.int64 else np.isnan(values)


@dataclass(frozen=True)
class Line:
    """A line through n points, broken where nothing is known.

    Attributes
    ----------
    x, y
        The points; `x` rises from break to break.
    breaks
        The positions i where the line breaks between i and i + 1. It breaks at an unknown `y` too.
    """

    x: Places
    y: Places
    breaks: Ints

    def shown(self, ax: Axes) -> tuple[Floats, Floats]:
        """Return the points to draw on the Axes as its limits are now, a NaN at each break."""
        rows, cuts = _shown(ax, self.x, (self.y,), self.breaks)
        # A step is drawn from where the point before it lies, also where that is unknown.
        return np.insert(self.x[rows], cuts, self.x[rows[cuts] - 1]), np.insert(self.y[rows], cuts, np.nan)

    def heights(self, edges: Floats) -> Floats:
        """Return how high the line runs in each column between two edges, NaN where nothing of it is drawn.

        That is its last point in the column; where there is none, it is read off the straight line in the middle. Of
        stretches over one another, as after a fall on an axis of shares, the latest counts.
        """
        found = np.full(edges.size - 1, np.nan)
        falls = [] if self.x.values.dtype == np.int64 else (fall_starts(self.x.values) + 1).tolist()
        for first, end in itertools.pairwise([0, *falls, len(self.x)]):
            x, y = (replace(each, values=each.values[first:end]) for each in (self.x, self.y))
            later = _rising_heights(Line(x, y, self.breaks - first), edges)
            found = np.where(np.isnan(later), found, later)
        return found


def _rising_heights(line: Line, edges: Floats) -> Floats:
    unknown = line.y.unknown()
    rows = np.delete(np.arange(len(line.x)), unknown)
    if not rows.size:
        return np.full(edges.size - 1, np.nan)
    x, y = line.x[rows], line.y[rows]
    after = np.searchsorted(x, edges[1:])  # the first point beyond the column
    is_cut = np.isin(np.arange(rows.size + 1), _cuts(rows, line.breaks, unknown))[after]
    across = np.interp((edges[:-1] + edges[1:]) / 2, x, y, left=np.nan, right=np.nan)
    is_inside = (after > 0) & (x[after - 1] >= edges[:-1])
    heights: Floats = np.where(is_inside, y[after - 1], np.where(is_cut, np.nan, across))
    return heights


def gap_starts(times: Numbers) -> Ints:
    """Return the positions i where no sample came for so long that i to i + 1 is a gap.

    Examples
    --------
    >>> gap_starts(np.array([0.0, 1.0, 2.0, 9.0, 10.0])).tolist()
    [2]
    """
    if times.size > _MANY and (gaps := _clear_gaps(times)) is not None:
        return gaps
    steps = np.diff(times)
    moved = steps[steps > 0]
    return np.flatnonzero(steps > GAP_STEPS * median(moved)).astype(np.int64) if moved.size else _NO_BREAKS


def _clear_gaps(times: Numbers) -> Ints | None:
    """The gaps of many times, where they are the same for any median step that there may be; else None."""
    stride = times.size // _SOME
    some = times[1::stride] - times[:-1:stride]
    if not (some > 0).any():
        return None
    low, high = _bracket(some[some > 0])
    moved = below = above = 0
    found, lengths = [], []
    for start in range(0, times.size - 1, _BLOCK):
        steps = np.diff(times[start : start + _BLOCK + 1])
        still = 0 if steps.min() > 0 else int(np.count_nonzero(steps <= 0))
        moved += steps.size - still
        below += int(np.count_nonzero(steps < low)) - still
        above += int(np.count_nonzero(steps > high))
        longer = np.flatnonzero(steps > GAP_STEPS * low)
        found.append(start + longer)
        lengths.append(steps[longer])
    is_between = max(below, above) < moved // 2
    return np.concatenate(found) if is_between and (np.concatenate(lengths) > GAP_STEPS * high).all() else None


def _bracket(some: npt.NDArray[Any]) -> tuple[float, float]:
    """Two values with the median between them, to judge from some of the values."""
    low, high = np.quantile(some, [0.46, 0.54])
    return float(low), float(high)


_MANY, _SOME = 100_000, 10_000
_BLOCK = 65_536  # stays in the processor's cache


def fall_starts(counter: Numbers) -> Ints:
    """Return the positions i where the counter falls from i to i + 1.

    Examples
    --------
    >>> fall_starts(np.array([0.0, 5.0, 1.0, 1.0])).tolist()
    [1]
    """
    return np.flatnonzero(counter[1:] < counter[:-1]).astype(np.int64)


def median(values: Numbers) -> float:
    """Return the median of the known values, of which there is one. Of many, only those near it are sorted.

    Examples
    --------
    >>> median(np.array([4.0, 1.0, np.nan, 2.0, 3.0]))
    2.5
    """
    some = values[:: max(values.size // _SOME, 1)]
    some = some[~_is_unknown(some)]
    size = below = 0
    near: list[Numbers] = []
    if values.size > _MANY and some.size:
        low, high = _bracket(some)
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            size += block.size - int(np.count_nonzero(_is_unknown(block)))
            below += int(np.count_nonzero(block < low))
            near.append(block[(block >= low) & (block <= high)])
    chosen = np.concatenate(near) if near else values
    if not 0 < size // 2 - below < chosen.size:  # few values, or the sample was misleading: all are sorted
        chosen, below = values[~_is_unknown(values)], 0
        size = chosen.size
    middle = size // 2 - below
    ends = np.partition(chosen, [middle] if size % 2 else [middle - 1, middle])
    return float(ends[middle] if size % 2 else (ends[middle - 1] + ends[middle]) / 2)


def last_known(values: Numbers) -> int:
    """Return the position of the last known value, -1 where there is none; mostly it is near the end.

    Examples
    --------
    >>> last_known(np.array([1.0, 2.0, np.nan])), last_known(np.array([np.nan]))
    (1, -1)
    """
    size = 1
    while True:
        tail = values[-size:] if values.size else values
        known = np.flatnonzero(~_is_unknown(tail))
        if known.size or size >= values.size:
            return values.size - tail.size + int(known[-1]) if known.size else -1
        size *= 1000


def about(values: Numbers) -> Numbers:
    """Return some 100,000 values spread over all of them: enough for a quantile that only sets a limit."""
    return values[:: max(values.size // 100_000, 1)]


def thinned(
    x: Places, ys: tuple[Places, ...], breaks: Ints, unknown: Ints, *, low: float, high: float, columns: int
) -> Ints:
    """Return the positions of the points that draw the same picture as all of them.

    Parameters
    ----------
    x
        Positions that rise from break to break.
    ys
        One line; or the lower and the upper edge of a band, of which only the outermost points are seen.
    breaks
        The positions i where the line breaks between i and i + 1.
    unknown
        The positions where one of `ys` is unknown.
    low, high
        The limits of the drawn axis.
    columns
        Pixel columns between the limits.

    Returns
    -------
    array
        Rising positions: of each unbroken run in each pixel column the first, lowest, highest and last point; of a band
        the last where the run ends. Unknown points are left out.

    Notes
    -----
    M4: U. Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014, section 4.
    """
    size = len(x)
    edges = x.firsts(np.linspace(low, high, columns + 1))
    # A run begins at an edge of a column, after a break, at an unknown point and after it.
    cuts = [np.array([0]), edges, breaks + 1, unknown, unknown + 1]
    starts = np.unique(np.concatenate(cuts))
    starts = starts[starts < size]
    ends = np.append(starts[1:], size)
    is_long = ends - starts > 4
    # The next column begins where a band's edge goes on, so its last point is only seen where the run ends.
    is_last = np.isin(ends, [size, *(breaks + 1), *unknown]) if len(ys) > 1 else np.ones(ends.size, dtype=bool)
    kept = [starts, (ends - 1)[is_last | ~is_long]]
    kept += [starts[~is_long & (starts + more < ends)] + more for more in (1, 2)]
    runs = list(zip(starts[is_long].tolist(), ends[is_long].tolist(), strict=True))
    lower, upper = ys[0].values, ys[-1].values
    kept.append(np.array([start + lower[start:end].argmin() for start, end in runs], dtype=np.int64))
    kept.append(np.array([start + upper[start:end].argmax() for start, end in runs], dtype=np.int64))
    return np.setdiff1d(np.concatenate(kept), unknown).astype(np.int64)


def _shown(ax: Axes, x: Places, ys: tuple[Places, ...], breaks: Ints) -> tuple[Ints, Ints]:
    """Positions to draw on the Axes as its limits are now, and before which of them the line breaks."""
    unknown = np.unique(np.concatenate([y.unknown() for y in ys]))
    if len(x) > THIN_ABOVE:
        low, high = ax.get_xlim()
        # Twice the screen's columns, so that a line at 200 dpi is still exact; the pale edge of a band need not be.
        columns = int(np.ceil(ax.get_window_extent().width * (2 if len(ys) == 1 else 1)))
        rows = thinned(x, ys, breaks, unknown, low=low, high=high, columns=columns)
    else:
        rows = np.setdiff1d(np.arange(len(x)), unknown)
    return rows, _cuts(rows, breaks, unknown)


def _cuts(rows: Ints, breaks: Ints, unknown: Ints) -> Ints:
    """Before which of the rows the line breaks: at a break, and where an unknown point lies before."""
    cuts = np.flatnonzero(np.diff(np.searchsorted(np.union1d(breaks, unknown), rows), prepend=0))
    return cuts.astype(np.int64)


def draw_line(ax: Axes, line: Line, **style: Any) -> Line2D:
    """Draw a line, thinned to what is visible. The limits of the x axis must be set before."""
    return plot_line(ax, *line.shown(ax), **style)


def plot_line(ax: Axes, x: Floats, y: Floats, **style: Any) -> Line2D:
    """Draw these very points; a lone one between two breaks becomes a dot. `style` goes to `Axes.plot`."""
    (drawn,) = ax.plot(x, y, solid_capstyle="round", **style)
    finite = np.isfinite(y)
    lone = finite & ~np.append(finite[1:], False) & ~np.append(False, finite[:-1])
    if lone.any():
        look: dict[str, Any] = {
            "markersize": 2.2 * drawn.get_linewidth(),
            "color": drawn.get_color(),
            "zorder": drawn.zorder,
        }
        ax.plot(x[lone], y[lone], linestyle="none", marker="o", **look)
    return drawn


def draw_band(ax: Axes, lower: Line, upper: Line, **style: Any) -> PolyCollection:
    """Fill between two lines of the same points, thinned to what is visible. `style` goes to `Axes.fill_between`."""
    rows, cuts = _shown(ax, lower.x, (lower.y, upper.y), lower.breaks)
    x = np.insert(lower.x[rows], cuts, lower.x[rows[cuts] - 1])
    low, high = (np.insert(each.y[rows], cuts, np.nan) for each in (lower, upper))
    return ax.fill_between(x, low, high, linewidth=0, **style)

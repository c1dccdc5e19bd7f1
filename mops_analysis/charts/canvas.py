"""The sheet that a chart is drawn on: its Axes, words, frames, panels, and what it says to those who cannot see it."""

from __future__ import annotations

import base64
import datetime as dt
import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mops_analysis.charts import clock
from mops_analysis.charts.lines import Floats
from mops_analysis.charts.palette import DASHES, MARKERS, Theme
from mops_analysis.charts.tracks import Track, elided

#: Up to so many jobs share one Axes, told apart by colour, dash and marker.
OVERLAY_MOST = 6
#: Up to so many get a panel each; of more, how they lie is drawn, and a few by name.
PANELS_MOST = 24

_WIDTH, _HEIGHT = 9.2, 4.5  # inches
# Margins in inches: room for words, so that nothing need be measured.
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 1.65, 0.95, 0.62
_NAMES = 1.85  # left margin [inches] where each row has a name
_DPI = 100
_TEXT, _TITLE = 8.5, 12
_ROW = 5.5  # points: of less, nobody reads the name


class ChartAxes(Axes):
    """Axes that a notebook shows as a picture with alt text when they are the last expression of a cell.

    A figure that pyplot knows is shown by pyplot; this one is known to nobody else, so nothing is drawn twice and
    nothing stays behind.

    Attributes
    ----------
    lead, trail
        How far the words above them may reach to the left and right of them [inches].
    headroom
        How high these words reach [inches], once there are any.
    head
        How high the title stands [points], the same for neighbours; None is as low as the words below it allow.
    """

    lead, trail, headroom = 0.0, _RIGHT - 0.1, 0.0
    head: float | None = None

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        figure = self.get_figure(root=True)
        assert figure is not None  # noqa: S101  removed Axes have no figure, and IPython falls back on the repr
        return _picture(figure, alt_text(self))


class ChartFigure(Figure):
    """A figure of several charts that a notebook shows in the same way."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return _picture(self, str(self.get_label()))


def _picture(figure: Figure, alt: str) -> dict[str, Any]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=1.6 * figure.dpi, facecolor=figure.get_facecolor())
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = round(figure.get_figwidth() * figure.dpi)
    image = f'<img alt="{html.escape(alt)}" width="{width}" src="data:image/png;base64,{picture}">'
    return {"text/plain": alt, "image/png": picture, "text/html": f"<figure>{image}</figure>"}


def alt_text(ax: Axes) -> str:
    """Say in words what a chart shows, for those who cannot see it.

    Parameters
    ----------
    ax
        What a `plot_*` function returned.

    Returns
    -------
    str
        One or two sentences made from the numbers drawn; empty for Axes that no `plot_*` function has drawn on.

    Examples
    --------
    >>> from mops_analysis import plot_progress, schema
    >>> alt_text(plot_progress(schema.to_frame([]), tz="UTC"))
    'Progress: no samples.'
    """
    return str(ax.get_label())


def new_axes(theme: Theme, *, width: float = _WIDTH, height: float = _HEIGHT, left: float = _LEFT) -> Axes:
    """Make a figure of its own of a size [inches], unknown to pyplot, with fixed margins."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    place = (left / width, _BOTTOM / height, 1 - (left + _RIGHT) / width, 1 - (_TOP + _BOTTOM) / height)
    return figure.add_axes(place, axes_class=ChartAxes)


def open_axes(ax: Axes | None, theme: Theme) -> Axes:
    """Return the Axes to draw on, dressed in the theme: the caller's, or new ones."""
    return _opened(new_axes(theme) if ax is None else ax, theme)


def open_rows(ax: Axes | None, rows: int, theme: Theme) -> Axes:
    """Return the Axes for a chart of one row per job: the caller's, or new ones with room for that many names."""
    height = min(max(0.22 * rows, 1.5), 12.0) + _TOP + _BOTTOM
    return _opened(new_axes(theme, height=height, left=_NAMES) if ax is None else ax, theme)


def _opened(ax: Axes, theme: Theme) -> Axes:
    ax.figure.set_facecolor(theme.paper)
    dress(ax, theme)
    return ax


def rows_that_fit(ax: Axes) -> int:
    """How many rows of the Axes can be named in letters that can be read."""
    return int(ax.get_window_extent().height * 72 / ax.figure.dpi / _ROW)


def name_rows(ax: Axes, names: Sequence[str]) -> float:
    """Name the rows 0, 1, … in letters that fit, and return their size [points]."""
    size = min(8.0, 0.85 * ax.get_window_extent().height * 72 / ax.figure.dpi / max(len(names), 1))
    ax.tick_params(axis="y", length=0, labelsize=size)
    ax.set_yticks(range(len(names)), [elided(name, 26) for name in names], parse_math=False)
    return size


def dress(ax: Axes, theme: Theme) -> None:
    """Give Axes the colours of the theme: two spines, horizontal grid lines below the data."""
    ax.set_facecolor(theme.paper)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    ax.tick_params(which="both", color=theme.faint, labelcolor=theme.muted, labelsize=8, length=3)
    ax.grid(visible=True, axis="y", color=theme.grid, linewidth=0.8)
    ax.grid(visible=False, axis="x")
    ax.set_axisbelow(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=theme.muted, fontsize=_TEXT)


def _columns(ax: Axes, fontsize: float) -> int:
    """How many characters fit over the Axes; over our own, over their right margin too."""
    margin = ax.lead + ax.trail if isinstance(ax, ChartAxes) else 0.0
    inches = ax.get_window_extent().width / ax.figure.dpi + margin
    return max(20, int(inches * 72 / (0.54 * fontsize)))


def write_title(
    ax: Axes, question: str, method: str, theme: Theme, *, above: float = 0.0, record: str | None = None
) -> None:
    """Write the question as title, the method and a forecast's record below it, `above` points clear of the Axes."""
    lead = 72 * ax.lead if isinstance(ax, ChartAxes) else 0.0
    columns = _columns(ax, _TEXT)
    lines = [*textwrap.wrap(method, columns), *textwrap.wrap(record or "", columns)] or [""]
    pad = above + 10 + len(lines) * _TEXT * 1.35
    below: dict[str, Any] = {"xytext": (-lead, above + 6), "va": "bottom"}
    head = ax.head if isinstance(ax, ChartAxes) else None
    if head is not None and head >= pad:
        pad, below = head, {"xytext": (-lead, head - 4), "va": "top"}
    ax.annotate(
        "\n".join(lines),
        (0, 1),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=_TEXT,
        color=theme.muted,
        linespacing=1.3,
        annotation_clip=False,
        parse_math=False,
        **below,
    )
    # With its height given, matplotlib need not lay out all ticks to find it.
    look: dict[str, Any] = {"fontsize": _TITLE, "fontweight": "bold", "color": theme.ink}
    title = ax.set_title(question, loc="left", y=1.0, pad=pad, **look)
    if isinstance(ax, ChartAxes):
        ax.headroom = (pad + _TITLE) / 72
    title.set_x(-lead / 72 * ax.figure.dpi / ax.get_window_extent().width)


def note(ax: Axes, text: str, theme: Theme, **place: Any) -> None:
    """Write small text on paper of its own, so that lines below it do not make it illegible."""
    style: dict[str, Any] = {"fontsize": 8, "color": theme.ink, "linespacing": 1.25, "zorder": 6} | place
    box = {"boxstyle": "square,pad=0.15", "facecolor": theme.paper, "edgecolor": "none", "alpha": 0.8}
    ax.annotate(text, bbox=box, parse_math=False, **style)


def close_empty(ax: Axes, question: str, subject: str, theme: Theme, reason: str = "no samples") -> Axes:
    """Say that there is nothing to draw."""
    write_nothing(ax, reason, theme)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(ax.get_xlabel() or "clock time")
    write_title(ax, question, "nothing to show yet", theme)
    ax.set_label(f"{subject}: {reason}.")
    return ax


def write_nothing(ax: Axes, text: str, theme: Theme) -> None:
    """Say in the middle of the Axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=theme.muted, fontsize=10)


def count_text(value: float, _: int | None = None) -> str:
    """Say a count on an axis: 800, 12k, 1.5M.

    Examples
    --------
    >>> count_text(800), count_text(12_000), count_text(1_500_000)
    ('800', '12k', '1.5M')
    """
    for least, size, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def number_text(value: float) -> str:
    """Say a number with three digits that count, or all of a whole number.

    Examples
    --------
    >>> number_text(15.27), number_text(0.01234), number_text(48000)
    ('15.3', '0.0123', '48,000')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def count_axis(ax: Axes) -> None:
    """Tick the y axis in whole items."""
    ax.yaxis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(count_text))


@dataclass(frozen=True)
class Stroke:
    """How the line of one job looks."""

    color: str
    linestyle: str | tuple[float, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """The properties of its line."""
        return {"color": self.color, "linestyle": self.linestyle}


def strokes(count: int, theme: Theme) -> list[Stroke]:
    """Return how the lines of 1 to 6 jobs look."""
    if count == 1:
        return [Stroke(theme.main, DASHES[0], MARKERS[0])]
    return [Stroke(*look) for look in zip(theme.series[:count], DASHES, MARKERS, strict=False)]


def set_time_limits(ax: Axes, tracks: Sequence[Track], *, until: float = -np.inf) -> None:
    """Set the x limits to all samples, and to `until` where that is later; a single moment gets a little room."""
    lows, highs = zip(*(track.x.ends() for track in tracks), strict=True)
    low, high = min(lows), max(until, *highs)
    if low == high:
        low, high = low - 0.5 / 1440, high + 0.5 / 1440
    ax.set_xlim(low, high + 0.005 * (high - low))


def dress_time(ax: Axes, tracks: Sequence[Track], zone: dt.tzinfo, unit: str | None, theme: Theme) -> float:
    """Tick and label the x axis: a clock in the zone, or elapsed time or the share done in the unit.

    Returns
    -------
    float
        The height that the words above the Axes take [points].
    """
    if unit is not None:
        clock.draw_elapsed_axis(ax.xaxis)
        ax.set_xlabel("share done [%]" if unit == "%" else f"elapsed since the job's first sample [{unit}]")
        return 0.0
    clock.draw_clock_axis(ax.xaxis, zone)
    ax.set_xlabel(clock.clock_label(zone, min(float(track.x[0]) for track in tracks), ax.get_xlim()[1]))
    if not OVERLAY_MOST < len(tracks) <= PANELS_MOST:
        clock.draw_midnights(ax, zone, theme)
    if len(tracks) > 1:
        return 0.0
    clock.draw_elapsed_top(ax, float(tracks[0].x[0]), theme)
    return 16.0


def hatch_gaps(ax: Axes, track: Track, theme: Theme, *, line: Line2D | None = None) -> None:
    """Hatch the gaps of a job that are as wide as a pixel, each with its length where there is room.

    The words go where the drawn `line` is not. Without it, no words.
    """
    low, high = ax.get_xlim()
    extent = ax.get_window_extent()
    ends = np.array([track.x[track.gaps], track.x[track.gaps + 1]])
    seen = (ends[1] - ends[0]) / (high - low) * extent.width >= 1
    for start, left, right in zip(track.gaps[seen], *ends[:, seen], strict=True):
        hatch(ax, left, right, theme)
        if line is None or (right - left) / (high - low) * extent.width * 72 / ax.figure.dpi < 36:
            continue
        bottom = _is_high(ax, line, left - 0.05 * (high - low), right + 0.05 * (high - low))
        place = {"xy": ((left + right) / 2, 0.05 if bottom else 0.86), "xycoords": ("data", "axes fraction")}
        text = f"no samples\n{clock.duration_text(track.span_s(int(start)))}"
        note(ax, text, theme, color=theme.muted, ha="center", va="bottom" if bottom else "top", **place)


def hatch(ax: Axes, left: float, right: float, theme: Theme) -> None:
    """Hatch a time without samples."""
    hatched = Rectangle((left, 0), right - left, 1, transform=ax.get_xaxis_transform(), facecolor="none")
    hatched.set(edgecolor=theme.hatch, hatch="////", linewidth=0, zorder=0.6, label="no samples")
    ax.add_patch(hatched)


def _is_high(ax: Axes, line: Line2D, left: float, right: float) -> bool:
    """Whether a line runs in the upper half of the Axes from `left` to `right`; so it is taken where it is not seen."""
    x, y = (np.asarray(each, dtype=np.float64) for each in line.get_data())
    near = y[(x >= left) & (x <= right) & np.isfinite(y)]
    return not near.size or float(near.mean()) > sum(ax.get_ylim()) / 2


@dataclass(frozen=True)
class EndLabel:
    """Words at the right end of a line."""

    y: float
    text: str
    stroke: Stroke | None = None


def write_end_labels(ax: Axes, labels: Sequence[EndLabel], theme: Theme) -> None:
    """Write labels right of the Axes at the height of their lines, moved apart where they would touch."""
    low, high = ax.get_ylim()
    across, points = (size * 72 / ax.figure.dpi for size in ax.get_window_extent().size)
    wanted = np.array([np.clip((label.y - low) / (high - low), 0, 1) * points for label in labels])
    heights = np.array([(label.text.count("\n") + 1) * 8 * 1.3 + 2 for label in labels])
    for label, height, y in zip(labels, spread(wanted, heights, points), wanted, strict=True):
        at = (1, height / points)
        if label.stroke is not None:
            sample = Line2D(
                [1 + 2 / across, 1 + 15 / across],
                [height / points] * 2,
                transform=ax.transAxes,
                clip_on=False,
                linewidth=2,
                marker=label.stroke.marker,
                markevery=[1],
                markersize=4.5,
                **label.stroke.line,
            )
            ax.add_artist(sample)
        elif abs(height - y) > 6:
            ax.annotate(
                "",
                (1, y / points),
                xycoords="axes fraction",
                xytext=(1.012, height / points),
                textcoords="axes fraction",
                arrowprops={"arrowstyle": "-", "color": theme.faint, "linewidth": 0.8},
                annotation_clip=False,
            )
        ax.annotate(
            label.text,
            at,
            xycoords="axes fraction",
            xytext=(1 + (20 if label.stroke is not None else 6) / across, height / points),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            linespacing=1.25,
            color=theme.ink,
            annotation_clip=False,
            parse_math=False,
        )


def spread(wanted: Floats, heights: Floats, room: float) -> Floats:
    """Move labels as little as needed so that none touches another.

    Parameters
    ----------
    wanted
        The middle of each label, from 0 to `room`.
    heights
        The height of each.

    Returns
    -------
    array
        The new middles in the order of `wanted`.

    Examples
    --------
    >>> spread(np.array([50.0, 52.0]), np.array([10.0, 10.0]), 100.0).tolist()
    [46.0, 56.0]
    """
    order = np.argsort(wanted, kind="stable")
    blocks: list[tuple[float, float, list[int]]] = []  # middle, height, members from low to high
    for member in order:
        middle, height, members = float(wanted[member]), float(heights[member]), [int(member)]
        middle = max(min(middle, room - height / 2), height / 2)
        while blocks and blocks[-1][0] + blocks[-1][1] / 2 > middle - height / 2:
            below, extent, before = blocks.pop()
            middle = (below * len(before) + middle * len(members)) / (len(before) + len(members))
            height, members = extent + height, before + members
            middle = max(min(middle, room - height / 2), height / 2)
        blocks.append((middle, height, members))
    moved = np.empty_like(wanted)
    for middle, height, members in blocks:
        top = middle - height / 2
        for member in members:
            moved[member] = top + heights[member] / 2
            top += heights[member]
    return moved


def span_text(tracks: Sequence[Track], zone: dt.tzinfo) -> str:
    """Say from when to when, in the zone."""
    low, high = min(float(t.days[0]) for t in tracks), max(float(t.days[-1]) for t in tracks)
    clocks = clock.span_text(low, high, zone)
    return f"{clock.date_text(low, high, zone)}, {clocks} {clock.zone_text(zone, low, high)}"


def gaps_text(tracks: Sequence[Track], zone: dt.tzinfo) -> str:
    """Say when no samples came; for several jobs, in how many of them."""
    if len(tracks) > 1:
        count = sum(track.gaps.size > 0 for track in tracks)
        return f" {count} of {len(tracks)} jobs have gaps without samples." if count else ""
    (track,) = tracks
    spans = [
        f"{clock.clock_text(track.days[start], zone)} to {clock.clock_text(track.days[start + 1], zone)}"
        for start in track.gaps[:3]
    ]
    more = f" and {track.gaps.size - 3} more times" if track.gaps.size > 3 else ""
    return f" No samples {', '.join(spans)}{more}." if spans else ""


def words(subject: str, tracks: Sequence[Track], zone: dt.tzinfo, parts: Sequence[str], *, crowd: str = "") -> str:
    """Put the alt text together: subject, span, how a crowd lies, what each of the first or named jobs does, gaps."""
    more = [f"and {len(tracks) - len(parts):,} more jobs"] if len(tracks) > len(parts) else []
    said = [*([crowd] if crowd else []), *parts, *more]
    return f"{subject}, {span_text(tracks, zone)}: {'; '.join(said)}.{gaps_text(tracks, zone)}"

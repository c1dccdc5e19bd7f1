"""Charts as HTML: a PNG inside `<figure><img alt>`, of fixed size, so that a newer one replaces it without a jump.

An `<img>` with its alternative text is the one form that a live widget, a saved notebook and a screen reader all keep.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from mops_analysis.charts import alt_text, canvas
from mops_analysis.charts.palette import theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

    from mops_analysis.dashboard.panels import Chart

# Device pixels per CSS pixel: sharp enough on dense screens, at half the bytes of 2.
_SCALE = 1.5

_COLUMNS = 2
# Margins [inches]: left and right of a chart, and of one with a row for each job; above and below; of the words.
_VALUES, _LABELS = 0.72, 1.65
_NAMES, _BESIDE = 1.85, 0.95
_ABOVE, _BELOW, _EDGE = 0.9, 0.52, 0.12


@dataclass(frozen=True)
class Picture:
    """A drawn chart.

    Attributes
    ----------
    png
        Its bytes.
    alt
        It in words.
    width, height
        Its size [CSS pixels].
    """

    png: bytes
    alt: str
    width: int
    height: int

    def to_html(self) -> str:
        """Return it as a `<figure>` that keeps its place while the image is decoded."""
        data = base64.b64encode(self.png).decode("ascii")
        return (
            f'<figure style="margin:0;width:{self.width}px;height:{self.height}px">'
            f'<img alt="{html.escape(self.alt)}" width="{self.width}" height="{self.height}" '
            f'style="max-width:none" src="data:image/png;base64,{data}"></figure>'
        )


def picture(
    draw: Callable[[Axes], object], *, width: int, height: int, theme: str = "light", has_rows: bool = False
) -> Picture:
    """Return what a function draws on Axes of a figure of this size [CSS pixels].

    `has_rows` leaves room for the names of jobs left of the Axes.
    """
    figure = canvas.ChartFigure(figsize=(width / 100, height / 100), dpi=100, facecolor=theme_named(theme).paper)
    FigureCanvasAgg(figure)
    ax = _add_axes(figure, width=width / 100, height=height / 100, has_rows=has_rows)
    draw(ax)
    _grow(ax, height=height / 100)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_SCALE * figure.dpi, facecolor=figure.get_facecolor())
    return Picture(buffer.getvalue(), alt_text(ax), width, height)


def sheet(charts: Sequence[Chart], *, title: str, width: int, height: int, theme: str = "light") -> Figure:
    """Return one figure of several charts of this size [CSS pixels] each, two in a row, to be saved as a file."""
    colours, rows = theme_named(theme), -(-len(charts) // _COLUMNS)
    size = (_COLUMNS * width / 100, rows * height / 100)
    figure = canvas.ChartFigure(figsize=size, dpi=100, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    parts = figure.subfigures(rows, _COLUMNS, squeeze=False, wspace=0, hspace=0).flat
    words = []
    for part, chart in zip(parts, charts, strict=False):
        ax = _add_axes(part, width=width / 100, height=height / 100, has_rows=chart.has_rows)
        chart.draw(ax)
        _grow(ax, height=height / 100)
        words.append(alt_text(ax))
    figure.set_label(f"{title}: {' '.join(words)}")
    return figure


def _add_axes(figure: FigureBase, *, width: float, height: float, has_rows: bool) -> canvas.ChartAxes:
    """Add Axes to a figure of this size [inches]; the words above them begin at its edge."""
    left, right = (_NAMES, _BESIDE) if has_rows else (_VALUES, _LABELS)
    place = Bbox.from_extents(left / width, _BELOW / height, 1 - right / width, 1 - _ABOVE / height)
    ax = cast("canvas.ChartAxes", figure.add_axes(place.bounds, axes_class=canvas.ChartAxes))
    ax.lead, ax.trail = left - _EDGE, right - _EDGE
    return ax


def _grow(ax: canvas.ChartAxes, *, height: float) -> None:
    """Let Axes have the room above them that their words leave."""
    x0, y0, x1, _ = ax.get_position().extents
    ax.set_position(Bbox.from_extents(x0, y0, x1, 1 - (ax.headroom + _EDGE) / height))

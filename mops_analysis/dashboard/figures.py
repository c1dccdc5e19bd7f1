"""Charts as HTML: a PNG inside `<figure><img alt>`, of fixed size, so that a newer one replaces it without a jump.

An `<img>` with its alternative text is the one form that a live widget, a saved notebook and a screen reader all keep.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
_NAMES, _BESIDE = 1.75, 0.95  # left and right margin [inches] of a chart with a row for each job


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
        words.append(alt_text(ax))
    figure.set_label(f"{title}: {' '.join(words)}")
    return figure


def _add_axes(figure: FigureBase, *, width: float, height: float, has_rows: bool) -> Axes:
    """Add Axes to a figure of this size [inches], with the margins of a chart."""
    place = canvas.new_axes(theme_named("light"), width=width, height=height).get_position()
    if not has_rows:
        return figure.add_axes(place.bounds, axes_class=canvas.ChartAxes)
    return figure.add_axes(Bbox.from_extents(_NAMES / width, place.y0, 1 - _BESIDE / width, place.y1).bounds)

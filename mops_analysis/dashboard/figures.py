"""Charts as HTML: a PNG inside `<figure><img alt>`, of fixed size, so that a newer one replaces it without a jump.

An `<img>` with its alternative text is the one form that a live widget, a saved notebook and a screen reader all keep.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes

from mops_analysis.charts import alt_text, canvas
from mops_analysis.charts.palette import theme_named

# Device pixels per CSS pixel: sharp enough on dense screens, at half the bytes of 2.
_SCALE = 1.5


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


def picture(draw: Callable[[Axes], object], *, width: int, height: int, theme: str = "light") -> Picture:
    """Return what a function draws on Axes of a figure of this size [CSS pixels]."""
    ax = canvas.new_axes(theme_named(theme), width=width / 100, height=height / 100)
    draw(ax)
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101  new Axes have one
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_SCALE * figure.dpi, facecolor=figure.get_facecolor())
    return Picture(buffer.getvalue(), alt_text(ax), width, height)

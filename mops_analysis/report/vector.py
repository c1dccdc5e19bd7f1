"""Figures as SVG to put into a page: small, without scripts or addresses, and with their alt text."""

from __future__ import annotations

import html
import io
import re

import matplotlib as mpl
from matplotlib.axes import Axes

from mops_analysis.charts import alt_text


def svg_of(ax: Axes) -> str:
    """Return the figure of a chart as an `<svg>` element for an HTML page.

    It has the role and the words of a picture, and no address of any kind: a browser fetches nothing for it.
    """
    buffer = io.StringIO()
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101  a chart has one
    # Text stays text: half the bytes of outlines, and it can be searched. The salt makes the same figure the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mops_analysis"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor=figure.get_facecolor())
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    # Every text repeats matplotlib's list of a dozen fonts; Verdana has the same widths as DejaVu Sans.
    svg = re.sub(r"'DejaVu Sans', [^;\"]*?sans-serif", "'DejaVu Sans', Verdana, sans-serif", svg)
    # A tenth of a point is finer than a screen shows.
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path.group()), svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt_text(ax))}" ', 1)

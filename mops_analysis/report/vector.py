"""Figures as SVG to put into a page: small, without scripts or addresses, and with their alt text."""

from __future__ import annotations

import html
import io
import re

import matplotlib as mpl
from matplotlib.axes import Axes

from mops_analysis.charts import alt_text

#: Verdana has the same widths as matplotlib's own DejaVu Sans.
_FONTS = "'DejaVu Sans', Verdana, sans-serif"


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
    words = f'role="img" aria-label="{html.escape(alt_text(ax))}" style="font-family: {_FONTS}"'
    return _shortened(svg).replace("<svg ", f"<svg {words} ", 1)


def _shortened(svg: str) -> str:
    """The same picture in less than half the bytes. Only tags are changed: a text has no "<" in it."""
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # Every text repeats matplotlib's list of a dozen fonts, and that it is not turned.
    svg = re.sub(r"(<text [^>]*?)font-family: [^;\">]*sans-serif(; )?", r"\1", svg)
    svg = re.sub(r"(<text [^>]*?'DejaVu Sans', )[^;\">]*?sans-serif", rf"\1{_FONTS.partition(', ')[2]}", svg)
    svg = re.sub(r'(<text [^>]*?) transform="rotate\(-0 [^"]*"', r"\1", svg)
    svg = re.sub(r'(<[^>]* style=")([^"]*)', lambda tag: tag[1] + tag[2].replace("; ", ";").replace(": ", ":"), svg)
    svg = re.sub(r"<(?:use|text) [^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r'(<path [^>]*?\bd=")([^"]*)', lambda path: path[1] + _steps(path[2]), svg)


def _steps(path: str) -> str:
    """A path as steps from point to point, in tenths of a point: finer than a screen shows."""
    steps, at, start = "", [0, 0], [0, 0]
    for command, numbers in re.findall(r"([MLQCz])([^MLQCz]*)", path):
        tenths = [round(10 * float(number)) for number in numbers.split()]
        moves = [value - at[i % 2] for i, value in enumerate(tenths)]
        at = tenths[-2:] or start
        start = at if command == "M" else start
        steps += command.lower() + " ".join(f"{move / 10:g}" for move in moves)
    return re.sub(r"(?<!\d)0\.", ".", steps).replace(" -", "-")

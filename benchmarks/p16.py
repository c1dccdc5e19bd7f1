"""P16: vector files that do not grow with the samples; figures that cost what plain ones cost and leave nothing.

Bytes of each chart as SVG, of a million samples against ten thousand. CPU of a chart of 2,000 samples against the same
line on matplotlib's own `Figure`, both up to the PNG. Then 200 charts in one process: what pyplot still knows of them,
and how much more memory the process holds than after the first 20.
"""

from __future__ import annotations

import gc
import io
import sys

import pandas as pd
import psutil
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.p15 import charts, job, png


def svg_bytes(ax: Axes) -> int:
    """Size of a chart as SVG."""
    buffer = io.BytesIO()
    sheet = ax.get_figure(root=True)
    assert sheet is not None
    sheet.savefig(buffer, format="svg")
    return len(buffer.getvalue())


def plain(x: object, y: object, band: object) -> bytes:
    """A line with its band, as matplotlib alone draws it: with a title, labels and a clock."""
    sheet = Sheet(figsize=(9.2, 4.5), dpi=100)
    FigureCanvasAgg(sheet)
    ax = sheet.add_axes((0.09, 0.14, 0.73, 0.65))
    ax.fill_between(x, *band, alpha=0.16)
    ax.plot(x, y)
    ax.set_title("When done?")
    ax.set_xlabel("clock time")
    ax.set_ylabel("predicted finish")
    ax.xaxis_date()
    ax.yaxis_date()
    return png(ax)


def measure(*, small: bool) -> list[Figure]:
    few, many, rounds, pictures = (1_000, 3_000, 1, 6) if small else (10_000, 1_000_000, 15, 200)
    bytes_of = {rows: {name: svg_bytes(draw()) for name, draw in charts(rows).items()} for rows in (few, many)}
    figures = [
        Figure("P16", f"SVG of {name}, {many:,} / {few:,} samples", bytes_of[many][name] / size, at_most=1.3)
        for name, size in bytes_of[few].items()
    ]

    samples = job(2_000)
    at = samples["sampled_at"]
    eta = samples[["job_id", "sampled_at"]].assign(
        eta=at + pd.Timedelta("1h"), eta_low=at + pd.Timedelta("40min"), eta_high=at + pd.Timedelta("2h")
    )
    x, y, *band = (eta[name].dt.tz_localize(None) for name in ("sampled_at", "eta", "eta_low", "eta_high"))
    ways = {"ours": lambda: png(mops.plot_eta(eta, tz="UTC")), "plain": lambda: plain(x, y, band)}
    for way in ways.values():
        way()
    costs = in_turns(ways, rounds)
    figures.append(
        Figure("P16", "CPU of a chart / of the same on a plain Figure", ratio(costs, "ours", "plain"), at_most=1.2)
    )

    process, held = psutil.Process(), 0
    for number in range(pictures):
        png(mops.plot_eta(eta, tz="UTC"))
        if number == pictures // 10 - 1 or number == pictures - 1:
            gc.collect()
            held = process.memory_info().rss - (held if number == pictures - 1 else 0)
    known = len(sys.modules["matplotlib.pyplot"].get_fignums()) if "matplotlib.pyplot" in sys.modules else 0
    figures.append(Figure("P16", f"figures that pyplot knows after {pictures} charts", known, at_most=0, unit=""))
    figures.append(
        Figure("P16", f"memory of {pictures} charts beyond that of the first tenth", held / 1e6, at_most=20, unit="MB")
    )
    return figures


if __name__ == "__main__":
    main(__doc__, measure)

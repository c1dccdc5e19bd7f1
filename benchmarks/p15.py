"""P15: charts of a million and ten million samples against the same chart of ten thousand, as PNG.

CPU from the frame that a metric returned to the bytes of the picture: progress, throughput, forecasts and failure rate
of one job that moves in batches, has gaps, and is sampled with a jitter. The picture is held against one of every
point, drawn by matplotlib alone: a dark pixel of one without a dark pixel of the other within a pixel counts as missed.
So does a spike, the last point or a gap that cannot be seen.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio

Mask = npt.NDArray[np.bool_]
STEP_NS = 3_000_000_000
SPIKE = 0.61  # where in the job it lies


def job(rows: int) -> pd.DataFrame:
    """Samples of one job: batches, two gaps of a hundredth of its time each, a jitter of a tenth of a second."""
    rng = np.random.default_rng(15)
    steps = np.full(rows, STEP_NS) + rng.integers(-100_000_000, 100_000_000, rows)
    steps[[rows // 4, rows // 2]] = STEP_NS * rows // 100
    work = rng.poisson(3.0, rows) * (rng.random(rows) < 0.7)
    done, failed = work.cumsum(), (rng.random(rows) < 0.02).cumsum()
    total = int(done[-1]) + 1000
    return pd.DataFrame(
        {
            "job_id": pd.array(np.repeat("job-1", rows), dtype="string"),
            "sampled_at": pd.DatetimeIndex(steps.cumsum() + 1_790_000_000_000_000_000, tz="UTC"),
            "status": pd.array(np.repeat("in_progress", rows), dtype="string"),
            "progress_percentage": 100 * done / total,
            "processed_items": done,
            "total_items": total,
            "failed_items": np.minimum(failed, done),
            "latency_s": 0.1,
        }
    )


def charts(rows: int) -> dict[str, Callable[[], Axes]]:
    """Each chart of so many samples, drawn from what its metric returned."""
    samples = job(rows)
    rates = mops.throughput(samples, window=STEP_NS / 1e9 * 40, processed_includes_failed=True)
    failures = mops.failure_rate(samples, processed_includes_failed=True)
    at = samples["sampled_at"]
    ends = {"eta": at + pd.Timedelta("1h"), "eta_low": at + pd.Timedelta("40min"), "eta_high": at + pd.Timedelta("2h")}
    eta = samples[["job_id", "sampled_at"]].assign(**ends)
    return {
        "progress": lambda: mops.plot_progress(samples, tz="UTC"),
        "throughput": lambda: mops.plot_throughput(rates, tz="UTC"),
        "eta": lambda: mops.plot_eta(eta, tz="UTC"),
        "failure rate": lambda: mops.plot_failure_rate(failures, tz="UTC"),
    }


def png(ax: Axes) -> bytes:
    """The picture of a chart."""
    buffer = io.BytesIO()
    sheet = ax.get_figure(root=True)
    assert sheet is not None
    sheet.savefig(buffer, format="png")
    return buffer.getvalue()


def _alone(ax: Axes, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[Mask, Axes]:
    """Where a line, drawn alone in the limits of a chart, is dark."""
    chart = ax.get_figure(root=True)
    assert chart is not None
    sheet = Sheet(figsize=tuple(chart.get_size_inches()), dpi=100)
    canvas = FigureCanvasAgg(sheet)
    alone = sheet.add_axes(ax.get_position())
    alone.set_axis_off()
    alone.set_xlim(ax.get_xlim())
    alone.set_ylim(ax.get_ylim())
    alone.plot(x, y, color="black", linewidth=1)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] < 128, alone


def grown(mask: Mask) -> Mask:
    """The mask with a pixel more on every side."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)


def missed_pixels(rows: int) -> int:
    """Dark pixels without a partner in the picture of every point; a lost spike, gap or end counts as a thousand."""
    samples = job(rows)
    rates = mops.throughput(samples, window=STEP_NS / 1e9 * 40, processed_includes_failed=True)
    rates.loc[int(SPIKE * rows), "items_per_s"] = 2 * rates["items_per_s"].max()
    ax = mops.plot_throughput(rates, tz="UTC")
    line = next(line for line in ax.lines if isinstance(line, Line2D) and line.get_label() == "job-1")
    days = rates["sampled_at"].astype("int64").to_numpy() / 86_400e9
    values = rates["items_per_s"].to_numpy() * (np.nanmax(line.get_ydata()) / rates["items_per_s"].max())
    gaps = np.flatnonzero(np.diff(days) > 2.5 * np.median(np.diff(days)))
    full, alone = _alone(ax, np.insert(days, gaps + 1, days[gaps]), np.insert(values, gaps + 1, np.nan))
    thin, _ = _alone(ax, *(np.asarray(each, dtype=float) for each in line.get_data()))
    missed = int((thin & ~grown(full)).sum() + (full & ~grown(thin)).sum())
    for row in (int(SPIKE * rows), rows - 1):
        right, up = (int(place) for place in alone.transData.transform((days[row], values[row])))
        down = thin.shape[0] - up
        missed += 1000 * int(not thin[down - 2 : down + 2, right - 1 : right + 2].any())
    for gap in gaps:
        left, right = (int(alone.transData.transform((days[end], 0))[0]) for end in (gap, gap + 1))
        missed += 1000 * int(thin[:, left + 3 : right - 2].any())
    return missed


def measure(*, small: bool) -> list[Figure]:
    few, some, many = (1_000, 10_000, 20_000) if small else (10_000, 1_000_000, 10_000_000)
    figures = [Figure("P15", "dark pixels missed, of every point", missed_pixels(some), at_most=0, unit="")]
    if not small:
        figures.append(Figure("P15", "dark pixels missed, ten million points", missed_pixels(many), at_most=0, unit=""))
    small_ones = charts(few)
    for rows, bound in ((some, 1.6), (many, 3.0)):
        for name, draw in charts(rows).items():
            ways = {"many": lambda draw=draw: png(draw()), "few": lambda name=name: png(small_ones[name]())}
            ways["few"]()
            costs = in_turns(ways, 1 if small else 5)
            what = f"PNG of plot of {name}, {rows:,} / {few:,} samples"
            figures.append(Figure("P15", what, ratio(costs, "many", "few"), at_most=bound))
    return figures


if __name__ == "__main__":
    main(__doc__, measure)

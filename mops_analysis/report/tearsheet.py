"""The tear sheet: everything about one job on one page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import mops_analysis
from mops_analysis import charts, schema
from mops_analysis.charts import canvas, clock
from mops_analysis.charts.failures import percent_text
from mops_analysis.charts.palette import Theme, status_colour, status_mark, theme_named
from mops_analysis.charts.tracks import elided, names_of
from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import seconds
from mops_analysis.metrics.comparison import ENOUGH, baseline, comparable, usual_duration
from mops_analysis.metrics.failures import per_usual
from mops_analysis.report.measures import Measures, measure, windowed_failures

_HEAD, _FOOT = 2.1, 0.75  # inches for title and numbers, and for the method
_ROWS = (4.3, 4.0, 4.0)  # inches of each row of charts
_WIDTH = 14.3
_TITLE = 50.0  # points from a chart to its title


def tear_sheet(
    samples: pd.DataFrame,
    job_id: str,
    *,
    history: pd.DataFrame | None = None,
    window: float | str = "2min",
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Figure:
    """One page about one job: six numbers, five charts and three ranks, to save as PNG, SVG or PDF.

    Read from the top: is the job done and how long did it take; was it fast, was it steady; could its forecasts be
    trusted; how many items failed, and is that more than usual; how does it compare.

    Parameters
    ----------
    samples
        Frame as in `schema`, with the samples of the job.
    job_id
        The job.
    history
        Samples of the jobs to compare it with. By default the other jobs in `samples`.
    window
        Width of the throughput window, in seconds or as a pandas offset string.
    tz
        Zone to show, such as "Europe/Berlin". By default the viewer's own.
    theme
        "light" or "dark".

    Returns
    -------
    Figure
        Unknown to pyplot: `figure.savefig("sheet.pdf")` saves it, a notebook shows it as the last expression of a
        cell. Its first five `axes` are the charts; a sixth, where five jobs can be compared with, has the ranks.

    Raises
    ------
    SchemaError
        If a frame is no samples frame, or has no sample of the job.
    ConfigurationError
        If there is no such zone or theme.

    Examples
    --------
    >>> from mops_analysis import load_example
    >>> figure = tear_sheet(load_example(), "failure-burst-1", tz="UTC")
    >>> [float(inches) for inches in figure.get_size_inches()]
    [14.3, 15.15]
    """
    zone = clock.zone_of(tz)
    everything = schema.validate(samples)
    if history is not None:
        everything = pd.concat([everything[everything["job_id"] == job_id], schema.validate(history)])
    everything = schema.validate(everything).drop_duplicates(["job_id", "sampled_at"]).reset_index(drop=True)
    mine = everything["job_id"] == job_id
    if not mine.any():
        raise SchemaError(f"no samples of the job {job_id!r}; the frame has {everything['job_id'].nunique():,} jobs")
    return sheet_of(measure(everything, mine, window=window, zone=zone), job_id, theme=theme)


def sheet_of(measures: Measures, job_id: str, *, theme: str) -> Figure:
    """Draw the tear sheet of a job that has been measured."""
    colours = theme_named(theme)
    rows = (measures.samples["job_id"] == job_id).to_numpy()
    mine, throughput, so_far = (frame[rows] for frame in (measures.samples, measures.throughput, measures.failure_rate))
    fan = [forecast[rows] for forecast in measures.forecasts]
    job = measures.summary[measures.summary["job_id"] == job_id].to_dict("records")[0]
    usual = baseline(measures.summary, job_id)
    look: dict[str, Any] = {"tz": measures.zone, "theme": theme}
    compared = comparable(measures.everything, job_id, summary=measures.summary)
    ranked = len(compared) > ENOUGH

    height = _HEAD + sum(_ROWS) + _FOOT
    figure = canvas.ChartFigure(figsize=(_WIDTH, height), dpi=100, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    axes = [canvas.ChartAxes(figure, place) for place in _places(height, ranked=ranked)]
    for ax in axes:
        ax.head = _TITLE
        figure.add_axes(ax)
    if ranked:
        axes[4].trail = 1.15  # the ranks stand beside it
    charts.plot_progress(mine, forecast=fan, ax=axes[0], **look)
    charts.plot_throughput(throughput, ax=axes[1], **look)
    charts.plot_eta(fan[1], samples=mine, ax=axes[2], **look)
    windowed = windowed_failures(mine, processed_includes_failed=measures.rule(job_id))
    shown = so_far if windowed is None else windowed
    charts.plot_failure_rate(shown, cumulative=so_far, baseline=usual, ax=axes[3], **look)
    charts.plot_comparison(measures.everything, job_id, ax=axes[4], theme=theme)
    if ranked:
        charts.plot_ranks(compared, job_id, ax=axes[5], theme=theme)
    _write_head(figure, mine, job, measures.zone, colours, height)
    numbers = _numbers(job, measures, throughput, usual, compared if ranked else None)
    worse = usual is not None and job["failure_rate_low"] > usual[2]
    _write_numbers(figure, numbers, colours, height, alarms={"Failed", "Failure rate"} if worse else set())
    _write_foot(figure, measures, colours, height)
    said = "; ".join(f"{name} {value} ({basis})" for name, value, basis in numbers)
    figure.set_label(f"{names_of(mine.tail(1))[0]}, {job['status']}: {said}. " + " ".join(map(charts.alt_text, axes)))
    return figure


def _places(height: float, *, ranked: bool) -> list[tuple[float, float, float, float]]:
    """Left, bottom, width and height of the charts, as shares of the figure: five, and the ranks beside the last."""
    left, right, top, bottom, gap = 0.85, 1.65, 0.95, 0.62, 0.55
    half = (_WIDTH - 2 * left - 2 * right + gap) / 2 - 0.3
    ends = np.cumsum([_HEAD, *_ROWS])
    columns = [(left, _WIDTH - left - right)]
    columns += [(left, half), (_WIDTH - right - half, half)] * 2
    if ranked:
        start = _WIDTH - right - half
        columns[4:] = [(start, half - 2.1), (_WIDTH - left - 1.6, 1.95)]
    places = []
    for (start, width), row in zip(columns, (0, 1, 1, 2, 2, 2), strict=False):
        low = height - ends[row] - _ROWS[row] + bottom
        places.append((start / _WIDTH, low / height, width / _WIDTH, (_ROWS[row] - top - bottom) / height))
    return places


def _write_head(
    figure: Figure, samples: pd.DataFrame, job: Mapping[Hashable, Any], zone: dt.tzinfo, theme: Theme, height: float
) -> None:
    name = names_of(samples.tail(1))[0]
    days = clock.days_of(samples["sampled_at"])
    low, high = float(days[0]), float(days[-1])
    status = str(job["status"])
    parts = [
        *([str(job["job_id"])] if name != job["job_id"] else []),
        f"{job['total_items']:,} items",
        f"first sample {clock.clock_text(low, zone, seconds=True)}",
        f"{'ended' if job['terminal'] else 'last sample'} {clock.clock_text(high, zone, seconds=True)}",
        f"{clock.date_text(low, high, zone)}, {clock.zone_text(zone, low, high)}",
        f"{len(samples):,} samples",
        f"{job['anomalies']:,} event{'s' if job['anomalies'] != 1 else ''}",
    ]
    words: dict[str, Any] = {"va": "top", "parse_math": False}
    figure.text(0.03, 1 - 0.25 / height, "Job tear sheet", fontsize=9.5, color=theme.muted, **words)
    title = elided(name, 60)
    figure.text(0.03, 1 - 0.45 / height, title, fontsize=19, fontweight="bold", color=theme.ink, **words)
    figure.text(0.03, 1 - 0.88 / height, "   ·   ".join(parts), fontsize=9.5, color=theme.muted, **words)
    colour = status_colour(status, theme)
    pill = {"boxstyle": "round,pad=0.5", "facecolor": colour, "alpha": 0.22, "edgecolor": colour, "linewidth": 1.4}
    text = f"{status_mark(status)}  {status}"
    bold: dict[str, Any] = {"ha": "right", "fontsize": 11.5, "fontweight": "bold", "color": theme.ink}
    figure.text(0.965, 1 - 0.48 / height, text, bbox=pill, **words, **bold)


def _numbers(
    job: Mapping[Hashable, Any],
    measures: Measures,
    throughput: pd.DataFrame,
    usual: tuple[float, float, float] | None,
    ranked: pd.DataFrame | None,
) -> list[tuple[str, str, str]]:
    """Name, value and what it rests on."""
    rates = throughput["items_per_s"].dropna()
    spread = f"{_window(measures)} window: {_rate(rates.min())} to {_rate(rates.max())}" if len(rates) else ""
    done = _percent(job["share_done"])
    interval = f"95% interval {_percent(job['failure_rate_low'])} to {_percent(job['failure_rate_high'])}"
    compared = "no five jobs to compare with" if usual is None else f"usual {percent_text(usual[0])}"
    if usual is not None and pd.notna(multiple := per_usual(job["failure_rate"], usual[0])):
        compared = f"{multiple:.2g}× the {compared}"
    took = "of work"
    if ranked is not None:
        count, median = usual_duration(ranked, job["job_id"])
        took += f"; median of {count}: {_said(median, clock.duration_text)}"
    return [
        ("Duration" if job["terminal"] else "Running for", _said(job["elapsed_s"], clock.duration_text), took),
        ("Throughput, mean", _said(job["mean_items_per_s"], _rate), spread),
        ("Finished", _said(job["finished_items"], "{:,.0f}".format), f"{done} of {job['total_items']:,}"),
        ("Failed", f"{job['failed_items']:,}", interval if pd.notna(job["failure_rate"]) else ""),
        ("Failure rate", _percent(job["failure_rate"]), compared),
        _forecast_error(job, measures) if job["terminal"] else _forecast(job, measures),
    ]


def _forecast_error(job: Mapping[Hashable, Any], measures: Measures) -> tuple[str, str, str]:
    """How wrong the forecast was half-way, and how often its band held."""
    name, record = "ETA error at 50% done", measures.backtest
    ours = record[(record["job_id"] == job["job_id"]) & (record["method"] == "mops") & record["covered"].notna()]
    half_way = ours[ours["share_done"] == 0.5]
    held = f"80% band held at {ours['covered'].sum()} of {len(ours)} moments" if len(ours) else "no forecast to judge"
    if half_way.empty:
        return name, "–", held
    error = float((half_way["remaining_s"] - half_way["true_remaining_s"]).iloc[0])
    if pd.notna(
        job["ended_after"]
    ):  # the chart's true finish is the first sample that shows it, not half a step before
        error -= (job["ended_before"] - job["ended_after"]).total_seconds() / 2
    return name, f"{'+' if error > 0 else ''}{clock.duration_text(error)}", held


def _forecast(job: Mapping[Hashable, Any], measures: Measures) -> tuple[str, str, str]:
    """When a running job will be done."""
    if pd.isna(job["eta"]):
        waits = job["status"] == schema.REVIEW_STATUS
        return "Finish", "–", "waits for a review" if waits else "no forecast: too little seen"
    times = clock.days_of(pd.Series([job[name] for name in ("eta", "eta_low", "eta_high")]))
    eta, low, high = (clock.moment_text(float(time), measures.zone, measures.ends[0], times[2]) for time in times)
    return "Finish", eta, f"80% band {low} to {high}"


def _said(value: Any, say: Any) -> str:
    return "–" if pd.isna(value) else str(say(float(value)))


def _window(measures: Measures) -> str:
    return clock.duration_text(seconds(measures.window, "window"))


def _rate(rate: float) -> str:
    return f"{canvas.number_text(rate)}/s"


def _percent(value: Any) -> str:
    return _said(value, percent_text)


def _write_numbers(
    figure: Figure, numbers: list[tuple[str, str, str]], theme: Theme, height: float, *, alarms: set[str]
) -> None:
    for line in (1.18, 2.0):
        figure.add_artist(Line2D([0.03, 0.97], [1 - line / height] * 2, color=theme.grid, linewidth=1))
    for position, (name, value, basis) in enumerate(numbers):
        x = 0.03 + position * 0.94 / len(numbers)
        figure.text(x, 1 - 1.28 / height, name, fontsize=8.5, color=theme.muted, va="top")
        ink = theme.alarm if name in alarms else theme.ink
        figure.text(x, 1 - 1.45 / height, value, fontsize=16, fontweight="bold", color=ink, va="top")
        figure.text(x, 1 - 1.78 / height, basis, fontsize=8, color=theme.muted, va="top")


def _write_foot(figure: Figure, measures: Measures, theme: Theme, height: float) -> None:
    figure.add_artist(Line2D([0.03, 0.97], [0.55 / height] * 2, color=theme.grid, linewidth=1))
    text = (
        "Hatched: no samples were received; lines break there and nothing is interpolated. "
        f"Throughput over a trailing window of {_window(measures)}. Forecasts: {measures.record}.\n"
        "Usual: median and 10 to 90 % of the other jobs that have ended. "
        "Status colours stay apart for all colour vision; each status also has its own mark."
    )
    figure.text(0.03, 0.42 / height, text, fontsize=8, color=theme.muted, va="top", linespacing=1.5)
    version = f"mops_analysis {mops_analysis.__version__}"
    figure.text(0.97, 0.24 / height, version, fontsize=8, color=theme.muted, va="top", ha="right")

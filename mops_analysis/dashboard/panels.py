"""What the live view shows: six numbers and four charts, each from one metric."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from mops_analysis import charts, metrics, schema
from mops_analysis.charts.canvas import number_text
from mops_analysis.charts.clock import zone_of


@dataclass(frozen=True)
class Settings:
    """What the analyst has set for all charts.

    Attributes
    ----------
    window
        Width of the trailing windows, as a pandas offset string.
    x
        "clock" or "elapsed".
    tz
        Zone of all times, None for the viewer's own.
    theme
        "light" or "dark".
    """

    window: str = "2min"
    x: str = "clock"
    tz: str | None = None
    theme: str = "light"


def draw_progress(samples: pd.DataFrame, settings: Settings, ax: Axes) -> Axes:
    """Draw how far the jobs are, and when they will be done."""
    forecast = metrics.eta(samples)
    return charts.plot_progress(samples, forecast=forecast, ax=ax, x=settings.x, tz=settings.tz, theme=settings.theme)


def draw_throughput(samples: pd.DataFrame, settings: Settings, ax: Axes) -> Axes:
    """Draw how fast they are."""
    rates = metrics.throughput(samples, window=settings.window)
    return charts.plot_throughput(rates, ax=ax, x=settings.x, tz=settings.tz, theme=settings.theme)


def draw_eta(samples: pd.DataFrame, settings: Settings, ax: Axes) -> Axes:
    """Draw whether the predictions settle."""
    return charts.plot_eta(metrics.eta(samples), samples=samples, ax=ax, tz=settings.tz, theme=settings.theme)


def draw_failure_rate(samples: pd.DataFrame, settings: Settings, ax: Axes) -> Axes:
    """Draw how many items fail."""
    rates = metrics.failure_rate(samples)
    return charts.plot_failure_rate(rates, ax=ax, x=settings.x, tz=settings.tz, theme=settings.theme)


#: The charts of the live view, in reading order.
CHARTS: tuple[Callable[[pd.DataFrame, Settings, Axes], Axes], ...] = (
    draw_progress,
    draw_throughput,
    draw_eta,
    draw_failure_rate,
)


def numbers(summary: pd.DataFrame, rates: pd.DataFrame, settings: Settings) -> list[tuple[str, str, str]]:
    """Return the six numbers of a set of jobs: what it is, the number, and what belongs to it.

    Parameters
    ----------
    summary
        What `summary` said of the jobs.
    rates
        The newest row of `throughput` of each running job.
    settings
        The window and the zone.

    Examples
    --------
    >>> numbers(pd.DataFrame(), pd.DataFrame(), Settings(tz="UTC"))[0]
    ('Running', '0', '0 pending')
    """
    jobs = summary.reindex(columns=list(_USED)).astype(_USED)
    running = jobs[jobs["status"] == "in_progress"]
    known = rates.reindex(columns=list(_RATE)).astype(_RATE).dropna()
    return [
        ("Running", f"{len(running):,}", f"{(jobs['status'] == 'pending').sum():,} pending"),
        _done_by(running, settings),
        (
            "Throughput",
            f"{number_text(known['items_per_s'].sum())}/s" if len(known) else _UNKNOWN,
            "all running jobs together",
        ),
        _failures(jobs),
        _ended(jobs),
        _slowest(running.merge(known, on="job_id")),
    ]


_USED = {
    "job_id": "string",
    "label": "string",
    "status": "string",
    "eta": "datetime64[ns, UTC]",
    "eta_low": "datetime64[ns, UTC]",
    "eta_high": "datetime64[ns, UTC]",
    "mean_items_per_s": "float64",
    "failure_rate": "float64",
    "failure_rate_low": "float64",
    "failure_rate_high": "float64",
}
_RATE = {"job_id": "string", "items_per_s": "float64"}
_UNKNOWN = "–"


def _done_by(running: pd.DataFrame, settings: Settings) -> tuple[str, str, str]:
    known = running.dropna(subset=["eta"])
    if known.empty:
        return "All done by", _UNKNOWN, "estimating" if len(running) else "nothing runs"
    last = known.nlargest(1, "eta").iloc[0]
    zone = zone_of(settings.tz)
    middle, low, high = (f"{last[name].tz_convert(zone):%H:%M}" for name in ("eta", "eta_low", "eta_high"))
    unknown = len(running) - len(known)
    return "All done by", middle, f"80%: {low} to {high}" + (f", {unknown} unknown" if unknown else "")


def _failures(jobs: pd.DataFrame) -> tuple[str, str, str]:
    known = jobs.dropna(subset=["failure_rate"])
    if known.empty:
        return "Highest failure rate", _UNKNOWN, "nothing finished yet"
    worst = known.nlargest(1, "failure_rate_low").iloc[0]
    interval = f"95%: {worst['failure_rate_low']:.2%} to {worst['failure_rate_high']:.2%}"
    return "Highest failure rate", f"{worst['failure_rate']:.2%}", f"{_name(worst)}, {interval}"


def _ended(jobs: pd.DataFrame) -> tuple[str, str, str]:
    ended = jobs[jobs["status"].isin(schema.TERMINAL_STATUSES)]
    good = ended["status"].isin(schema.GOOD_STATUSES).sum()
    return "Ended", f"{len(ended):,}", f"{good:,} well, {len(ended) - good:,} not"


def _slowest(running: pd.DataFrame) -> tuple[str, str, str]:
    if running.empty:
        return "Slowest", _UNKNOWN, "nothing runs"
    slowest = running.nsmallest(1, "items_per_s").iloc[0]
    return (
        "Slowest",
        _name(slowest),
        f"{number_text(slowest['items_per_s'])}/s, mean {number_text(slowest['mean_items_per_s'])}/s",
    )


def _name(job: Any) -> str:
    return str(job["job_id"] if pd.isna(job["label"]) else job["label"])


def numbers_html(found: list[tuple[str, str, str]]) -> str:
    """Return the numbers as a row of cards; the inline styles survive where a notebook's trust does not."""
    card = (
        '<div style="flex:1 1 140px;min-width:0;padding:4px 12px;'
        'border-left:1px solid var(--jp-border-color2,currentColor)">'
        '<div style="font-size:11px">{}</div>'
        '<div style="font-size:20px;font-weight:bold;line-height:1.3;white-space:nowrap;overflow:hidden;'
        'text-overflow:ellipsis" title="{}">{}</div><div style="font-size:11px">{}</div></div>'
    )
    cards = [
        card.format(*(html.escape(text) for text in (name, number, number, detail))) for name, number, detail in found
    ]
    return f'<div style="display:flex;flex-wrap:wrap;line-height:1.4">{"".join(cards)}</div>'

"""What the live view shows: six numbers and six charts, each from one metric."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from mops_analysis import charts, metrics
from mops_analysis.charts.canvas import number_text
from mops_analysis.charts.clock import days_of, moment_text, zone_of
from mops_analysis.charts.failures import percent_text


@dataclass(frozen=True)
class Settings:
    """What the analyst has set for all charts.

    Attributes
    ----------
    window
        Width of the trailing windows, as a pandas offset string.
    x
        "clock", "elapsed" or "share".
    tz
        Zone of all times, None for the viewer's own.
    theme
        "light", "dark" or "auto".
    """

    window: str = "2min"
    x: str = "clock"
    tz: str | None = None
    theme: str = "auto"


@dataclass(frozen=True)
class Shown:
    """The chosen jobs; each metric of them is computed once, when it is first asked for.

    Attributes
    ----------
    samples, eta, summary
        Of the chosen jobs alone.
    record
        How well such forecasts held so far, in words.
    settings
        What the analyst has set; the theme is "light" or "dark".
    measure_fleet
        Returns what `fleet` says of all jobs.
    rule
        What to tell a metric, so that it counts the chosen jobs as it does among all.
    """

    samples: pd.DataFrame
    eta: pd.DataFrame
    summary: pd.DataFrame
    record: str
    settings: Settings
    measure_fleet: Callable[[], pd.DataFrame]
    rule: Mapping[str, Any]

    @cached_property
    def fleet(self) -> pd.DataFrame:
        """How all jobs stand together, chosen or not."""
        return self.measure_fleet()

    @cached_property
    def throughput(self) -> pd.DataFrame:
        """How fast the jobs are."""
        return metrics.throughput(self.samples, window=self.settings.window, **self.rule)

    @cached_property
    def failure_rate(self) -> pd.DataFrame:
        """How many of their items fail."""
        return metrics.failure_rate(self.samples, **self.rule)

    @cached_property
    def by_period(self) -> pd.DataFrame:
        """How fast they are, in periods of a few windows."""
        every = _PERIOD_WINDOWS * pd.Timedelta(self.settings.window)
        return metrics.throughput_by(self.samples, every=every, tz=zone_of(self.settings.tz), **self.rule)

    @property
    def table(self) -> pd.DataFrame:
        """The numbers behind the charts: the samples, and beside each what the metrics say of it."""
        known, measured = self.samples.columns, (self.throughput, self.eta, self.failure_rate)
        return pd.concat(
            [self.samples, *(frame[frame.columns.difference(known, sort=False)] for frame in measured)], axis=1
        )

    @property
    def names(self) -> dict[str, str]:
        """What to call each job."""
        return names_of(self.summary)


# So many windows make a period of the heat map.
_PERIOD_WINDOWS = 5


def names_of(summary: pd.DataFrame) -> dict[str, str]:
    """Return what to call each job: its label, else its id."""
    labels = summary["label"] if "label" in summary.columns else summary["job_id"]
    pairs = zip(summary["job_id"], labels, strict=True)
    return {str(job_id): str(job_id) if pd.isna(label) else str(label) for job_id, label in pairs}


class Chart(NamedTuple):
    """A chart, ready to be drawn.

    Attributes
    ----------
    draw
        Draws it on Axes.
    has_rows
        Whether the names of jobs stand left of it.
    """

    draw: Callable[[Axes], Axes]
    has_rows: bool = False


#: How many charts `charts_of` returns.
CHARTS = 6


def charts_of(shown: Shown) -> list[Chart]:
    """Return the charts of the chosen jobs, in reading order."""
    look: dict[str, Any] = {"tz": shown.settings.tz, "theme": shown.settings.theme}
    forecast = {"record": shown.record, **look}
    rates = {"x": shown.settings.x, **look}
    # Over the share done, progress would be a straight line.
    x = "elapsed" if shown.settings.x == "share" else shown.settings.x
    return [
        Chart(lambda ax: charts.plot_progress(shown.samples, forecast=shown.eta, x=x, ax=ax, **forecast)),
        Chart(lambda ax: charts.plot_throughput(_placed(shown.throughput, shown), ax=ax, **rates)),
        Chart(lambda ax: charts.plot_eta(shown.eta, samples=shown.samples, ax=ax, **forecast)),
        _failures(shown, rates),
        Chart(lambda ax: charts.plot_timeline(shown.summary, ax=ax, **look), has_rows=True),
        Chart(lambda ax: charts.plot_heatmap(shown.by_period, ax=ax, **look), has_rows=True),
    ]


def _placed(metric: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """A metric with the place of each row on an axis of shares."""
    if shown.settings.x != "share":
        return metric
    return metric.assign(progress_percentage=shown.samples["progress_percentage"])


def _failures(shown: Shown, rates: dict[str, Any]) -> Chart:
    # One job: has it become worse? Several: which of them?
    usual = shown.fleet["failure_rate_usual"].dropna()
    baseline = float(usual.iloc[0]) if len(usual) else None
    if len(shown.summary) > 1:
        theme = shown.settings.theme
        return Chart(
            lambda ax: charts.plot_failures_by_job(shown.summary, baseline=baseline, ax=ax, theme=theme), has_rows=True
        )
    return Chart(
        lambda ax: charts.plot_failure_rate(_placed(shown.failure_rate, shown), baseline=baseline, ax=ax, **rates)
    )


def numbers(fleet: pd.DataFrame, names: Mapping[str, str], settings: Settings) -> list[tuple[str, str, str]]:
    """Return the six numbers of all jobs: what it is, the number, and what belongs to it.

    Parameters
    ----------
    fleet
        What `fleet` says of them.
    names
        Job id to what to call it.
    settings
        The zone.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> numbers(metrics.fleet(to_frame([])), {}, Settings(tz="UTC"))[0]
    ('Running', '0', '0 pending')
    """
    [row] = fleet.to_dict("records")
    rate = row["items_per_s"]
    ends = [
        f"{row[f'ended_{how}_today']:,} {word}"
        for how, word in (("well", "well"), ("partly", "partly"), ("badly", "not"))
    ]
    return [
        ("Running", f"{row['running']:,}", f"{row['pending']:,} pending"),
        _done_by(fleet, row["unforecast"], settings),
        ("Throughput", _UNKNOWN if pd.isna(rate) else f"{number_text(rate)}/s", "all running jobs together"),
        _failed_share(row),
        ("Ended today", f"{row['ended_today']:,}", " · ".join(ends)),
        _slowest(row, names),
    ]


_UNKNOWN = "–"


def _done_by(fleet: pd.DataFrame, unforecast: int, settings: Settings) -> tuple[str, str, str]:
    name = "All done by"
    if fleet["all_done_by"].isna().all():
        return name, _UNKNOWN, "estimating" if unforecast else "nothing runs"
    zone = zone_of(settings.tz)
    low, middle, high = (
        float(days_of(fleet[column])[0]) for column in ("all_done_by_low", "all_done_by", "all_done_by_high")
    )
    words = [moment_text(each, zone, low, high) for each in (low, middle, high)]
    return name, words[1], f"80%: {words[0]} to {words[2]}" + (f", {unforecast:,} unknown" if unforecast else "")


_FAILED = "Failed share, last 30 min"


def alarms(fleet: pd.DataFrame) -> set[str]:
    """Return which of the numbers are worse than usual: the failed share whose whole interval is."""
    is_worse = (fleet["failure_rate_low"] > fleet["failure_rate_usual"]).any()
    return {_FAILED} if is_worse else set()


def _failed_share(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    name = _FAILED
    if pd.isna(row["failure_rate"]):
        return name, _UNKNOWN, "nothing finished"
    usual = row["failure_rate_usual"]
    words = f"95%: {percent_text(row['failure_rate_low'])} to {percent_text(row['failure_rate_high'])}"
    if pd.notna(row["failures_per_usual"]):
        words = f"{row['failures_per_usual']:.1f}× usual {percent_text(usual)}"
    return name, percent_text(row["failure_rate"]), words


def _slowest(row: Mapping[Any, Any], names: Mapping[str, str]) -> tuple[str, str, str]:
    name, job_id = "Slowest against its own median", row["slowest_job_id"]
    if pd.isna(job_id):
        return name, _UNKNOWN, "nothing runs" if not row["running"] else "no rate yet"
    return (
        name,
        names.get(job_id, job_id),
        f"{row['slowest_share']:.2f}×, now {number_text(row['slowest_items_per_s'])}/s",
    )


def numbers_html(found: list[tuple[str, str, str]], *, alarms: Collection[str] = ()) -> str:
    """Return the numbers as a row of cards; the inline styles survive where a notebook's trust does not.

    The `alarms` are the names of those to be red.
    """
    card = (
        '<div style="flex:1 1 140px;min-width:0;padding:4px 12px;'
        'border-left:1px solid var(--jp-border-color2,currentColor)">'
        '<div style="font-size:11px">{}</div>'
        '<div style="font-size:20px;font-weight:bold;line-height:1.3;white-space:nowrap;overflow:hidden;'
        'text-overflow:ellipsis{}" title="{}">{}</div><div style="font-size:11px">{}</div></div>'
    )
    red = ";color:var(--jp-error-color1,#b12a0c)"
    cards = [
        card.format(html.escape(name), red if name in alarms else "", *map(html.escape, (number, number, detail)))
        for name, number, detail in found
    ]
    return f'<div style="display:flex;flex-wrap:wrap;line-height:1.4">{"".join(cards)}</div>'

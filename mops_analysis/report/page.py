"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

import mops_analysis
from mops_analysis import charts, metrics, schema
from mops_analysis.charts import canvas, clock, palette
from mops_analysis.charts.failures import percent_text
from mops_analysis.errors import SchemaError
from mops_analysis.report.attention import attention
from mops_analysis.report.vector import svg_of

#: So many jobs get a section with figures, those that need attention first; the table has all.
SECTIONS_MOST = 12

#: The intervals of a forecast's fan.
INTERVALS = (0.5, 0.8, 0.95)
_FAILURE_WINDOWS = ("2min", "5min", "10min", "30min", "1h")
_FAILURE_ITEMS = 200  # fewer in a window, and its interval says nothing


def report(
    samples: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    job_ids: Sequence[str] | None = None,
    title: str | None = None,
    window: str = "2min",
    tz: str | dt.tzinfo | None = None,
) -> Path:
    """Write a report: one HTML file with tables and charts, to read, print or send.

    It opens without a network: no script, no font, no address. The same samples give the same file, byte for byte.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    path
        The file to write; an older one is replaced.
    job_ids
        The jobs to report on; by default all. The other jobs still count as what is usual.
    title
        Its heading.
    window
        Width of the throughput window, as a pandas offset string.
    tz
        Zone to show, such as "Europe/Berlin". By default the viewer's own.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or has none of a job asked for.
    ConfigurationError
        If there is no such zone.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(schema.to_frame([]), f"{folder}/report.html", title="Nothing yet").read_text()
    >>> "<h1>Nothing yet</h1>" in page
    True
    """
    zone = clock.zone_of(tz)
    everything = schema.validate(samples).reset_index(drop=True)
    known = set(everything["job_id"])
    missing = [job_id for job_id in job_ids or () if job_id not in known]
    if missing:
        raise SchemaError(f"no samples of the job {missing[0]!r}; the frame has {len(known):,} jobs")
    chosen = everything["job_id"].isin(list(known if job_ids is None else job_ids))
    content = _content(_source(everything, chosen, window, zone), title, window)
    page = _TEMPLATES.get_template("page.html.j2").render(content)
    file = Path(path)
    file.write_text(page, encoding="utf-8")
    return file


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mops_analysis.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class _Figure:
    """A chart on the page."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class _Source:
    """What the page is made of. All jobs are measured together: they are evidence for one another's counting rule."""

    samples: pd.DataFrame  # of the chosen jobs
    summary: pd.DataFrame  # of all jobs
    counting: pd.DataFrame  # of all jobs
    anomalies: pd.DataFrame
    forecasts: list[pd.DataFrame]
    throughput: pd.DataFrame
    failure_rate: pd.DataFrame
    names: dict[str, str]
    zone: dt.tzinfo
    ends: tuple[float, float]  # first and last sample [days]


def _source(everything: pd.DataFrame, chosen: pd.Series[bool], window: str, zone: dt.tzinfo) -> _Source:
    anomalies = metrics.anomalies(everything)
    times = clock.days_of(everything["sampled_at"][chosen])
    return _Source(
        samples=everything[chosen],
        summary=metrics.summary(everything),
        counting=metrics.counting(everything),
        anomalies=anomalies[anomalies["job_id"].isin(everything["job_id"][chosen])],
        forecasts=[metrics.eta(everything, interval=interval)[chosen] for interval in INTERVALS],
        throughput=metrics.throughput(everything, window=window)[chosen],
        failure_rate=metrics.failure_rate(everything)[chosen],
        names=_names(everything),
        zone=zone,
        ends=(float(times.min()), float(times.max())) if times.size else (0.0, 0.0),
    )


def _content(source: _Source, title: str | None, window: str) -> dict[str, Any]:
    """What the template shows."""
    summary, zone, ends = source.summary, source.zone, source.ends
    jobs = attention(summary[summary["job_id"].isin(source.samples["job_id"])], source.anomalies)
    samples = len(source.samples)
    return {
        "title": title or (f"Job {source.names[jobs['job_id'].iloc[0]]}" if len(jobs) == 1 else "Job report"),
        "version": mops_analysis.__version__,
        "zone": clock.zone_text(zone, *ends) if samples else "",
        "span": _span(ends, zone) if samples else "no samples",
        "window": clock.duration_text(pd.Timedelta(window).total_seconds()),
        "samples": samples,
        "numbers": _numbers(jobs),
        "rows": [_row(row, source) for row in jobs.to_dict("records")],
        "overview": _overview(source) if len(jobs) > 1 else None,
        "sections": [_section(row, source) for row in jobs.head(SECTIONS_MOST).to_dict("records")],
        "left_out": max(len(jobs) - SECTIONS_MOST, 0),
        "provenance": _provenance(source),
    }


def _names(samples: pd.DataFrame) -> dict[str, str]:
    newest = samples.drop_duplicates("job_id", keep="last")
    labels = newest["label"] if "label" in newest.columns else newest["job_id"]
    pairs = zip(newest["job_id"], labels, strict=True)
    return {str(job_id): str(job_id) if pd.isna(label) else str(label) for job_id, label in pairs}


def _span(ends: tuple[float, float], zone: dt.tzinfo) -> str:
    return f"{clock.date_text(*ends, zone)}, {clock.clock_text(ends[0], zone)} to {clock.clock_text(ends[1], zone)}"


def _numbers(jobs: pd.DataFrame) -> list[tuple[str, str]]:
    """The numbers on top."""
    ended = jobs["terminal"].sum()
    well = jobs["status"].isin(schema.GOOD_STATUSES).sum()
    return [
        ("Jobs", f"{len(jobs):,}"),
        ("Still running", f"{len(jobs) - ended:,}"),
        ("Ended well", f"{well:,} of {ended:,}"),
        ("Need attention", f"{jobs['urgent'].sum():,}"),
        ("Items finished", f"{jobs['finished_items'].sum():,}"),
        ("Items failed", f"{jobs['failed_items'].sum():,}"),
    ]


def _row(job: Mapping[Hashable, Any], source: _Source) -> dict[str, str]:
    """One job in the table, in words."""
    return {
        "job_id": str(job["job_id"]),
        "name": source.names[str(job["job_id"])],
        "status": str(job["status"]).replace("_", " "),
        "mark": palette.status_mark(str(job["status"])),
        "colour": palette.status_colour(str(job["status"])),
        "urgent": "urgent" if job["urgent"] else "",
        "reasons": job["reasons"],
        "done": _said(job["share_done"], percent_text),
        "finished": f"{_said(job['finished_items'], '{:,.0f}'.format)} of {job['total_items']:,.0f}",
        "failed": f"{job['failed_items']:,.0f}",
        "failure_rate": _said(job["failure_rate"], percent_text),
        "elapsed": _said(job["elapsed_s"], clock.duration_text),
        "rate": _said(job["mean_items_per_s"], lambda rate: f"{canvas.number_text(rate)}/s"),
        "finish": _finish(job, source),
    }


def _said(value: Any, say: Any) -> str:
    """Say a number; what is unknown is a dash."""
    return "–" if pd.isna(value) else str(say(float(value)))


def _finish(job: Mapping[Hashable, Any], source: _Source) -> str:
    """When a job ended, or when it will."""
    if job["terminal"]:
        return f"ended {_clock(job['ended_before'], source)}"
    if pd.isna(job["eta"]):
        return "no forecast"
    eta, low, high = (_clock(job[name], source) for name in ("eta", "eta_low", "eta_high"))
    return f"{eta} ({low}–{high})"


def _clock(moment: Any, source: _Source) -> str:
    """Say a moment; with its date where the samples are of more than one."""
    if pd.isna(moment):
        return "?"
    return clock.moment_text(float(clock.days_of(pd.Series([moment]))[0]), source.zone, *source.ends)


def _overview(source: _Source) -> _Figure:
    ax = canvas.new_axes(palette.LIGHT, width=11.6, height=5.0)
    return _figure(charts.plot_progress(source.samples, forecast=source.forecasts[1], ax=ax, tz=source.zone))


def _figure(ax: Axes) -> _Figure:
    return _Figure(Markup(svg_of(ax)), charts.alt_text(ax))  # noqa: S704  our own SVG; matplotlib has escaped its texts


def _section(job: Mapping[Hashable, Any], source: _Source) -> dict[str, Any]:
    """One job: its row, its events, its charts."""
    events = source.anomalies[source.anomalies["job_id"] == job["job_id"]].to_dict("records")
    return {
        **_row(job, source),
        "events": [
            (_clock(event["sampled_at"], source), str(event["kind"]).replace("_", " "), event["detail"])
            for event in events
        ],
        "figures": [_figure(ax) for ax in _charts(str(job["job_id"]), source)],
    }


def _charts(job_id: str, source: _Source) -> Iterator[Axes]:
    rows = (source.samples["job_id"] == job_id).to_numpy()
    samples, fan = source.samples[rows], [forecast[rows] for forecast in source.forecasts]
    tz, places = source.zone, (canvas.new_axes(palette.LIGHT, width=6.4, height=3.9) for _ in range(4))
    yield charts.plot_progress(samples, forecast=fan, ax=next(places), tz=tz)
    yield charts.plot_throughput(source.throughput[rows], ax=next(places), tz=tz)
    yield charts.plot_eta(fan[1], samples=samples, ax=next(places), tz=tz)
    usual, so_far = baseline(source.summary, job_id), source.failure_rate[rows]
    rule = bool(source.counting.set_index("job_id").loc[job_id, "processed_includes_failed"])
    windowed = windowed_failures(samples, processed_includes_failed=rule)
    if windowed is None:
        yield charts.plot_failure_rate(so_far, baseline=usual, ax=next(places), tz=tz)
    else:
        yield charts.plot_failure_rate(windowed, cumulative=so_far, baseline=usual, ax=next(places), tz=tz)


def windowed_failures(samples: pd.DataFrame, *, processed_includes_failed: bool) -> pd.DataFrame | None:
    """Return the failure rates of the shortest window that usually holds enough items, None where none does."""
    span = samples["sampled_at"].max() - samples["sampled_at"].min()
    for window in _FAILURE_WINDOWS:
        if 2 * pd.Timedelta(window) > span:
            return None
        rates = metrics.failure_rate(samples, window=window, processed_includes_failed=processed_includes_failed)
        if rates["finished"].median() >= _FAILURE_ITEMS:
            return rates
    return None


def baseline(summary: pd.DataFrame, job_id: str) -> tuple[float, float, float] | None:
    """Return the median, 10 and 90 % quantile of the other jobs that have ended; None where they are not even five."""
    others = summary[summary["terminal"] & (summary["job_id"] != job_id)]["failure_rate"].dropna()
    if len(others) < 5:
        return None
    median, low, high = np.quantile(others, [0.5, 0.1, 0.9])
    return float(median), float(low), float(high)


def _provenance(source: _Source) -> list[dict[str, str]]:
    """Where the numbers of each job come from."""
    rules = source.counting.set_index("job_id")
    gaps = source.anomalies.query("kind == 'gap'").groupby("job_id").size().to_dict()
    rows = []
    for job_id, samples in source.samples.groupby("job_id"):
        times = clock.days_of(samples["sampled_at"])
        rule = rules.loc[job_id]
        rows.append(
            {
                "job_id": str(job_id),
                "name": source.names[str(job_id)],
                "samples": f"{len(samples):,}",
                "gaps": str(gaps.get(job_id, 0)),
                "span": _span((float(times[0]), float(times[-1])), source.zone),
                "rule": "processed, failed included" if rule["processed_includes_failed"] else "processed plus failed",
                "evidence": str(rule["evidence"]),
            }
        )
    return rows

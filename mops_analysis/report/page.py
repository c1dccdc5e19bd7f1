"""The report: one file that needs nothing else, as a page, as Markdown, or as a PDF of tear sheets."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages

import mops_analysis
from mops_analysis import charts, metrics, schema
from mops_analysis.charts import canvas, clock, palette
from mops_analysis.charts.failures import percent_text
from mops_analysis.errors import ConfigurationError, SchemaError
from mops_analysis.metrics.arrays import seconds
from mops_analysis.metrics.comparison import baseline
from mops_analysis.report.attention import attention
from mops_analysis.report.measures import Measures, measure, windowed_failures
from mops_analysis.report.tables import markdown_text
from mops_analysis.report.tearsheet import sheet_of
from mops_analysis.report.vector import svg_of

#: So many jobs get a section with figures, those that need attention first; the table has all.
SECTIONS_MOST = 12

_DAYS_FOR_WEEKS = 2.0  # from so many days on, items per day and week say something


def report(
    samples: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    job_ids: str | Iterable[str] | None = None,
    title: str | None = None,
    window: float | str = "2min",
    tz: str | dt.tzinfo | None = None,
    polls: pd.DataFrame | None = None,
) -> Path:
    """Write a report: one file with tables and charts, to read, print or send.

    HTML opens without a network: no script, no font, no address. The same samples give the same file, byte for byte.
    Markdown has the tables and says the charts in words; PDF is a tear sheet for each job.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    path
        The file to write, ending in .html, .md or .pdf; an older one is replaced.
    job_ids
        The job or jobs to report on; by default all. The other jobs still count as what is usual.
    title
        Its heading.
    window
        Width of the throughput window, in seconds or as a pandas offset string.
    tz
        Zone to show, such as "Europe/Berlin". By default the viewer's own.
    polls
        What `store.read_polls()` returned, so that the report counts the polls that failed.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or has none of a job asked for, or `polls` are no polls.
    ConfigurationError
        If there is no such zone, or the file ends otherwise.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(schema.to_frame([]), f"{folder}/report.html", title="Nothing yet").read_text()
    >>> "<h1>Nothing yet</h1>" in page
    True
    """
    zone, file = clock.zone_of(tz), Path(path)
    if file.suffix.lower() not in _WRITERS:
        raise ConfigurationError(f"{file}: expected a file ending in .html, .md or .pdf")
    everything = schema.validate(samples).reset_index(drop=True)
    known = set(everything["job_id"])
    wanted = known if job_ids is None else {job_ids} if isinstance(job_ids, str) else set(job_ids)
    if missing := sorted(wanted - known):
        raise SchemaError(f"no samples of the job {missing[0]!r}; the frame has {len(known):,} jobs")
    chosen = everything["job_id"].isin(wanted)
    if polls is not None:
        schema.require(polls, ("job_id", "outcome"), "polls: expected what store.read_polls() returned")
    if polls is not None and job_ids is not None:
        polls = polls[polls["job_id"].isin(wanted)]
    measures = measure(everything, chosen, window=window, zone=zone, polls=polls)
    jobs = attention(measures.summary[measures.summary["job_id"].isin(measures.samples["job_id"])], measures.anomalies)
    names = _names(everything)
    heading = title or (f"Job {names[jobs['job_id'].iloc[0]]}" if len(jobs) == 1 else "Job report")
    _WRITERS[file.suffix.lower()](_Source(measures, jobs, names), heading, file)
    return file


def _write_page(source: _Source, title: str, file: Path) -> None:
    file.write_text(_TEMPLATES.get_template("page.html.j2").render(_content(source, title)), encoding="utf-8")


def _write_markdown(source: _Source, title: str, file: Path) -> None:
    # Whatever a template prints is a value of ours or of the service: as text, none of it is Markdown or HTML.
    words = _TEMPLATES.overlay(autoescape=False, finalize=markdown_text)
    file.write_text(words.get_template("page.md.j2").render(_content(source, title)), encoding="utf-8")


def _write_pdf(source: _Source, title: str, file: Path) -> None:
    if source.jobs.empty:
        raise SchemaError(f"{file}: a PDF has a sheet for each job, and there are no samples of any job yet")
    about = {"Title": title, "Creator": f"mops_analysis {mops_analysis.__version__}"}
    about["Subject"] = f"{len(source.measures.samples):,} samples, times in {_zone(source.measures)}"
    with PdfPages(file, metadata=about) as pages:
        for job_id in source.jobs["job_id"].head(SECTIONS_MOST):
            pages.savefig(sheet_of(source.measures, str(job_id), theme="light"))


_WRITERS = {".html": _write_page, ".htm": _write_page, ".md": _write_markdown, ".pdf": _write_pdf}

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mops_analysis.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class _Source:
    """What the page is made of."""

    measures: Measures
    jobs: pd.DataFrame  # those chosen, the most urgent first
    names: dict[str, str]


@dataclass(frozen=True)
class _Figure:
    """A chart on the page, and what is to be said of it beside its own words."""

    ax: Axes
    note: str = ""

    @property
    def svg(self) -> Markup:
        """The picture."""
        return Markup(svg_of(self.ax))  # noqa: S704  our own SVG; matplotlib has escaped its texts

    @property
    def caption(self) -> str:
        """The picture in words."""
        return f"{charts.alt_text(self.ax)} {self.note}".strip()


def _content(source: _Source, title: str) -> dict[str, Any]:
    """What the template shows."""
    measures, jobs = source.measures, source.jobs
    samples, shown = len(measures.samples), jobs.head(SECTIONS_MOST)
    failed = None if measures.polls is None else sum(_failed_polls(source).values())
    changes = metrics.comparison(measures.everything, job_ids=list(shown["job_id"]), summary=measures.summary)
    return {
        "title": title,
        "version": mops_analysis.__version__,
        "zone": _zone(measures) if samples else "",
        "span": _span(measures.ends, measures.zone) if samples else "no samples",
        "window": clock.duration_text(seconds(measures.window, "window")),
        "samples": samples,
        "failed_polls": failed,
        "record": measures.record if not jobs["terminal"].all() else None,
        "numbers": _numbers(jobs),
        "rows": [_row(row, source) for row in jobs.to_dict("records")],
        "overview": list(_overview(source)) if len(jobs) > 1 else [],
        "weeks": _weeks(source) if measures.ends[1] - measures.ends[0] > _DAYS_FOR_WEEKS else None,
        "sections": [_section(row, source, changes) for row in shown.to_dict("records")],
        "left_out": max(len(jobs) - SECTIONS_MOST, 0),
        "provenance": _provenance(source),
        "unseen": _unseen(source),
    }


def _zone(measures: Measures) -> str:
    return clock.zone_text(measures.zone, *measures.ends)


def _names(samples: pd.DataFrame) -> dict[str, str]:
    newest = samples.drop_duplicates("job_id", keep="last")
    labels = newest["label"] if "label" in newest.columns else newest["job_id"]
    pairs = zip(newest["job_id"], labels, strict=True)
    return {str(job_id): str(job_id) if pd.isna(label) else str(label) for job_id, label in pairs}


def _span(ends: tuple[float, float], zone: dt.tzinfo) -> str:
    return f"{clock.date_text(*ends, zone)}, {clock.span_text(*ends, zone)}"


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


def _row(job: Mapping[Hashable, Any], source: _Source) -> dict[str, Any]:
    """One job in the table, in words."""
    return {
        "job_id": str(job["job_id"]),
        "name": source.names[str(job["job_id"])],
        "status": str(job["status"]).replace("_", " "),
        "mark": palette.status_mark(str(job["status"])),
        "colour": palette.status_colour(str(job["status"])),
        "urgent": "urgent" if job["urgent"] else "",
        # What the status says already need not be said again.
        "reasons": ", ".join(each for each in str(job["reasons"]).split(", ") if each != str(job["status"])),
        "done": _said(job["share_done"], percent_text),
        "finished": f"{_said(job['finished_items'], '{:,.0f}'.format)} of {job['total_items']:,.0f}",
        "failed": f"{job['failed_items']:,.0f}",
        "failure_rate": _said(job["failure_rate"], percent_text),
        "elapsed": _said(job["elapsed_s"], clock.duration_text),
        "rate": _said(job["mean_items_per_s"], _rate_text),
        "finish": " ".join(_finish(job, source)).strip(),
        "ends": _finish(job, source),
    }


def _said(value: Any, say: Any) -> str:
    """Say a number; what is unknown is a dash."""
    return "–" if pd.isna(value) else str(say(float(value)))


def _finish(job: Mapping[Hashable, Any], source: _Source) -> tuple[str, str]:
    """When a job ended, or when it will, and between which times."""
    if job["terminal"]:
        return f"ended {_clock(job['ended_before'], source)}", ""
    if pd.isna(job["eta"]):
        return "no forecast", ""
    eta, low, high = (_clock(job[name], source) for name in ("eta", "eta_low", "eta_high"))
    return eta, f"({low}–{high})"


def _clock(moment: Any, source: _Source) -> str:
    """Say a moment; with its date where the samples are of more than one."""
    if pd.isna(moment):
        return "?"
    measures = source.measures
    return clock.moment_text(float(clock.days_of(pd.Series([moment]))[0]), measures.zone, *measures.ends)


def _overview(source: _Source) -> Iterator[_Figure]:
    """All jobs side by side; of more than can be told apart, also what ran when and which fail."""
    measures = source.measures
    ax = canvas.new_axes(palette.LIGHT, width=11.6, height=5.0)
    charts.plot_progress(measures.samples, forecast=measures.forecasts[1], ax=ax, tz=measures.zone)
    yield _Figure(ax, _record(measures))
    if len(source.jobs) > canvas.PANELS_MOST:
        yield _Figure(charts.plot_timeline(source.jobs, tz=measures.zone))
        yield _Figure(charts.plot_failures_by_job(source.jobs))


def _record(measures: Measures) -> str:
    return f"The forecasts' record: {measures.record}."


def _weeks(source: _Source) -> dict[str, Any]:
    """What all jobs together got done, day by day and week by week."""
    measures = source.measures
    ax = canvas.new_axes(palette.LIGHT, width=11.6, height=3.9)
    daily = metrics.throughput_by(measures.samples, every="1D", by=None, tz=measures.zone)
    charts.plot_throughput_by(daily, ax=ax)
    weeks = metrics.week_on_week(measures.samples, tz=measures.zone)
    rows = [
        {
            "week": week["week_start"].strftime("%a %d %b %Y"),
            "days": str(week["days"]),
            "finished": f"{week['finished_items']:,.0f}",
            "failed": f"{week['failed_items']:,.0f} ({_said(week['failure_rate'], percent_text)})",
            "change": _said(week["change"], _change_text),
        }
        for week in weeks.to_dict("records")
    ]
    return {"figure": _Figure(ax), "rows": rows}


def _section(job: Mapping[Hashable, Any], source: _Source, changes: pd.DataFrame) -> dict[str, Any]:
    """One job: its row, what changed, its events, its charts."""
    of_job = source.measures.anomalies["job_id"] == job["job_id"]
    compared = changes[(changes["job_id"] == job["job_id"]) & (changes["jobs_before"] > 0) & changes["value"].notna()]
    return {
        **_row(job, source),
        "changes": [_change(change) for change in compared.to_dict("records")],
        "jobs_before": int(compared["jobs_before"].max()) if len(compared) else 0,
        "same_label": bool(compared["same_label"].any()),
        "events": [
            (_clock(event["sampled_at"], source), str(event["kind"]).replace("_", " "), event["detail"])
            for event in source.measures.anomalies[of_job].to_dict("records")
        ],
        "figures": list(_figures(str(job["job_id"]), source.measures)),
    }


def _change(change: Mapping[Hashable, Any]) -> dict[str, str]:
    """One measure of a job against the jobs before it, in words."""
    name, say = _MEASURES[str(change["measure"])]
    return {
        "name": name,
        "value": _said(change["value"], say),
        "median": _said(change["median"], say),
        "range": f"{_said(change['low'], say)} to {_said(change['high'], say)}",
        "change": _said(change["change"], _change_text),
        "unusual": "unusual" if change["unusual"] else "",
    }


def _rate_text(rate: float) -> str:
    return f"{canvas.number_text(rate)}/s"


def _change_text(change: float) -> str:
    return f"{change + 1:.1f}×" if change > 1 else f"{change * 100:+.0f} %"


_MEASURES = {
    "elapsed_s": ("Duration", clock.duration_text),
    "mean_items_per_s": ("Mean throughput", _rate_text),
    "failure_rate": ("Failure rate", percent_text),
}


def _figures(job_id: str, measures: Measures) -> Iterator[_Figure]:
    rows = (measures.samples["job_id"] == job_id).to_numpy()
    samples, fan = measures.samples[rows], [forecast[rows] for forecast in measures.forecasts]
    tz, places = measures.zone, (canvas.new_axes(palette.LIGHT, width=6.4, height=3.9) for _ in range(4))
    yield _Figure(charts.plot_progress(samples, forecast=fan, ax=next(places), tz=tz), _record(measures))
    yield _Figure(charts.plot_throughput(measures.throughput[rows], ax=next(places), tz=tz))
    yield _Figure(charts.plot_eta(fan[1], samples=samples, ax=next(places), tz=tz), _record(measures))
    usual, so_far = baseline(measures.summary, job_id), measures.failure_rate[rows]
    windowed = windowed_failures(samples, processed_includes_failed=measures.rule(job_id))
    rates, line = (so_far, None) if windowed is None else (windowed, so_far)
    yield _Figure(charts.plot_failure_rate(rates, cumulative=line, baseline=usual, ax=next(places), tz=tz))


def _failed_polls(source: _Source) -> dict[str, int]:
    """How many polls failed, of each job that was polled."""
    polls = source.measures.polls
    if polls is None:
        return {}
    failed = polls["outcome"] != "ok"
    return {str(job_id): int(count) for job_id, count in failed.groupby(polls["job_id"]).sum().items()}


def _unseen(source: _Source) -> list[str]:
    """Jobs that were polled and never answered."""
    seen = set(source.measures.samples["job_id"])
    return [
        f"{job_id} ({count:,} failed polls: {_faults(source, job_id)})"
        for job_id, count in _failed_polls(source).items()
        if job_id not in seen
    ]


def _faults(source: _Source, job_id: str) -> str:
    """How often which fault, in words."""
    return ", ".join(f"{count:,} {fault}" for fault, count in source.measures.failed_polls(job_id).most_common())


def _provenance(source: _Source) -> list[dict[str, str]]:
    """Where the numbers of each job come from."""
    rules, measures = source.measures.counting.set_index("job_id"), source.measures
    is_gap = measures.anomalies["kind"] == "gap"
    rows = []
    for job_id, samples in measures.samples.groupby("job_id"):
        times = clock.days_of(samples["sampled_at"])
        rule = rules.loc[job_id]
        ends = measures.anomalies["sampled_at"][is_gap & (measures.anomalies["job_id"] == job_id)]
        steps = samples["sampled_at"].diff()[samples["sampled_at"].isin(ends)]
        longest = f", longest {clock.duration_text(steps.max().total_seconds())}" if len(steps) else ""
        rows.append(
            {
                "job_id": str(job_id),
                "name": source.names[str(job_id)],
                "samples": f"{len(samples):,}",
                "failed_polls": _faults(source, str(job_id)) or "0",
                "gaps": f"{len(steps)}{longest}",
                "span": _span((float(times[0]), float(times[-1])), measures.zone),
                "rule": "processed, failed included" if rule["processed_includes_failed"] else "processed plus failed",
                "evidence": str(rule["evidence"]),
            }
        )
    return rows

"""`mops jobs`, `chart`, `report`, `export`: what comes out of a store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import mops_analysis as mops
from mops_analysis.cli import OK
from mops_analysis.errors import SchemaError
from mops_analysis.files import existing
from mops_analysis.metrics.arrays import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def run(arguments: argparse.Namespace) -> int:
    """Run the command that `arguments` name."""
    commands = {"jobs": _jobs, "chart": _chart, "report": _report, "export": _export}
    commands[arguments.command](arguments)
    return OK


def read_chosen(source: str, job_ids: list[str]) -> pd.DataFrame:
    """Read the samples of the chosen jobs, of all if none is named; SchemaError for a job that is not there."""
    samples = mops.read_samples(source)
    check_known(source, samples, job_ids)
    return samples[samples["job_id"].isin(job_ids)].reset_index(drop=True) if job_ids else samples


def check_known(source: str, rows: pd.DataFrame, job_ids: list[str]) -> None:
    """Raise SchemaError for a job that the samples, or polls, do not have."""
    missing = sorted(set(job_ids) - set(rows["job_id"]))
    if missing:
        hint = f"mops jobs --store {next((name for name in missing if Path(name).is_file()), source)}"
        raise SchemaError(f"{source} knows nothing of {', '.join(map(repr, missing))}; see: {hint}")


def save(picture: Axes | Figure, path: Path, *, about: str | None = None) -> Path:
    """Write a chart as PNG, SVG or PDF."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SchemaError(f"{path}: expected a file ending in .png, .svg or .pdf")
    return mops.export(picture, path, about=about)


def draw(
    kind: str, samples: pd.DataFrame, *, job_ids: Sequence[str] = (), window: str, tz: str | None, theme: str
) -> Axes | Figure:
    """Draw one chart of samples; of the chosen jobs, of all if none is named."""
    chosen = samples[samples["job_id"].isin(job_ids)] if job_ids else samples
    charts: dict[str, Callable[[], Axes | Figure]] = {
        "progress": lambda: mops.plot_progress(
            chosen, forecast=mops.eta(chosen), record=_record(samples), tz=tz, theme=theme
        ),
        "throughput": lambda: mops.plot_throughput(mops.throughput(chosen, window=window), tz=tz, theme=theme),
        "eta": lambda: mops.plot_eta(mops.eta(chosen), samples=chosen, record=_record(samples), tz=tz, theme=theme),
        "failures": lambda: mops.plot_failure_rate(mops.failure_rate(chosen, window=window), tz=tz, theme=theme),
        "comparison": lambda: mops.plot_comparison(samples, _the_job(samples, job_ids), theme=theme),
        "failures-by-job": lambda: mops.plot_failures_by_job(mops.summary(chosen), theme=theme),
        "timeline": lambda: mops.plot_timeline(mops.summary(chosen), tz=tz, theme=theme),
        "heatmap": lambda: mops.plot_heatmap(_by_period(chosen, "job", window, tz), tz=tz, theme=theme),
        "throughput-by": lambda: mops.plot_throughput_by(_by_period(chosen, None, window, tz), tz=tz, theme=theme),
        "tear-sheet": lambda: mops.tear_sheet(samples, _the_job(samples, job_ids), window=window, tz=tz, theme=theme),
    }
    return charts[kind]()


def _the_job(samples: pd.DataFrame, job_ids: Sequence[str]) -> str:
    """The one job of a chart about one job; of none named, the one that was sampled last."""
    if len(job_ids) > 1:
        raise SchemaError(f"this chart is about one job, got {len(job_ids)}; the others of the store are compared")
    if not job_ids and samples.empty:
        raise SchemaError("there are no samples of any job yet")
    return str(job_ids[0] if job_ids else samples["job_id"].iloc[samples["sampled_at"].argmax()])


def _by_period(samples: pd.DataFrame, by: str | None, window: str, tz: str | None) -> pd.DataFrame:
    """Throughput by periods that are long enough to be few; below a minute none shorter than the window."""
    span = samples["sampled_at"].max() - samples["sampled_at"].min()
    least_s = min(seconds(window, "window"), 60.0)
    periods = (1, 5, 15, 60, 600, 3600)
    every = next((each for each in periods if each >= least_s and not span.total_seconds() > 120 * each), "1D")
    return mops.throughput_by(samples, every=every, by=by, tz=tz or "UTC")


def table(what: str, samples: pd.DataFrame, *, window: str) -> pd.DataFrame:
    """Compute one table of samples."""
    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "samples": lambda: samples,
        "summary": lambda: mops.summary(samples),
        "throughput": lambda: mops.throughput(samples, window=window),
        "eta": lambda: mops.eta(samples),
        "failures": lambda: mops.failure_rate(samples, window=window),
        "anomalies": lambda: mops.anomalies(samples),
        "counting": lambda: mops.counting(samples),
    }
    return tables[what]()


def _jobs(arguments: argparse.Namespace) -> None:
    from mops_analysis.cli.table import console, job_table

    samples = read_chosen(arguments.store, arguments.job_ids)
    if samples.empty:
        print(f"{arguments.store} has no samples yet", file=sys.stderr)
        return
    rows = mops.summary(samples)
    screen = console()
    width = screen.width if screen.is_terminal else None
    screen.print(job_table(rows, most_rows=len(rows), width=width, tz=arguments.tz))
    if not rows["eta"].isna().all():  # a forecast is not shown without its record
        print(f"forecasts: {_record(samples)}", file=sys.stderr)


def _record(samples: pd.DataFrame) -> str:
    return mops.backtest_summary(mops.eta_backtest(samples))


def _chart(arguments: argparse.Namespace) -> None:
    samples, look = mops.read_samples(arguments.store), {"tz": arguments.tz, "theme": arguments.theme}
    check_known(arguments.store, samples, arguments.job_ids)
    picture = draw(arguments.kind, samples, job_ids=arguments.job_ids, window=arguments.window, **look)
    print(save(picture, Path(arguments.out), about=_about(samples, arguments.store)))


def _about(frame: pd.DataFrame, source: str) -> str:
    return f"{len(frame):,} rows of {Path(source).name}"


def _report(arguments: argparse.Namespace) -> None:
    out = arguments.out or f"report.{arguments.format}"
    samples = mops.read_samples(arguments.store)
    check_known(arguments.store, samples, arguments.job_ids)
    if arguments.notebook:
        print(_report_of_notebook(arguments, out))
        return
    look = {"title": arguments.title, "window": arguments.window, "tz": arguments.tz}
    chosen, polls = arguments.job_ids or None, _polls(arguments.store, arguments.job_ids)
    print(mops.report(samples, out, job_ids=chosen, polls=polls, **look))


def _report_of_notebook(arguments: argparse.Namespace, out: str) -> Path:
    from mops_analysis.cli.lab import notebooks
    from mops_analysis.report.notebook import run_notebook

    [notebook] = [path for path in notebooks() if path.name == "06-throughput-report.ipynb"]
    store = str(Path(arguments.store).resolve())
    parameters = {"source": "service", "store": store, "job_ids": arguments.job_ids, "window": arguments.window}
    return run_notebook(notebook, Path(out), parameters={**parameters, "tz": arguments.tz}, title=arguments.title)


def _polls(source: str, job_ids: list[str]) -> pd.DataFrame | None:
    """Every poll of the chosen jobs, where the source is a store."""
    is_store = Path(source).suffix.lower() in (".db", ".sqlite", ".sqlite3")
    return _read_polls(source, job_ids) if is_store else None


def _read_polls(source: str, job_ids: list[str]) -> pd.DataFrame:
    with mops.SampleStore(existing(source)) as store:  # one that is not there would be made
        return store.read_polls(job_ids or None)


def _export(arguments: argparse.Namespace) -> None:
    if arguments.what == "polls":
        frame = _read_polls(arguments.store, arguments.job_ids)
        check_known(arguments.store, frame, arguments.job_ids)
    else:
        samples = read_chosen(arguments.store, arguments.job_ids)
        frame = table(arguments.what, samples, window=arguments.window)
    print(mops.export(frame, arguments.out, about=_about(frame, arguments.store)))

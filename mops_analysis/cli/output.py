"""`mops jobs`, `chart`, `report`, `export`: what comes out of a store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import mops_analysis as mops
from mops_analysis.cli import OK
from mops_analysis.errors import SchemaError
from mops_analysis.metrics import backtest_summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def run(arguments: argparse.Namespace) -> int:
    """Run the command that `arguments` name."""
    commands = {"jobs": _jobs, "chart": _chart, "report": _report, "export": _export}
    commands[arguments.command](arguments)
    return OK


def read_chosen(source: str, job_ids: list[str]) -> pd.DataFrame:
    """Read the samples of the chosen jobs, of all if none is named; SchemaError for a job that is not there."""
    samples = mops.read_samples(source)
    if not job_ids:
        return samples
    missing = sorted(set(job_ids) - set(samples["job_id"]))
    if missing:
        raise SchemaError(
            f"{source} has no samples of {', '.join(map(repr, missing))}; see: mops jobs --store {source}"
        )
    return samples[samples["job_id"].isin(job_ids)].reset_index(drop=True)


def save(axes: Axes, path: Path) -> Path:
    """Write a chart as PNG, SVG or PDF."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SchemaError(f"{path}: expected a file ending in .png, .svg or .pdf")
    axes.figure.get_figure(root=True).savefig(path, dpi=200)
    return path


def draw(kind: str, samples: pd.DataFrame, *, window: str, tz: str | None, theme: str) -> Axes:
    """Draw one chart of samples."""
    charts: dict[str, Callable[[], Axes]] = {
        "progress": lambda: mops.plot_progress(samples, forecast=mops.eta(samples), tz=tz, theme=theme),
        "throughput": lambda: mops.plot_throughput(mops.throughput(samples, window=window), tz=tz, theme=theme),
        "eta": lambda: mops.plot_eta(mops.eta(samples), samples=samples, tz=tz, theme=theme),
        "failures": lambda: mops.plot_failure_rate(mops.failure_rate(samples, window=window), tz=tz, theme=theme),
    }
    return charts[kind]()


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
    rows = mops.summary(samples)
    screen = console()
    screen.print(job_table(rows, most_rows=len(rows), width=screen.width, tz=arguments.tz))
    if not rows["eta"].isna().all():  # a forecast is not shown without its record
        print(f"forecasts: {backtest_summary(mops.eta_backtest(samples))}", file=sys.stderr)


def _chart(arguments: argparse.Namespace) -> None:
    samples = read_chosen(arguments.store, arguments.job_ids)
    axes = draw(arguments.kind, samples, window=arguments.window, tz=arguments.tz, theme=arguments.theme)
    print(save(axes, Path(arguments.out)))


def _report(arguments: argparse.Namespace) -> None:
    samples = read_chosen(arguments.store, arguments.job_ids)
    print(mops.report(samples, arguments.out, title=arguments.title, tz=arguments.tz))


def _export(arguments: argparse.Namespace) -> None:
    if arguments.what == "polls":
        with mops.SampleStore(arguments.store) as store:
            frame = store.read_polls(arguments.job_ids or None)
    else:
        samples = read_chosen(arguments.store, arguments.job_ids)
        frame = table(arguments.what, samples, window=arguments.window)
    print(mops.export(frame, arguments.out))

"""`mops demo`: the whole way once, from one HTTP GET to a report, without an account."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

import mops_analysis as mops
from mops_analysis.cli import CHARTS, OK
from mops_analysis.cli.output import draw, save, table
from mops_analysis.cli.table import LiveTable, console, job_table
from mops_analysis.errors import StoreError
from mops_analysis.sampler import Sampler

# Six jobs that an analyst meets: one that is simply fine, and five that are not.
_STORIES = (
    "clean-import",
    "slow-warm-up",
    "import-then-enrichment",
    "failure-burst",
    "counter-reset",
    "cancelled",
)
_INTERVAL_S = 0.2
_WINDOW = "4s"  # 22 s or so is all that a job takes
_TIMEOUT_S = 45.0
_TABLES = ("summary", "samples", "throughput", "eta", "failures", "anomalies")


def run(arguments: argparse.Namespace) -> int:
    """Sample six simulated jobs into a folder, with tables, charts and a report."""
    from mops_analysis.simulator import Simulator

    folder = Path(arguments.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; choose another folder with --out") from None
    started = time.monotonic()
    path = folder / f"samples-{time.strftime('%Y%m%dT%H%M%S')}.db"
    with Simulator(speed=arguments.speed, stories=_STORIES) as simulator, mops.SampleStore(path) as store:
        print(f"six simulated jobs at {simulator.url}, {arguments.speed:g} times as fast as real ones", file=sys.stderr)
        with mops.JobStatusClient(base_url=simulator.url) as client:
            _sample(Sampler(client, store, _INTERVAL_S), simulator.job_ids, store)
        samples = store.read_samples()
        samples["label"] = samples["job_id"].map(simulator.labels).astype("string")
        _write(samples, store.read_polls(), folder, arguments.tz)
    screen = console(stderr=True)
    width = screen.width if screen.is_terminal else None
    screen.print(job_table(mops.summary(samples), width=width, tz=arguments.tz))
    took_s = time.monotonic() - started
    print(f"{len(samples):,} samples, tables and charts in {took_s:.0f} s; open report.html first, in", file=sys.stderr)
    print(folder.resolve())
    return OK


def _sample(sampler: Sampler, job_ids: list[str], store: mops.SampleStore) -> None:
    sampler.start(job_ids, _TIMEOUT_S)
    try:
        if sys.stderr.isatty():
            with LiveTable(sampler, store) as live:
                while not sampler.wait(0.25):
                    live.show()
        else:
            while not sampler.wait(5.0):
                ended = sum(row.outcome != "running" for row in sampler.outcomes())
                print(f"sampling: {ended} of {len(job_ids)} jobs have ended", file=sys.stderr)
    finally:
        sampler.stop()
    if sampler.error is not None:
        raise sampler.error


def _write(samples: pd.DataFrame, polls: pd.DataFrame, folder: Path, tz: str | None) -> None:
    for what in _TABLES:
        mops.export(table(what, samples, window=_WINDOW), folder / f"{what}.csv")
    for kind in CHARTS:
        axes = draw(kind, samples, window=_WINDOW, tz=tz, theme="light")
        for suffix in ("png", "svg"):
            save(axes, folder / f"{kind}.{suffix}")
    path, title = folder / "report.html", "Demo: six simulated jobs"
    mops.report(samples, path, title=title, polls=polls, window=_WINDOW, tz=tz)

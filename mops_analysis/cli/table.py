"""Tables of jobs for the terminal: the live one of `mops watch`, and the last one of `mops demo`."""

from __future__ import annotations

import sys
import time
from datetime import datetime, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mops_analysis.charts.clock import duration_text, zone_of
from mops_analysis.charts.palette import LIGHT, status_colour, status_mark
from mops_analysis.metrics import backtest_summary, eta_backtest, summary
from mops_analysis.sampler import Sampler

if TYPE_CHECKING:
    from mops_analysis.store import SampleStore


def console(*, stderr: bool = False) -> Console:
    """Return a console; a file or a pipe has no edge to fold at."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 240)


class LiveTable:
    """A table on stderr of how the watch of each job stands; a context manager."""

    #: The metrics are computed anew this often [s], more rarely where they take long: polls come first.
    refresh_s = 1.0
    _MOST_BUSY = 0.2  # of the time

    def __init__(self, sampler: Sampler, store: SampleStore) -> None:
        self._sampler = sampler
        self._store = store
        self._console = console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._next = 0.0

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self) -> None:
        """Bring the table up to date, at most once per `refresh_s` unless all jobs have ended."""
        begun = time.monotonic()
        if begun < self._next and self._sampler.running:
            return
        outcomes = {row.job_id: row for row in self._sampler.outcomes()}
        samples = self._store.read_samples(outcomes)
        rows = summary(samples)
        notes = {
            job_id: row.outcome.replace("_", " ") if row.outcome not in ("running", "ended") else row.fault or ""
            for job_id, row in outcomes.items()
        }
        table = job_table(rows, notes=notes, most_rows=max(3, self._console.height - 6), width=self._console.width)
        if rows["eta"].notna().any():  # a forecast is not shown without its record
            record = f"forecasts: {backtest_summary(eta_backtest(samples))}"
            table.caption = f"{table.caption}; {record}" if table.caption else record
        self._live.update(table, refresh=True)
        took_s = time.monotonic() - begun
        self._next = begun + max(self.refresh_s, took_s / self._MOST_BUSY)


def job_table(
    rows: pd.DataFrame,
    *,
    notes: dict[str, str] | None = None,
    most_rows: int = 100,
    width: int = 120,
    tz: str | tzinfo | None = None,
) -> Table:
    """Build the table of a summary: running jobs first, bars where there is room for them."""
    zone = zone_of(tz)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("job", min_width=12)  # the only one that gives way where the terminal is narrow
    table.add_column("status", no_wrap=True)
    has_bars = width >= 110
    if has_bars:
        table.add_column("", no_wrap=True)
    for name in ("done", "items", "failed", "items/s"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column(f"ready, {_zone_name(zone)}", no_wrap=True)
    table.add_column("note", overflow="fold")
    ordered = rows.sort_values(["terminal", "job_id"], kind="stable")
    for row in ordered.head(most_rows).to_dict("records"):
        name, status, *numbers = _cells(row, zone)
        bar = [_bar(row["share_done"])] if has_bars else []
        table.add_row(name, status, *bar, *numbers, (notes or {}).pop(row["job_id"], ""))
    for job_id, note in list((notes or {}).items())[: max(0, most_rows - len(rows))]:
        if job_id not in set(rows["job_id"]):
            table.add_row(job_id, "no sample yet", *[""] * (5 + has_bars), note)
    if len(ordered) > most_rows:
        table.caption = f"and {len(ordered) - most_rows} more jobs"
    return table


def _cells(row: dict[Any, Any], zone: tzinfo) -> list[Any]:
    status = row["status"]
    share = row["share_done"]
    label = row.get("label", pd.NA)
    return [
        Text(
            row["job_id"][:40] if pd.isna(label) else f"{label[:40]} ({row['job_id'][:30]})",
            no_wrap=True,
            overflow="ellipsis",
        ),
        Text(f"{status_mark(status)} {status[:24]}", style=status_colour(status, LIGHT)),
        _number(share, "{:.0%}"),
        f"{row['finished_items']:,.0f}",
        f"{row['failed_items']:,.0f}",
        _number(_rate(row), "{:,.1f}"),
        _ready(row, zone),
    ]


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=0.0 if pd.isna(share) else min(share, 1.0), width=16)


def _rate(row: dict[Any, Any]) -> float:
    # The newest window, where one is covered and the job still runs; else the mean.
    has_window = not row["terminal"] and pd.notna(row["last_items_per_s"])
    return float(row["last_items_per_s"] if has_window else row["mean_items_per_s"])


def _zone_name(zone: tzinfo) -> str:
    now = datetime.now(zone)
    name, offset = getattr(zone, "key", now.tzname()), now.strftime("%z")
    return "UTC" if name == "UTC" else f"{name} (UTC{offset[:3]}:{offset[3:]})"


def _number(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def _ready(row: dict[Any, Any], zone: tzinfo) -> str:
    if row["terminal"]:
        return f"took {duration_text(row['elapsed_s'])}" if pd.notna(row["elapsed_s"]) else ""
    if pd.isna(row["eta"]):
        return "estimating" if row["status"] == "in_progress" else ""
    form = "%H:%M" if row["remaining_s"] > 600 else "%H:%M:%S"
    moments = [row[name].tz_convert(zone).strftime(form) for name in ("eta", "eta_low", "eta_high")]
    return f"{moments[0]} ({moments[1]}–{moments[2]})"

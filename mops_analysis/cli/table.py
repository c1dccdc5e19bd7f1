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


# What fits into so many characters: progress bars beside all columns; all columns; failures and rates.
_BARS, _ALL, _RATES = 134, 116, 72


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
    width: int | None = None,
    tz: str | tzinfo | None = None,
) -> Table:
    """Build the table of a summary, running jobs first, with the columns that fit; None is a log: all, and no bars."""
    zone, notes = zone_of(tz), dict(notes or {})
    has_all = width is None or width >= _ALL
    columns = ["status", "bar", "done", "items", "failed", "items/s", "ready", "note"]
    left_out = set() if any(notes.values()) else {"note"}
    if width is None or width < _BARS:
        left_out.add("bar")
    if not has_all:
        left_out |= {"items", "note"}
    if width is not None and width < _RATES:
        left_out |= {"failed", "items/s"}
    shown = [name for name in columns if name not in left_out]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("job", min_width=12)  # the only one that gives way where the terminal is narrow
    for name in shown:
        header = {"bar": "", "ready": f"ready, {_zone_name(zone, is_short=not has_all)}"}.get(name, name)
        if name in ("done", "items", "failed", "items/s"):
            table.add_column(header, justify="right", no_wrap=True, min_width=len(name))
        else:
            table.add_column(header, no_wrap=True)
    ordered = rows.sort_values(["terminal", "job_id"], kind="stable")
    for row in ordered.head(most_rows).to_dict("records"):
        note = notes.pop(row["job_id"], "")
        cells = {**_cells(row, zone, has_middle=has_all), "note": note}
        if note and not has_all:  # what went wrong matters more than when it is ready
            cells["ready"] = note
        table.add_row(_name(row), *(cells[name] for name in shown))
    for job_id, note in list(notes.items())[: max(0, most_rows - len(rows))]:
        if job_id not in set(rows["job_id"]):
            cells = {"status": "no sample yet", "note" if "note" in shown else "ready": note}
            table.add_row(job_id, *(cells.get(name, "") for name in shown))
    if len(ordered) > most_rows:
        table.caption = f"and {len(ordered) - most_rows} more jobs"
    return table


def _name(row: dict[Any, Any]) -> Text:
    label = row.get("label", pd.NA)
    text = row["job_id"][:40] if pd.isna(label) else f"{label[:40]} ({row['job_id'][:30]})"
    return Text(text, no_wrap=True, overflow="ellipsis")


def _cells(row: dict[Any, Any], zone: tzinfo, *, has_middle: bool) -> dict[str, Any]:
    status = row["status"]
    share = row["share_done"]
    return {
        "status": Text(f"{status_mark(status)} {status[:24]}", style=status_colour(status, LIGHT)),
        "bar": _bar(share),
        "done": _number(share, "{:.0%}"),
        "items": f"{row['finished_items']:,.0f}",
        "failed": f"{row['failed_items']:,.0f}",
        "items/s": _number(_rate(row), "{:,.1f}"),
        "ready": _ready(row, zone, has_middle=has_middle),
    }


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=0.0 if pd.isna(share) else min(share, 1.0), width=16)


def _rate(row: dict[Any, Any]) -> float:
    # The newest window, where one is covered and the job still runs; else the mean.
    has_window = not row["terminal"] and pd.notna(row["last_items_per_s"])
    return float(row["last_items_per_s"] if has_window else row["mean_items_per_s"])


def _zone_name(zone: tzinfo, *, is_short: bool) -> str:
    now = datetime.now(zone)
    name, offset = getattr(zone, "key", now.tzname()), now.strftime("%z")
    if name == "UTC":
        return "UTC"
    offset = f"UTC{offset[:3]}:{offset[3:]}"
    return offset if is_short else f"{name} ({offset})"


def _number(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def _ready(row: dict[Any, Any], zone: tzinfo, *, has_middle: bool) -> str:
    if row["terminal"]:
        return f"took {duration_text(row['elapsed_s'])}" if pd.notna(row["elapsed_s"]) else ""
    if pd.isna(row["eta"]):
        return "estimating" if row["status"] == "in_progress" else ""
    form = "%H:%M" if row["remaining_s"] > 600 else "%H:%M:%S"
    middle, low, high = (row[name].tz_convert(zone).strftime(form) for name in ("eta", "eta_low", "eta_high"))
    return f"{middle} ({low}–{high})" if has_middle else f"{low}–{high}"

"""Progress bars of a watch, in the terminal or the notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mops_analysis.schema import status_word

if TYPE_CHECKING:
    from mops_analysis.sampler import Outcome

    Outcomes = Callable[[], list[Outcome]]

#: More jobs than this share one bar.
MOST_BARS = 20


@contextlib.contextmanager
def progress_bars(*, show: bool) -> Iterator[Callable[[Outcomes], None]]:
    """Give a function that brings the bars up to date; it asks for the outcomes where it shows them."""
    if not show:
        yield _show_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as bars:
        tasks = {}

        def update(outcomes: Outcomes) -> None:
            for name, share, text in _lines(outcomes()):
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=1.0, text=text)
                bars.update(tasks[name], completed=share, text=text)

        yield update


def _show_nothing(_: Outcomes) -> None:
    pass


def _lines(outcomes: list[Outcome]) -> list[tuple[str, float, str]]:
    if len(outcomes) <= MOST_BARS:
        return [(row.job_id, _share(row), _text(row)) for row in outcomes]
    ended = sum(row.outcome != "running" for row in outcomes)
    failures = sum(row.failures for row in outcomes)
    share = sum(map(_share, outcomes)) / len(outcomes)
    return [(f"{len(outcomes)} jobs", share, f"{ended} ended, {failures} polls failed")]


def _share(row: Outcome) -> float:
    # For the length of a bar the service's own percentage is good enough; forecasts use the counters.
    percentage = 0.0 if row.status is None else row.status.progress_percentage
    return min(max(percentage / 100, 0.0), 1.0)


def _text(row: Outcome) -> str:
    if row.fault is not None:
        return f"{row.fault}, {row.failures} of {row.polls} polls failed"
    if row.status is None:
        return "waiting for the first reply"
    counts = f"{row.status.processed_items:,} of {row.status.total_items:,} items"
    failed = f", {row.status.failed_items:,} failed" if row.status.failed_items else ""
    word = status_word(row.status.status) if row.outcome in ("running", "ended") else row.outcome
    return f"{word[:40]}  {counts}{failed}"

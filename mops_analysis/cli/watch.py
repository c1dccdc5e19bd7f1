"""`mops watch`: sample jobs until every one has ended."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import FrameType
from typing import NoReturn

from mops_analysis.cli import BAD_END, INTERRUPTED, OK, exit_code_of
from mops_analysis.client import JobStatusClient
from mops_analysis.errors import PERMANENT_FAULTS, POLL_FAULTS
from mops_analysis.sampler import Outcome, Sampler
from mops_analysis.schema import GOOD_STATUSES, status_word
from mops_analysis.store import SampleStore

# What an analyst must hear of first when several jobs end in different ways.
_MOST_URGENT = (3, 4, 6, 130, 5, 7, 0)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(arguments: argparse.Namespace) -> int:
    """Sample, show, and print one JSON object per job."""
    with (
        _interruptible(),
        SampleStore(arguments.store) as store,
        JobStatusClient.from_env(
            deadline_s=arguments.deadline, read_timeout_s=min(arguments.read_timeout, arguments.deadline)
        ) as client,
    ):
        sampler = Sampler(client, store, arguments.interval)
        try:
            sampler.start(arguments.job_ids, arguments.timeout)
            with _display(sampler, store) as show:
                while not sampler.wait(0.25):
                    show()
        except KeyboardInterrupt:
            pass  # what was seen is printed all the same
        finally:
            _ignore_signals()
            sampler.stop()
        outcomes = sampler.outcomes()
        for outcome in outcomes:
            print(json.dumps(_as_json(outcome)))
        sys.stdout.flush()
        if sampler.error is not None:
            raise sampler.error
    _say_what_next(outcomes, arguments.store)
    codes = [_exit_code(outcome, fail_on_review=arguments.fail_on_review) for outcome in outcomes]
    return min(codes, key=_MOST_URGENT.index, default=INTERRUPTED)


def _say_what_next(outcomes: list[Outcome], store: str) -> None:
    for kind in sorted({each.outcome for each in outcomes} & PERMANENT_FAULTS):
        job_ids = [each.job_id for each in outcomes if each.outcome == kind]
        others = f" and {len(job_ids) - 3:,} more" if len(job_ids) > 3 else ""
        named = ", ".join(_shown(job_id) for job_id in job_ids[:3]) + others
        print(f"mops: {named}: {POLL_FAULTS[kind]}; what is configured says: mops doctor", file=sys.stderr)
    option = "" if store == "samples.db" else f" --store {store}"
    if any(each.status is not None for each in outcomes):
        on = "the same command goes on; " if any(each.outcome in ("stopped", "timed_out") for each in outcomes) else ""
        print(f"the samples are in {store}; {on}next: mops report{option}", file=sys.stderr)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    # SIGTERM is taken like Ctrl-C.
    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    # A second Ctrl-C does not cut short what takes less than a second anyway.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _exit_code(outcome: Outcome, *, fail_on_review: bool) -> int:
    if outcome.outcome == "awaiting_review":
        return BAD_END if fail_on_review else OK
    if outcome.outcome == "ended" and outcome.status is not None:
        return OK if status_word(outcome.status.status) in GOOD_STATUSES else BAD_END
    return exit_code_of(outcome.outcome)


def _as_json(outcome: Outcome) -> dict[str, object]:
    served = {} if outcome.status is None else asdict(outcome.status)
    return {
        "job_id": outcome.job_id,
        "outcome": outcome.outcome,
        **served,
        "polls": outcome.polls,
        "failures": outcome.failures,
        "detail": outcome.detail,
    }


@contextlib.contextmanager
def _display(sampler: Sampler, store: SampleStore) -> Iterator[Callable[[], None]]:
    if sys.stderr.isatty():
        from mops_analysis.cli.table import LiveTable

        with LiveTable(sampler, store) as table:
            yield table.show
            table.show()
    else:
        lines = _Lines(sampler)
        yield lines.show
        lines.show()


class _Lines:
    # For logs: a line when a job's status or trouble changes, and a sign of life every half minute.
    every_s = 30.0

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._told: dict[str, str] = {}
        self._last = time.monotonic()

    def show(self) -> None:
        is_due = time.monotonic() - self._last >= self.every_s
        for outcome in self._sampler.outcomes():
            state = _state(outcome)
            if state != self._told.get(outcome.job_id) or (is_due and outcome.outcome == "running"):
                self._told[outcome.job_id] = state
                self._last = time.monotonic()
                print(f"{time.strftime('%H:%M:%S%z')}  {outcome.job_id}  {state}{_counts(outcome)}", file=sys.stderr)


def _state(outcome: Outcome) -> str:
    word = "" if outcome.status is None else _shown(status_word(outcome.status.status))
    if outcome.outcome not in ("running", "ended"):
        end = outcome.outcome.replace("_", " ")
        word = f"{end}, last status {word}" if word else end
    if outcome.fault == outcome.outcome:
        return f"{word}: {outcome.detail}"
    fault = "" if outcome.fault is None else f"{outcome.fault}: {outcome.detail}"
    return ", ".join(part for part in (word, fault) if part) or "waiting for the first reply"


def _shown(text: str) -> str:
    # Control characters could steer the terminal.
    return "".join(letter if letter.isprintable() else " " for letter in text[:60])


def _counts(outcome: Outcome) -> str:
    if outcome.status is None:
        return ""
    status = outcome.status
    return f"  {status.processed_items:,} of {status.total_items:,} items, {status.failed_items:,} failed"

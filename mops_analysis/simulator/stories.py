"""Job stories: what the service would say about a job at each second of its life.

A story is a script: a function that writes one job's life down, step by step. The whole life follows from the story's
name, the seed and the job's number; asking for a second of it changes nothing. So the answers depend on neither who
polls nor when, and the same seed always tells the same stories.

The counts of most stories are disjoint: `processed_items` are the successful ones, and a job that finished with
failures ends below 100 %. The service's documents also allow the other reading; `inclusive-counts` follows that one.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mops_analysis.schema import JobStatus

__all__ = ["STORIES", "Story"]


class _Moment(NamedTuple):
    at_s: float
    status: str
    progress_percentage: float
    processed_items: int
    total_items: int
    failed_items: int


class _Life:
    """One job's life while it is being written down, in simulated seconds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.moments: list[_Moment] = []
        self._at_s = 0.0
        self._status = "pending"
        self._processed = self._total = self._failed = 0
        self._drift = 0.0

    def queue(self, items: int) -> int:
        """Wait as pending; jobs of one story differ in size and in how long they wait. Gives the size."""
        self._total = round(items * self.rng.uniform(0.85, 1.2))
        self._note()
        self.idle(60)
        self.enter("in_progress")
        return self._total

    def enter(self, status: str) -> None:
        self._status = status
        self._note()

    def idle(self, about_s: float) -> None:
        self._at_s += about_s * self.rng.uniform(0.6, 1.4)

    def set_total(self, items: int) -> None:
        self._total = items
        self._note()

    def reset(self) -> None:
        self._processed = self._failed = 0
        self._note()

    def work(self, items: float, items_per_s: float, failure_rate: float = 0.0, batch: int = 20) -> None:
        """Finish items batch by batch: uneven batches, a drifting pace, now and then a batch with a very slow item."""
        left = round(items)
        while left > 0:
            size = min(left, self.rng.randint(max(1, batch // 2), batch))
            self._drift = 0.9 * self._drift + self.rng.gauss(0.0, 0.1)
            cost_s = size / items_per_s * math.exp(self._drift) * self.rng.lognormvariate(-0.03, 0.25)
            self._at_s += cost_s * (3.0 if self.rng.random() < 0.02 else 1.0)
            failures = sum(self.rng.random() < failure_rate for _ in range(size))
            self._failed += failures
            self._processed += size - failures
            self._note()
            left -= size

    def _note(self) -> None:
        percentage = _percentage(self._processed, self._total)
        self.moments.append(_Moment(self._at_s, self._status, percentage, self._processed, self._total, self._failed))


def _percentage(processed: int, total: int) -> float:
    return round(100 * processed / total, 2) if total else 0.0


# How a moment is served: most stories as it is, some in one of the service's odd ways.


def _as_is(moment: _Moment) -> _Moment:
    return moment


def _inclusive(moment: _Moment) -> _Moment:
    processed = moment.processed_items + moment.failed_items
    return moment._replace(processed_items=processed, progress_percentage=_percentage(processed, moment.total_items))


def _whole_percent(moment: _Moment) -> _Moment:
    return moment._replace(progress_percentage=int(moment.progress_percentage))


def _upper_case(moment: _Moment) -> _Moment:
    return moment._replace(status=moment.status.upper())


def _without_total(moment: _Moment) -> _Moment:
    return moment._replace(total_items=0, progress_percentage=0.0)


def _percent_only(moment: _Moment) -> _Moment:
    return moment._replace(processed_items=0, total_items=0, failed_items=0)


@dataclass(frozen=True, slots=True)
class Story:
    """One kind of job.

    Attributes
    ----------
    name
        Key in `STORIES`, and what its job ids begin with.
    title
        The same in human words.
    """

    name: str
    title: str
    _script: Callable[[_Life], None]
    _served: Callable[[_Moment], _Moment] = _as_is

    def status_at(self, t_s: float, *, number: int = 1, seed: int = 0) -> JobStatus:
        """Say what the service would answer at one moment of a job's life.

        Parameters
        ----------
        t_s
            Simulated time since the job was created [s].
        number
            Which of the story's jobs; each has its own size, pace and luck.
        seed
            Another seed, other jobs.

        Returns
        -------
        JobStatus
            The reply; its `job_id` is the story's name and the number.

        Examples
        --------
        >>> STORIES["clean-import"].status_at(0.0).status
        'pending'
        >>> STORIES["clean-import"].status_at(3 * 3600.0).progress_percentage
        100.0
        """
        times_s, moments = _life(self.name, number, seed)
        moment = moments[max(0, bisect_right(times_s, t_s) - 1)]
        return JobStatus(
            job_id=f"{self.name}-{number}",
            status=moment.status,
            progress_percentage=moment.progress_percentage,
            processed_items=moment.processed_items,
            total_items=moment.total_items,
            failed_items=moment.failed_items,
        )

    def duration_s(self, *, number: int = 1, seed: int = 0) -> float:
        """Say when a job of this story changes for the last time, in simulated seconds since its creation."""
        return _life(self.name, number, seed)[0][-1]


# A load test keeps thousands of jobs in play; a life is some 100 moments.
@lru_cache(maxsize=10_000)
def _life(name: str, number: int, seed: int) -> tuple[tuple[float, ...], tuple[_Moment, ...]]:
    story = STORIES[name]
    life = _Life(random.Random(f"{name} {number} {seed}"))  # noqa: S311  nothing here is secret
    story._script(life)
    return tuple(moment.at_s for moment in life.moments), tuple(map(story._served, life.moments))


def _clean_import(life: _Life) -> None:
    life.work(life.queue(1500), items_per_s=1.0)
    life.enter("completed")


def _slow_warm_up(life: _Life) -> None:
    items = life.queue(900)
    for warming, items_per_s in ((50, 0.1), (40, 0.2), (70, 0.5)):
        life.work(warming, items_per_s, failure_rate=0.006, batch=10)
    life.work(items - 160, 1.0, failure_rate=0.006)
    life.enter("completed")


def _rate_limited(life: _Life) -> None:
    items = life.queue(1500)
    early, throttled = round(items * 0.5), round(items * 0.12)
    life.work(early, 1.2)
    life.work(throttled, 0.2, batch=10)
    life.work(items - early - throttled, 1.2)
    life.enter("completed")


def _import_then_enrichment(life: _Life) -> None:
    items = life.queue(650)
    life.work(items, 1.6, batch=25)
    life.idle(20)
    life.set_total(2 * items)
    life.work(items, 0.45, failure_rate=0.01, batch=10)
    life.enter("completed")


def _failure_burst(life: _Life) -> None:
    items = life.queue(1300)
    early, burst = round(items * 0.45), round(items * 0.12)
    life.work(early, 0.9, failure_rate=0.008)
    life.work(burst, 0.9, failure_rate=0.6)
    life.work(items - early - burst, 0.9, failure_rate=0.008)
    life.enter("partial_success")


def _partial_success(life: _Life) -> None:
    life.work(life.queue(1000), 0.6, failure_rate=0.07)
    life.enter("partial_success")


def _stall_and_recovery(life: _Life) -> None:
    items = life.queue(1200)
    early = round(items * 0.45)
    life.work(early, 1.0, failure_rate=0.01)
    life.idle(660)
    life.work(items - early, 1.0, failure_rate=0.01)
    life.enter("completed")


def _counter_reset(life: _Life) -> None:
    items = life.queue(1000)
    life.work(items * 0.6, 1.0, failure_rate=0.03)
    life.idle(60)
    life.reset()
    life.work(items, 1.0, failure_rate=0.004)
    life.enter("completed")


def _cancelled(life: _Life) -> None:
    life.work(life.queue(2000) * 0.43, 0.6, failure_rate=0.01)
    life.idle(30)
    life.enter("cancelled")


def _stuck_in_review(life: _Life) -> None:
    life.work(life.queue(800) * 0.95, 0.6, failure_rate=0.012)
    life.enter("awaiting_review")


def _reviewed(life: _Life) -> None:
    items = life.queue(800)
    sure = round(items * 0.95)
    life.work(sure, 0.7)
    life.enter("awaiting_review")
    life.idle(600)
    life.enter("in_progress")
    life.work(items - sure, 0.7)
    life.enter("completed")


def _late_total(life: _Life) -> None:
    life.queue(0)
    life.idle(300)
    life.set_total(500)
    life.work(500, 0.4, batch=10)
    life.enter("completed")


def _completed_with_warnings(life: _Life) -> None:
    life.work(life.queue(700), 0.5)
    life.enter("completed_with_warnings")


def _completed_with_failures(life: _Life) -> None:
    life.work(life.queue(1000), 0.7, failure_rate=0.04)
    life.enter("completed")


def _failed(life: _Life) -> None:
    life.work(life.queue(1500) * 0.3, 0.35, failure_rate=0.02)
    life.enter("failed")


def _early_failures(life: _Life) -> None:
    items = life.queue(900)
    life.work(45, 0.6, failure_rate=1.0, batch=45)
    life.work(items - 45, 0.6)
    life.enter("partial_success")


def _stuck_at_100(life: _Life) -> None:
    life.work(life.queue(800), 0.8)
    life.idle(720)
    life.enter("completed")


def _one_step(life: _Life) -> None:
    life.queue(0)
    life.set_total(250)
    life.idle(1200)
    life.work(250, 50.0, batch=500)
    life.enter("completed")


def _single_item(life: _Life) -> None:
    life.queue(1)
    life.work(1, 1 / 300)
    life.enter("completed")


def _empty(life: _Life) -> None:
    life.queue(0)
    life.idle(20)
    life.enter("completed")


def _unknown_status(life: _Life) -> None:
    items = life.queue(900)
    life.work(items, 0.8)
    life.enter("publishing")
    life.idle(400)
    life.enter("completed")


def _steady(life: _Life) -> None:
    life.work(life.queue(900), 0.6)
    life.enter("completed")


#: Every story by its name. The first ten are the ones to show; the others are the service's rarer habits.
STORIES: dict[str, Story] = {
    story.name: story
    for story in (
        Story("clean-import", "clean import", _clean_import),
        Story("slow-warm-up", "slow warm-up", _slow_warm_up),
        Story("rate-limited", "rate-limited half-way", _rate_limited),
        Story("import-then-enrichment", "import, then enrichment", _import_then_enrichment),
        Story("failure-burst", "failure burst", _failure_burst),
        Story("partial-success", "partial success", _partial_success),
        Story("stall-and-recovery", "stall and recovery", _stall_and_recovery),
        Story("counter-reset", "counter reset on retry", _counter_reset),
        Story("cancelled", "cancelled half-way", _cancelled),
        Story("stuck-in-review", "stuck in review", _stuck_in_review),
        Story("reviewed", "reviewed, then completed", _reviewed),
        Story("late-total", "total known late", _late_total),
        Story("completed-with-warnings", "completed with warnings", _completed_with_warnings, _whole_percent),
        Story("completed-with-failures", "completed below 100 %", _completed_with_failures),
        Story("inclusive-counts", "processed includes failed", _partial_success, _inclusive),
        Story("failed", "failed at 30 %", _failed),
        Story("early-failures", "all failures in the first batch", _early_failures),
        Story("stuck-at-100", "long at 100 %", _stuck_at_100),
        Story("one-step", "all items in one step", _one_step),
        Story("single-item", "a single item", _single_item),
        Story("empty", "nothing to do", _empty),
        Story("no-total", "total never known", _steady, _without_total),
        Story("percent-only", "only a percentage", _steady, _percent_only),
        Story("upper-case", "status in upper case", _steady, _upper_case),
        Story("unknown-status", "status of no document", _unknown_status),
    )
}

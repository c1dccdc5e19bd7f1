"""Which job is polled next: the jobs by the time they are due, and the rests of a service that does not answer.

Times are seconds on a monotonic clock, given by the caller, who also holds the lock.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from mops_analysis.sampler import schedule
from mops_analysis.schema import JobStatus


@dataclass(eq=False, slots=True)
class Watch:
    """One job, as the sampler sees it; attributes as in `Outcome` where they are called the same.

    Attributes
    ----------
    due
        When to poll it next, on its grid.
    held_until
        Not polled before that, whatever the grid says.
    last_ns
        Time of its newest poll since the epoch [ns]; the next one must come after it.
    ahead_ns
        What is added to the clock [ns], where it was put back to before the newest poll in the store.
    """

    job_id: str
    due: float
    last_ns: int = 0
    ahead_ns: int = 0
    held_until: float = -math.inf
    outcome: str = "running"
    status: JobStatus | None = None
    polls: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    fault: str | None = None
    detail: str | None = None
    is_polling: bool = False
    is_claimed: bool = True


@dataclass
class PollQueue:
    """The jobs that wait for their next poll.

    Where the service gives no answer, neither a sample nor word that a job is gone, it is asked ever more rarely:

    - Failing jobs, whose last poll gave no sample, wait for one another, longer and longer. They hold up nobody else.
    - Where eight others in a row were asked and no answer has come in the time that one takes, the service itself is in
      doubt, as it is before its first answer. Then all jobs wait for one another, until the next answer; after it they
      come back one by one.

    So nobody suffers from a few broken jobs, and a dead service gets few requests, however many jobs there are.
    """

    rng: random.Random
    _jobs: list[tuple[float, int, Watch]] = field(default_factory=list)
    _failing: list[tuple[float, int, Watch]] = field(default_factory=list)
    _tie: Iterator[int] = field(default_factory=itertools.count)
    # Polls begun since the last answer: of jobs that are not known to fail; of failing ones, and of any while in doubt.
    _asked: int = 0
    _retries: int = 0
    _answer_by: float = -math.inf
    _in_doubt_since: float = math.inf
    _jobs_from: float = -math.inf
    _failing_from: float = -math.inf
    _not_before: float = -math.inf

    def push(self, watch: Watch) -> bool:
        """Take a job in; return whether it may have become the next one."""
        queue = self._failing if watch.fault else self._jobs
        heapq.heappush(queue, (max(watch.due, watch.held_until), next(self._tie), watch))
        return queue[0][2] is watch

    def due(self, watch: Watch) -> float:
        """Return when this job will be polled, if no other one holds it up."""
        return max(watch.due, watch.held_until, self._failing_from if watch.fault else self._jobs_from)

    def next_due(self) -> float:
        """Return when the next job is to be polled; infinity if there is none."""
        due = min((self.due(queue[0][2]) for queue in (self._jobs, self._failing) if queue), default=math.inf)
        return max(due, self._not_before)

    def pop(self, now: float, interval_s: float, max_requests_per_s: float | None) -> Watch:
        """Take the next job out: to be polled now, if its watch has not ended."""
        queues = [queue for queue in (self._jobs, self._failing) if queue]
        watch = heapq.heappop(min(queues, key=lambda queue: self.due(queue[0][2])))[2]
        if watch.outcome == "running":
            self._note_request(watch, now, interval_s)
            if max_requests_per_s is not None:
                self._not_before = max(self._not_before, now) + 1 / max_requests_per_s
        return watch

    def note_answer(self, now: float, interval_s: float, latency_s: float) -> bool:
        """Note that the service knew a job; return whether other jobs are due earlier for it.

        Every rest ends, and those that waited for its end come back one by one.
        """
        has_rested, held_s = self._retries >= schedule.PATIENCE, now - self._in_doubt_since
        self._asked = self._retries = 0
        self._answer_by = schedule.answer_by(now, interval_s, latency_s)
        if not has_rested:
            return False
        self._in_doubt_since = math.inf
        self._jobs_from = self._failing_from = -math.inf
        self._spread(self._failing, now, interval_s)
        if held_s >= 0:  # over more time than they waited; after a moment at once
            self._spread(self._jobs, now, min(interval_s, 4.0 * held_s))
        return True

    def _note_request(self, watch: Watch, now: float, interval_s: float) -> None:
        if not watch.fault:
            self._asked += 1
            if self._asked >= schedule.MOST_UNANSWERED and self._answer_by < now < self._in_doubt_since:
                self._in_doubt_since = now
                self._retries = max(self._retries, schedule.PATIENCE - 1)
        is_in_doubt = self._in_doubt_since <= now
        if watch.fault or is_in_doubt:
            self._retries += 1
            rest = schedule.service_rest(self._retries, interval_s, self.rng)
            self._failing_from = max(self._failing_from, now + rest)  # the others wait for what this one finds
            if is_in_doubt:
                self._jobs_from = now + min(rest, schedule.LONGEST_HOLD * interval_s)

    def _spread(self, queue: list[tuple[float, int, Watch]], now: float, within_s: float) -> None:
        waiting = sorted(entry for entry in queue if entry[0] <= now)
        times = schedule.first_polls(len(waiting), now, within_s, self.rng)
        for (_, _, watch), time in zip(waiting, times, strict=True):
            watch.held_until = time
            if watch.fault:  # it has no grid: chance moved it with each fault
                watch.due = time
        queue[:] = [(max(watch.due, watch.held_until), tie, watch) for _, tie, watch in queue]
        heapq.heapify(queue)

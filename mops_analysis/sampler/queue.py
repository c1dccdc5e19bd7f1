"""Which job is polled next: the jobs by the time they are due, and the service's rest when it only fails.

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
        When to poll it next.
    last_ns
        Time of its newest poll since the epoch [ns]; the next one must come after it.
    ahead_ns
        What is added to the clock [ns], where it was put back to before the newest poll in the store.
    """

    job_id: str
    due: float
    last_ns: int = 0
    ahead_ns: int = 0
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

    While jobs whose last poll failed are asked again and fail again, and no poll of any job succeeds, the service is
    given longer and longer rests. A rest holds up failing jobs, never the others: so nobody suffers from a broken job,
    and a dead service is asked once about each job, and then about one job after another.
    """

    rng: random.Random
    _jobs: list[tuple[float, int, Watch]] = field(default_factory=list)
    _failing: list[tuple[float, int, Watch]] = field(default_factory=list)
    _tie: Iterator[int] = field(default_factory=itertools.count)
    _retries_in_a_row: int = 0
    _rests_until: float = -math.inf
    _not_before: float = -math.inf

    def push(self, watch: Watch) -> bool:
        """Take a job in; return whether it may have become the next one."""
        queue = self._failing if watch.fault else self._jobs
        heapq.heappush(queue, (watch.due, next(self._tie), watch))
        return queue[0][2] is watch

    def due(self, watch: Watch) -> float:
        """Return when this job will be polled, if no other one holds it up."""
        return max(watch.due, self._rests_until) if watch.fault else watch.due

    def next_due(self) -> float:
        """Return when the next job is to be polled; infinity if there is none."""
        due = min((self.due(queue[0][2]) for queue in (self._jobs, self._failing) if queue), default=math.inf)
        return max(due, self._not_before)

    def pop(self, now: float, interval_s: float, max_requests_per_s: float | None) -> Watch:
        """Take the next job out, to be polled now."""
        queues = [queue for queue in (self._jobs, self._failing) if queue]
        watch = heapq.heappop(min(queues, key=lambda queue: self.due(queue[0][2])))[2]
        if watch.fault:
            self._rest(now, interval_s)  # the others wait for what this one finds
        if max_requests_per_s is not None:
            self._not_before = max(self._not_before, now) + 1 / max_requests_per_s
        return watch

    def note_failed_retry(self, now: float, interval_s: float) -> None:
        """Note that a poll failed, of a job whose last one had failed already."""
        self._retries_in_a_row += 1
        self._rest(now, interval_s)

    def note_sample(self, now: float, interval_s: float) -> None:
        """Note that a poll succeeded: a rest ends, and those that waited for its end come back one by one."""
        has_rested = self._retries_in_a_row >= schedule.PATIENCE
        self._retries_in_a_row = 0
        if has_rested:
            self._rests_until = -math.inf
            waiting = [watch for due, _, watch in self._failing if due <= now]
            times = schedule.first_polls(len(waiting), now, interval_s, self.rng)
            for watch, due in zip(waiting, times, strict=True):
                watch.due = due
            self._failing = [(watch.due, tie, watch) for _, tie, watch in self._failing]
            heapq.heapify(self._failing)

    def _rest(self, now: float, interval_s: float) -> None:
        rest = schedule.service_rest(self._retries_in_a_row, interval_s, self.rng)
        self._rests_until = max(self._rests_until, now + rest)

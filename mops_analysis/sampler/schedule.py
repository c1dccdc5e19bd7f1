"""When to poll next, and when to stop: rules on plain numbers, without a clock of their own.

Times here are seconds on a monotonic clock. A job's polls lie on a grid, `first + k * interval`: a late poll does not
move the later ones, and after a pause (a slow reply, a suspended laptop) at most one poll is made up for.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

from mops_analysis.errors import PERMANENT_FAULTS
from mops_analysis.schema import Poll, status_word

#: No wait after a fault is longer than this [s], unless the service itself asked for more.
LONGEST_BACKOFF_S = 60.0

#: A service that asks for a longer wait than this [s] is not waited for: the job is given up.
LONGEST_RETRY_AFTER_S = 3600.0

#: From so many retries in a row without an answer, over all jobs, failing jobs are asked about more and more rarely.
PATIENCE = 3

#: So many jobs that are not known to fail are asked in a row without an answer before the service itself is in doubt.
MOST_UNANSWERED = 8

#: Such jobs wait for a service in doubt no longer than so many intervals at a time.
LONGEST_HOLD = 6

#: For replies that take so long [s] the first threads are enough; more are started where more are needed.
USUAL_LATENCY_S = 0.2


def first_threads(jobs: int, interval_s: float, most: int) -> int:
    """Return how many threads to start before the first poll is due: as many as replies will be under way.

    By Little's law. Starting them in the rush of the first polls would make those late.
    """
    return max(1, min(most, jobs, math.ceil(jobs * USUAL_LATENCY_S / interval_s)))


def first_polls(jobs: int, now: float, interval_s: float, rng: random.Random) -> Sequence[float]:
    """Spread the first polls of so many jobs evenly over one interval, each a little off by chance."""
    slot = interval_s / max(jobs, 1)
    return [now + slot * (job + rng.uniform(0.0, 0.1)) for job in range(jobs)]


def next_poll(due: float, now: float, interval_s: float) -> float:
    """Return the first time of the job's grid after now."""
    return due + max(1, math.floor((now - due) / interval_s) + 1) * interval_s


def poll_after_fault(
    now: float, interval_s: float, failures: int, retry_after_s: float | None, rng: random.Random
) -> float:
    """Return when to ask again after so many faults in a row (1 or more).

    Without a word from the service: the interval, plus a random share of a wait that doubles with each fault ("full
    jitter"). With one: never earlier than it says, and a little later by chance, so that pollers do not come back
    together.
    """
    wait = interval_s + rng.uniform(0.0, min(LONGEST_BACKOFF_S, interval_s * 2.0 ** min(failures, 32)))
    if retry_after_s is not None:
        wait = max(wait, retry_after_s + rng.uniform(0.0, 0.2 + 0.1 * retry_after_s))
    return now + wait


def service_rest(retries: int, interval_s: float, rng: random.Random) -> float:
    """Return how long no failing job is asked about, after so many retries in a row without an answer [s]."""
    if retries < PATIENCE:
        return 0.0
    longest = min(LONGEST_BACKOFF_S, interval_s * 2.0 ** min(retries - PATIENCE, 32))
    return rng.uniform(longest / 2, longest)


def answer_by(now: float, interval_s: float, latency_s: float) -> float:
    """Return until when another answer should have come: twice the time that this one took, and a little more."""
    return now + 2.0 * latency_s + interval_s / 20.0


def verdict(
    poll: Poll, *, failures: int, retry_after_s: float | None, stop_at_review: bool, max_failures: int | None
) -> str | None:
    """Return how the job's watch ends with this poll, None if it goes on.

    "ended" for a terminal status, "awaiting_review", the fault's kind where asking again is useless, or "gave_up".
    A watch ends on the status, never on 100 %; an unknown status is not terminal.
    """
    if poll.status is not None:
        if poll.status.is_terminal:
            return "ended"
        return "awaiting_review" if stop_at_review and status_word(poll.status.status) == "awaiting_review" else None
    if poll.outcome in PERMANENT_FAULTS:
        return poll.outcome
    too_long = retry_after_s is not None and retry_after_s > LONGEST_RETRY_AFTER_S
    too_often = max_failures is not None and failures >= max_failures
    return "gave_up" if too_long or too_often else None


class UtcClock:
    """UTC that never jumps: the wall clock as it was at the start, carried on by a clock that nobody sets.

    What happens to the wall clock later (it is put right, or wrong) moves no sample. Time in which the machine was
    suspended counts, where the system has a clock that knows of it: Linux and macOS have, Windows' own one does.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - _steady_ns()

    def at(self, monotonic_s: float) -> int:
        """Return UTC at a time of the monotonic clock, since the epoch [ns]."""
        return self._offset_ns + _steady_ns() - (time.monotonic_ns() - round(monotonic_s * 1e9))


# On Linux and macOS Python's monotonic clock stands still while the machine is suspended; these do not.
_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _steady_ns() -> int:
    return time.monotonic_ns() if _STEADY_CLOCK is None else time.clock_gettime_ns(_STEADY_CLOCK)

"""When to poll next and when to stop: rules on plain numbers."""

import random

import pytest

from mops_analysis.sampler import schedule
from mops_analysis.schema import JobStatus, Poll


class Highest(random.Random):
    """Chance at its worst: always the upper end."""

    def uniform(self, a, b):
        return b


class Lowest(random.Random):
    """Chance at its best: always the lower end."""

    def uniform(self, a, b):
        return a


def test_first_polls_are_spread_over_the_interval():
    """Each job has its own slot of the interval and starts in its first tenth; the first job starts at once."""
    assert schedule.first_polls(4, 100.0, 2.0, Lowest()) == pytest.approx([100.0, 100.5, 101.0, 101.5])
    assert schedule.first_polls(4, 100.0, 2.0, Highest()) == pytest.approx([100.05, 100.55, 101.05, 101.55])
    assert schedule.first_polls(0, 100.0, 2.0, Lowest()) == []


@pytest.mark.parametrize(
    ("jobs", "interval_s", "threads"), [(1, 3.0, 1), (15, 3.0, 1), (16, 3.0, 2), (2000, 3.0, 134), (3, 0.02, 3)]
)
def test_first_threads_wait_for_usual_replies(jobs, interval_s, threads):
    """Replies after 0.2 s, 2,000 jobs each 3 s: 133.3 are under way; never more threads than jobs, or than allowed."""
    assert schedule.first_threads(jobs, interval_s, 256) == threads
    assert schedule.first_threads(10_000, 3.0, 256) == 256


@pytest.mark.parametrize(
    ("now", "expected"),
    [(10.0, 13.0), (10.2, 13.0), (12.999, 13.0), (13.0, 16.0), (13.5, 16.0), (610.0, 613.0)],
)
def test_polls_stay_on_their_grid(now, expected):
    """The next poll of a job due at 10, every 3 s, is the first grid time after now: no drift, no burst."""
    assert schedule.next_poll(10.0, now, 3.0) == pytest.approx(expected)


def test_backoff_doubles_with_full_jitter_and_a_cap():
    """After k faults in a row the wait lies between one interval and that plus interval * 2**k, at most a minute."""
    waits = [schedule.poll_after_fault(0.0, 3.0, k, None, Highest()) for k in (1, 2, 3, 10, 1000)]
    assert waits == pytest.approx([9.0, 15.0, 27.0, 63.0, 63.0])
    assert schedule.poll_after_fault(0.0, 3.0, 5, None, Lowest()) == pytest.approx(3.0)


def test_retry_after_is_a_floor():
    """The service's own word is never undercut; chance only adds, so that pollers spread."""
    assert schedule.poll_after_fault(0.0, 3.0, 1, 30.0, Lowest()) == pytest.approx(30.0)
    assert schedule.poll_after_fault(0.0, 3.0, 1, 30.0, Highest()) == pytest.approx(33.2)
    assert schedule.poll_after_fault(0.0, 3.0, 1, 0.0, Lowest()) == pytest.approx(3.0)


def test_a_service_that_only_fails_is_asked_ever_more_rarely():
    """Up to two failed retries in a row pause nobody; from then on the rest doubles, to a minute at most."""
    assert schedule.service_rest(2, 1.0, Highest()) == 0.0
    assert [schedule.service_rest(k, 1.0, Highest()) for k in (3, 4, 5, 99)] == pytest.approx([1, 2, 4, 60])
    assert schedule.service_rest(4, 1.0, Lowest()) == pytest.approx(1.0)


def good(status: str) -> Poll:
    return Poll("job", 0, 0.0, "ok", 200, None, JobStatus("job", status, 100.0, 1, 1, 0))


def bad(kind: str) -> Poll:
    return Poll("job", 0, 0.0, kind)


@pytest.mark.parametrize(
    ("poll", "expected"),
    [
        (good("in_progress"), None),
        (good("pending"), None),
        (good("a word we do not know"), None),
        (good("COMPLETED"), "ended"),
        (good("completed_with_warnings"), "ended"),
        (good("partial_success"), "ended"),
        (good("failed"), "ended"),
        (good("cancelled"), "ended"),
        (good("canceled"), "ended"),
        (good("awaiting_review"), "awaiting_review"),
        (bad("auth"), "auth"),
        (bad("forbidden"), "forbidden"),
        (bad("not_found"), "not_found"),
        (bad("quota"), "quota"),
        (bad("client"), "client"),
        (bad("server"), None),
        (bad("timeout"), None),
        (bad("schema"), None),
    ],
)
def test_what_ends_a_watch(poll, expected):
    """A watch ends on the status, never on 100 %; on faults only where asking again is useless."""
    rules = {"failures": 3, "retry_after_s": None, "stop_at_review": True, "max_failures": None}
    assert schedule.verdict(poll, **rules) == expected


def test_a_watch_can_go_on_through_a_review():
    """With stop_at_review=False a job in review is polled on."""
    rules = {"failures": 0, "retry_after_s": None, "stop_at_review": False, "max_failures": None}
    assert schedule.verdict(good("awaiting_review"), **rules) is None


def test_giving_up():
    """A job is given up after max_failures faults in a row, or when asked to wait for more than an hour."""
    rules = {"stop_at_review": True, "max_failures": 3}
    assert schedule.verdict(bad("server"), failures=2, retry_after_s=3600.0, **rules) is None
    assert schedule.verdict(bad("server"), failures=3, retry_after_s=None, **rules) == "gave_up"
    assert schedule.verdict(bad("server"), failures=1, retry_after_s=3601.0, **rules) == "gave_up"


class Clocks:
    """The system's three clocks [ns], to be set by hand."""

    def __init__(self, monkeypatch):
        self.wall, self.monotonic, self.steady = 1_000_000 * 10**9, 50 * 10**9, 70 * 10**9
        monkeypatch.setattr(schedule.time, "time_ns", lambda: self.wall)
        monkeypatch.setattr(schedule.time, "monotonic_ns", lambda: self.monotonic)
        monkeypatch.setattr(schedule, "_steady_ns", lambda: self.steady)

    def pass_s(self, seconds, *, asleep=False):
        self.wall += seconds * 10**9
        self.steady += seconds * 10**9
        self.monotonic += 0 if asleep else seconds * 10**9


@pytest.mark.parametrize("step_s", [-3600, 86400, 0])
def test_utc_ignores_what_happens_to_the_wall_clock(monkeypatch, step_s):
    """A wall clock that is put back or forward during a watch moves no sample."""
    clocks = Clocks(monkeypatch)
    clock = schedule.UtcClock()
    clocks.wall += step_s * 10**9
    clocks.pass_s(1)
    assert clock.at(51.0) == 1_000_001 * 10**9
    assert clock.at(50.5) == 1_000_000 * 10**9 + 5 * 10**8


def test_utc_counts_the_time_in_which_the_machine_was_suspended(monkeypatch):
    """The monotonic clock stands still during a suspend; the samples after it are that much later all the same."""
    clocks = Clocks(monkeypatch)
    clock = schedule.UtcClock()
    clocks.pass_s(3600, asleep=True)
    clocks.pass_s(1)
    assert clock.at(51.0) == 1_003_601 * 10**9


def test_the_steady_clock_is_the_one_that_runs_on_in_a_suspend(monkeypatch):
    """On Linux that is CLOCK_BOOTTIME; elsewhere CLOCK_MONOTONIC does, where there is one."""
    clock = getattr(schedule.time, "CLOCK_BOOTTIME", getattr(schedule.time, "CLOCK_MONOTONIC", None))
    monkeypatch.setattr(schedule.time, "clock_gettime_ns", {clock: 123}.get)
    monkeypatch.setattr(schedule.time, "monotonic_ns", lambda: 123 if clock is None else 0)
    assert schedule._steady_ns() == 123

"""The order of the polls, and the rests of a service that does not answer: no clock, no threads."""

import heapq
import itertools
import math
import random

import pytest

from mops_analysis.sampler import schedule
from mops_analysis.sampler.queue import PollQueue, Watch


def queue_of(*watches):
    queue = PollQueue(random.Random(1))
    for watch in watches:
        queue.push(watch)
    return queue


def failed(job_id, due):
    return Watch(job_id, due, fault="server")


def ask(queue, now, times, interval_s=1.0, *, answered=False):
    """Ask about the next job so many times in a row, each as soon as it may be; return when each was asked."""
    asked = []
    for _ in range(times):
        now = max(now, queue.next_due())
        asked.append(now)
        queue.pop(now, interval_s, None)
        if answered:
            queue.note_answer(now, interval_s, 0.001)
    return asked


def test_jobs_come_in_the_order_in_which_they_are_due():
    """The job that is due first comes first; an empty queue has none due."""
    queue = queue_of(Watch("late", 3.0), failed("middle", 2.0), Watch("early", 1.0))
    assert queue.next_due() == 1.0
    assert [queue.pop(5.0, 1.0, None).job_id for _ in range(3)] == ["early", "middle", "late"]
    assert queue.next_due() == math.inf


def test_a_rest_holds_up_failing_jobs_only():
    """After eight retries in a row without an answer failing jobs wait longer and longer; the others not at all."""
    queue = queue_of(*(failed(f"broken-{i}", 1.0) for i in range(9)), Watch("healthy", 99.0))
    asked = ask(queue, 1.0, 8)
    assert asked[:3] == [1.0] * 3
    queue.push(Watch("another", asked[-1]))
    assert queue.pop(asked[-1], 1.0, None).job_id == "another"
    assert 16.0 <= queue.next_due() - asked[-1] <= 32.0


def test_after_a_rest_the_jobs_come_back_one_by_one():
    """With an answer the rest ends: those that waited are spread over one interval, nobody comes earlier."""
    queue = queue_of(*(failed(f"job-{i}", 1.0) for i in range(13)), failed("asked to wait", 99.0))
    ask(queue, 1.0, 3)
    assert queue.note_answer(50.0, 1.0, 0.1)
    times = ask(queue, 50.0, 10, answered=True)
    assert 50.0 <= times[0] <= 50.1 < 50.8 < times[-1] <= 51.0
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.2
    assert queue.next_due() == 99.0


def test_a_healthy_job_among_broken_ones_ends_every_rest():
    """Fifty broken jobs and one that is fine: after each of its samples the broken ones are asked again."""
    queue = queue_of(*(failed(f"job-{i}", 1.0) for i in range(50)))
    for now in range(2, 10):
        ask(queue, float(now), 5)
        queue.note_answer(float(now), 1.0, 0.1)
        assert queue.next_due() <= now + 1.0


# ---------------------------------------------------------------- a service in doubt


def fresh(jobs, now=0.0, interval_s=1.0):
    times = schedule.first_polls(jobs, now, interval_s, random.Random(2))
    return queue_of(*(Watch(f"job-{i}", due) for i, due in enumerate(times)))


def test_a_service_that_never_answered_is_in_doubt_after_eight_jobs():
    """Eight jobs are asked at their times; the others wait for one another, six intervals at most."""
    asked = ask(fresh(100), 0.0, 15)
    assert asked[7] <= 0.08
    gaps = [b - a for a, b in itertools.pairwise(asked[7:])]
    for gap, longest in zip(gaps, (1, 2, 4, 6, 6, 6, 6), strict=True):
        assert longest / 2 <= gap <= longest


def test_the_first_answer_opens_the_service_to_all():
    """The jobs that waited come back within four times as long; those not due yet keep their times."""
    queue = fresh(2000, interval_s=3.0)
    assert ask(queue, 0.0, 8, 3.0)[-1] < 0.02
    assert queue.next_due() > 1.5
    assert queue.note_answer(0.3, 3.0, 0.3)
    times = ask(queue, 0.3, 1992, 3.0, answered=True)
    assert times == sorted(times)
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.01
    assert sum(at < 1.5 for at in times) == pytest.approx(1000, abs=20)  # 192 that waited, and 800 whose time it is
    assert 2.99 < times[-1] <= 3.0


def test_a_job_that_waited_goes_on_in_its_own_place():
    """Where a job was held up before the first answer, its next polls lie where they would have been without that."""
    jobs = [Watch(f"job-{i}", 0.001 * i) for i in range(100)]
    queue = queue_of(*jobs)
    ask(queue, 0.0, 8, 3.0)
    assert queue.note_answer(0.3, 3.0, 0.3)
    for number, job in enumerate(jobs[8:], 8):
        assert 0.3 <= queue.due(job) <= 1.5
        assert schedule.next_poll(job.due, queue.due(job) + 0.1, 3.0) == 0.001 * number + 3.0


def test_jobs_without_an_answer_put_the_service_in_doubt_again():
    """No answer for twice the time of the last one: the next job waits. Before that time, or with one, none does."""
    queue = fresh(200, now=10.0)
    queue.note_answer(10.0, 1.0, 0.3)
    late = 10.0 + 2 * 0.3 + 0.05
    asked = ask(queue, 10.0, 140)
    assert sum(at < late for at in asked) == pytest.approx(130, abs=2)
    assert sum(late <= at < late + 5 for at in asked) <= 5
    assert ask(fresh(200, now=10.0), 10.0, 200, answered=True)[-1] < 11.0


def test_a_job_whose_watch_has_ended_is_no_request():
    """Jobs that were removed while they waited do not count as asked."""
    queue = queue_of(*(Watch(f"job-{i}", 1.0, outcome="stopped") for i in range(20)), Watch("job", 1.0))
    assert [queue.pop(1.0, 1.0, None).job_id for _ in range(21)][-1] == "job"
    assert queue.due(Watch("job", 1.0)) == 1.0


def test_a_few_broken_jobs_hold_up_nobody():
    """Seven jobs that break at the same time: the healthy one after them is asked in its time."""
    queue = queue_of(*(Watch(f"broken-{i}", 1.0) for i in range(7)), Watch("healthy", 1.0))
    queue.note_answer(0.0, 1.0, 0.01)
    assert ask(queue, 1.0, 8)[-1] == 1.0


def requests_to_a_dead_service(jobs, reply_s, seed, interval_s=0.2, seconds=10.0):
    """Play a watch of so many jobs with a service that fails each poll after `reply_s`; return the requests."""
    rng = random.Random(seed)
    queue = PollQueue(rng)
    for i, due in enumerate(schedule.first_polls(jobs, 0.0, interval_s, rng)):
        queue.push(Watch(f"job-{i}", due))
    under_way, requests = [], 0
    while True:
        now = min(queue.next_due(), under_way[0][0] if under_way else math.inf)
        if now > seconds:
            return requests
        if under_way and under_way[0][0] == now:
            _, _, watch = heapq.heappop(under_way)
            watch.fault = "server"
            watch.failures_in_a_row += 1
            watch.due = schedule.poll_after_fault(now, interval_s, watch.failures_in_a_row, None, rng)
            queue.push(watch)
        else:
            requests += 1
            heapq.heappush(under_way, (now + reply_s, requests, queue.pop(now, interval_s, None)))


@pytest.mark.parametrize("reply_s", [0.0, 0.01, 0.3, 3.0, 10.0, math.inf])
@pytest.mark.parametrize("jobs", [1, 2, 4, 5, 6, 40, 200, 2000])
def test_a_dead_service_gets_few_requests_however_many_jobs_there_are(jobs, reply_s):
    """At 0.2 s, at most 22 requests in 10 s, at each of thirty seeds: refused at once, or after seconds, or hanging."""
    assert max(requests_to_a_dead_service(jobs, reply_s, seed) for seed in range(30)) <= 22


def test_a_bound_on_requests_holds_for_all():
    """At two requests a second the second job waits half a second."""
    queue = queue_of(Watch("a", 1.0), Watch("b", 1.0))
    queue.pop(1.0, 1.0, 2.0)
    assert queue.next_due() == 1.5

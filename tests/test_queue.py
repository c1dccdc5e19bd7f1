"""The order of the polls, and the rest of a service that only fails: no clock, no threads."""

import itertools
import math
import random

from mops_analysis.sampler.queue import PollQueue, Watch


def queue_of(*watches):
    queue = PollQueue(random.Random(1))
    for watch in watches:
        queue.push(watch)
    return queue


def failed(job_id, due):
    return Watch(job_id, due, fault="server")


def rest(queue, now, retries=7):
    for _ in range(retries):
        queue.note_failed_retry(now, 1.0)


def test_jobs_come_in_the_order_in_which_they_are_due():
    """The job that is due first comes first; an empty queue has none due."""
    queue = queue_of(Watch("late", 3.0), failed("middle", 2.0), Watch("early", 1.0))
    assert queue.next_due() == 1.0
    assert [queue.pop(5.0, 1.0, None).job_id for _ in range(3)] == ["early", "middle", "late"]
    assert queue.next_due() == math.inf


def test_a_rest_holds_up_failing_jobs_only():
    """After seven failed retries in a row failing jobs wait eight to sixteen intervals; the others not at all."""
    queue = queue_of(failed("broken", 1.0), Watch("healthy", 2.0))
    rest(queue, 1.0)
    assert queue.next_due() == 2.0
    assert queue.pop(2.0, 1.0, None).job_id == "healthy"
    assert 9.0 <= queue.next_due() <= 17.0


def test_a_resting_service_is_asked_by_one_failing_job_at_a_time():
    """When the rest is over one failing job is polled, and the next one waits for another rest."""
    queue = queue_of(*(failed(f"job-{i}", 1.0) for i in range(10)))
    rest(queue, 1.0)
    now = queue.next_due()
    queue.pop(now, 1.0, None)
    assert queue.next_due() >= now + 8.0


def test_after_a_rest_the_jobs_come_back_one_by_one():
    """With the first sample the rest ends: those that waited are spread over one interval, nobody comes earlier."""
    queue = queue_of(*(failed(f"job-{i}", 1.0) for i in range(10)), failed("asked to wait", 99.0))
    rest(queue, 1.0)
    queue.note_sample(50.0, 1.0)
    times = []
    for _ in range(11):
        times.append(queue.next_due())
        queue.pop(times[-1], 1.0, None)
    assert times[:10] == sorted(times[:10])
    assert 50.0 <= times[0] <= 50.1 < 50.8 < times[9] <= 51.0
    assert max(b - a for a, b in itertools.pairwise(times[:10])) < 0.2
    assert times[10] == 99.0


def test_a_healthy_job_among_broken_ones_ends_every_rest():
    """Fifty broken jobs and one that is fine: after each of its samples the broken ones are asked again."""
    queue = queue_of(*(failed(f"job-{i}", 1.0) for i in range(50)))
    for now in range(2, 20):
        rest(queue, float(now), retries=50)
        queue.note_sample(float(now), 1.0)
        assert queue.next_due() <= now + 1.0


def test_a_bound_on_requests_holds_for_all():
    """At two requests a second the second job waits half a second."""
    queue = queue_of(Watch("a", 1.0), Watch("b", 1.0))
    queue.pop(1.0, 1.0, 2.0)
    assert queue.next_due() == 1.5

"""Sampler: real time at short intervals, a real store, and a client of a few lines in place of the network."""

import cmath
import math
import os
import signal
import statistics
import threading
import time
import warnings
from collections import defaultdict
from itertools import pairwise

import pytest

import mops_analysis as mops
from mops_analysis.errors import ConnectionFailed, ReplyError
from mops_analysis.sampler import Sampler
from mops_analysis.schema import JobStatus
from mops_analysis.store import SampleStore


class ScriptedClient:
    """Answers the n-th request (from 0) for a job with what `answer(job_id, n)` returns, or raises it."""

    def __init__(self, answer):
        self.answer = answer
        self.times = defaultdict(list)
        self.lock = threading.Lock()

        self.interrupted = threading.Event()

    def interrupt(self, threads):
        self.interrupted.set()

    def fetch_status(self, job_id):
        with self.lock:
            n = len(self.times[job_id])
            self.times[job_id].append(time.monotonic())
        answer = self.answer(job_id, n)
        if isinstance(answer, Exception):
            raise answer
        return answer


def status(job_id, word="in_progress", processed=0, total=10):
    return JobStatus(job_id, word, 100.0 * processed / total, processed, total, 0)


def ends_after(polls):
    """Counts up by one per poll and completes at the given one."""
    return lambda job_id, n: status(job_id, "completed" if n >= polls - 1 else "in_progress", n)


def fault(kind="server", **keywords):
    cls = ConnectionFailed if kind in ("timeout", "connection") else ReplyError
    return cls("trouble", kind=kind, job_id="job", **keywords)


def make(answer, store, **options):
    return Sampler(ScriptedClient(answer), store, **{"interval_s": 0.05, **options})


def test_a_watch_ends_when_every_job_has_ended(store):
    """Each job is polled up to its terminal status and not once more; every poll is in the store."""
    sampler = make(lambda job_id, n: ends_after(3 if job_id == "a" else 5)(job_id, n), store)
    frame = sampler.watch(["a", "b"], progress=False, timeout_s=20)
    assert frame["job_id"].tolist() == ["a", "b"]
    assert frame["outcome"].tolist() == ["ended", "ended"]
    assert frame["status"].tolist() == ["completed", "completed"]
    assert frame["polls"].tolist() == [3, 5]
    assert store.read_samples("b")["processed_items"].tolist() == [0, 1, 2, 3, 4]
    assert not sampler.running
    time.sleep(0.12)
    assert [len(times) for times in sampler.client.times.values()] == [3, 5]


def test_polls_keep_their_cadence(store):
    """Replies that take two fifths of the interval move no later poll: all stay on the grid of the first."""

    def answer(job_id, n):
        time.sleep(0.02)
        return ends_after(40)(job_id, n)

    sampler = make(answer, store)
    sampler.watch("a", progress=False, timeout_s=20)
    turns = [cmath.exp(2j * math.pi * at / 0.05) for at in sampler.client.times["a"]]
    assert abs(sum(turns)) > 0.6 * len(turns)  # with a pause after each reply they would point everywhere: 0


def test_a_slow_job_delays_no_other(store):
    """While one job's reply hangs, another is polled at its own cadence."""
    release = threading.Event()

    def answer(job_id, n):
        if job_id == "slow":
            release.wait(5)
            return status(job_id, "completed")
        if n == 9:
            release.set()
        return ends_after(10)(job_id, n)

    sampler = make(answer, store)
    frame = sampler.watch(["slow", "quick"], progress=False, timeout_s=20)
    assert frame["polls"].tolist() == [1, 10]
    times = sampler.client.times["quick"]
    assert times[-1] - times[0] == pytest.approx(9 * 0.05, abs=0.3)


def test_a_broken_job_is_backed_off_and_disturbs_nobody(store):
    """A job that only fails is asked more and more rarely, the others keep their cadence, every fault is a row."""
    sampler = make(lambda job_id, n: fault() if job_id == "broken" else ends_after(40)(job_id, n), store)
    sampler.start(["broken", "fine"])
    while {row.job_id: row.outcome for row in sampler.outcomes()}["fine"] == "running":
        time.sleep(0.02)
    sampler.stop()
    fine = sampler.client.times["fine"]
    assert statistics.median(after - before for before, after in pairwise(fine)) == pytest.approx(0.05, abs=0.01)
    assert 2 <= len(sampler.client.times["broken"]) <= 20
    polls = store.read_polls("broken")
    assert set(polls["outcome"]) == {"server"}
    assert len(store.read_samples("broken")) == 0


def test_a_dead_service_is_asked_rarely(store):
    """Ten jobs of a service that only fails, at 0.05 s: far fewer requests than the schedule would make."""
    sampler = make(lambda *_: fault("connection"), store)
    frame = sampler.watch([f"job-{i}" for i in range(10)], timeout_s=1.5, progress=False)
    assert set(frame["outcome"]) == {"timed_out"}
    assert 10 <= sum(map(len, sampler.client.times.values())) <= 40  # the schedule would make 300


def test_retry_after_is_kept(store):
    """A job that is asked to wait is not asked earlier."""
    sampler = make(
        lambda job_id, n: fault("rate_limited", retry_after_s=0.4) if n == 0 else ends_after(2)(job_id, n), store
    )
    sampler.watch("a", progress=False, timeout_s=20)
    first, second = sampler.client.times["a"]
    assert second - first >= 0.4


@pytest.mark.parametrize("kind", ["forbidden", "not_found", "quota", "client"])
def test_a_permanent_fault_ends_its_job_only(store, kind):
    """A fault that asking again does not cure ends the job at once; the others go on."""
    sampler = make(
        lambda job_id, n: fault(kind, http_status=400) if job_id == "bad" else ends_after(3)(job_id, n), store
    )
    frame = sampler.watch(["bad", "fine"], progress=False, timeout_s=20)
    assert frame["outcome"].tolist() == [kind, "ended"]
    assert frame["polls"].tolist() == [1, 3]
    assert store.read_polls("bad")["http_status"].tolist() == [400]


def test_jobs_that_are_gone_put_no_service_in_doubt(store):
    """Sixteen jobs of which the service says that they are gone: the job after them is asked in its time."""
    answer = ends_after(1)
    sampler = make(
        lambda job_id, n: answer(job_id, n) if job_id == "fine" else fault("not_found"), store, interval_s=0.5
    )
    began = time.monotonic()
    sampler.watch([*(f"gone-{n}" for n in range(16)), "fine"], progress=False, timeout_s=20)
    assert sampler.client.times["fine"][0] - began < 1.0


def test_a_refused_credential_ends_all(store):
    """After a 401 no job is asked again: the credential is the same for all."""
    sampler = make(lambda job_id, n: fault("auth") if job_id == "a" else status(job_id), store)
    frame = sampler.watch(["a", "b", "c"], progress=False, timeout_s=5)
    assert set(frame["outcome"]) == {"auth"}


def test_a_timeout_is_no_failure_and_a_later_watch_goes_on(store):
    """What was sampled is kept; the next watch of the job adds to the same store, its times after the old ones."""
    sampler = make(lambda job_id, n: status(job_id, processed=n), store)
    frame = sampler.watch("a", timeout_s=0.2, progress=False)
    assert frame["outcome"].tolist() == ["timed_out"]
    kept = len(store.read_samples())
    assert kept == frame["polls"][0] >= 2
    sampler.watch("a", timeout_s=0.2, progress=False)
    samples = store.read_samples()
    assert len(samples) > kept
    assert samples["sampled_at"].is_monotonic_increasing
    assert samples["sampled_at"].is_unique


def test_review_stops_by_default_and_need_not(store):
    """awaiting_review is neither an end nor a failure: polling stops there, unless it is asked to go on."""

    def answer(job_id, n):
        return status(job_id, ["in_progress", "awaiting_review", "completed"][n])

    assert make(answer, store).watch("a", progress=False, timeout_s=20)["outcome"].tolist() == ["awaiting_review"]
    assert make(answer, store, stop_at_review=False).watch("b", progress=False, timeout_s=20)["outcome"].tolist() == [
        "ended"
    ]


def test_an_unknown_status_is_told_once_and_is_no_end(store):
    """A word that we do not know: one warning, and the watch goes on."""
    sampler = make(lambda job_id, n: status(job_id, "completed" if n == 4 else "reticulating"), store)
    with pytest.warns(UserWarning, match="'reticulating' is not one we know") as caught:
        frame = sampler.watch("a", progress=False, timeout_s=20)
    assert len(caught) == 1
    assert frame["outcome"].tolist() == ["ended"]


def test_an_unknown_status_that_has_passed_is_told_all_the_same(store):
    """Between two looks of the caller the job ended: the word is told, nevertheless; a flood of words is not."""
    sampler = make(lambda job_id, n: status(job_id, "completed" if n == 30 else f"word {n}"), store, interval_s=0.01)
    sampler.start("a")
    time.sleep(1)
    with pytest.warns(UserWarning, match="is not one we know") as caught:
        assert sampler.wait(5)
    assert len(caught) == 20


def test_giving_up_after_so_many_faults(store):
    """max_failures bounds the faults in a row."""
    frame = make(lambda *_: fault(), store, max_failures=2).watch("a", progress=False, timeout_s=20)
    assert frame[["outcome", "polls", "failures", "detail"]].values.tolist() == [["gave_up", 2, 2, "trouble"]]


def test_the_request_budget_is_shared(store):
    """max_requests_per_s bounds all jobs together."""
    sampler = make(ends_after(100), store, max_requests_per_s=20)
    sampler.watch([f"job-{i}" for i in range(5)], timeout_s=0.5, progress=False)
    assert 8 <= sum(map(len, sampler.client.times.values())) <= 12


def test_background_add_remove_stop(store):
    """In the background jobs come and go; the caller stays free; stop takes less than a second."""
    sampler = make(lambda job_id, n: status(job_id, processed=n), store)
    sampler.start("a")
    sampler.add(["b", "a"])
    time.sleep(0.2)
    sampler.remove("a")
    polls_of_a = len(sampler.client.times["a"])
    time.sleep(0.2)
    assert len(sampler.client.times["a"]) <= polls_of_a + 1
    assert {row.job_id: row.outcome for row in sampler.outcomes()} == {"a": "stopped", "b": "running"}
    assert 0 <= sampler.outcomes()[1].next_poll_in_s <= 0.05 or math.isnan(sampler.outcomes()[1].next_poll_in_s)
    assert sampler.running
    started = time.monotonic()
    sampler.stop()
    assert time.monotonic() - started < 1
    assert not sampler.running
    assert not [thread for thread in threading.enumerate() if thread.name == "mops-sampler"]
    assert len(store.read_samples("b")) >= 5


def test_a_timeout_ends_a_background_run(store):
    """start() takes a timeout too; wait() says whether all have ended."""
    sampler = make(lambda job_id, n: status(job_id), store)
    sampler.start("a", timeout_s=0.2)
    assert not sampler.wait(0.05)
    assert sampler.wait(1)
    assert [row.outcome for row in sampler.outcomes()] == ["timed_out"]
    sampler.stop()


def test_add_starts_a_sampler_that_has_ended(store):
    """When the last job has ended, add() starts anew."""
    sampler = make(ends_after(2), store)
    sampler.watch("a", progress=False, timeout_s=20)
    sampler.add("b")
    while sampler.running:
        time.sleep(0.02)
    assert store.jobs()["job_id"].tolist() == ["b", "a"]


def test_stop_ends_a_hanging_request(store):
    """A stop during a hanging request interrupts it and returns within a second; there is no row of it."""
    sampler = make(lambda *_: None, store)
    sampler.client.answer = lambda *_: sampler.client.interrupted.wait(10) and fault("connection")
    sampler.start("a")
    while not sampler.client.times["a"]:
        time.sleep(0.01)
    started = time.monotonic()
    sampler.stop()
    assert time.monotonic() - started < 1
    assert not [thread for thread in threading.enumerate() if thread.name == "mops-sampler"]
    assert len(store.read_polls()) == 0


def test_a_stop_loses_no_reply_that_comes_at_once(store):
    """Replies that are under way when it stops, and come within its patience, are in the store; the jobs are free."""
    outcomes = []
    for word, kind in (("in_progress", "stopped"), ("completed", "ended")):
        sampler = make(lambda job_id, _, word=word: time.sleep(0.1) or status(job_id, word, 3), store)
        sampler.start([f"{kind}-{n}" for n in range(3)])
        while len(sampler.client.times) < 3:
            time.sleep(0.005)
        sampler.stop()
        outcomes += [(row.outcome, row.polls, row.status.processed_items) for row in sampler.outcomes()]
        store.claim(sampler.client.times)
        store.release(sampler.client.times)
    assert outcomes == [("stopped", 1, 3)] * 3 + [("ended", 1, 3)] * 3
    assert store.read_samples()["processed_items"].tolist() == [3] * 6


def test_a_job_that_was_removed_gets_no_further_row(store):
    """The reply to a poll that is under way when its job is removed is dropped: the job may be another's by now."""
    sampler = make(lambda job_id, _: time.sleep(0.1) or status(job_id), store)
    sampler.start(["a", "b"])
    while len(sampler.client.times) < 2:
        time.sleep(0.005)
    sampler.remove("a")
    time.sleep(0.2)
    sampler.stop()
    assert set(store.read_polls()["job_id"]) == {"b"}


def test_a_second_start_takes_the_jobs_over(store):
    """A notebook cell that is run again leaves one sampler: the new one takes the jobs of the old one."""
    old = make(lambda job_id, n: status(job_id), store)
    old.start(["a", "b"])
    new = make(lambda job_id, n: status(job_id), store)
    new.start(["a"])
    try:
        assert {row.job_id: row.outcome for row in old.outcomes()} == {"a": "stopped", "b": "running"}
        assert new.running
    finally:
        old.stop()
        new.stop()


def test_an_interrupt_stops_the_watch(store):
    """Ctrl-C: out within a second, no sampler left behind, the samples kept, the job free."""
    sampler = make(lambda job_id, n: status(job_id), store, interval_s=0.02)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sampler.watch("a", progress=False, timeout_s=20)
    assert time.monotonic() - started < 1.3
    assert not sampler.running
    assert len(store.read_samples()) >= 2
    store.claim(["a"])
    store.release(["a"])


def test_a_store_that_cannot_be_written_ends_the_watch(store, monkeypatch):
    """A full disk stops the sampling and is told to the caller; nothing more is asked."""
    sampler = make(lambda job_id, n: status(job_id), store)
    real = store.append

    def full(*polls):
        if len(sampler.client.times["a"]) >= 3:
            raise mops.StoreError("disk is full")
        real(*polls)

    monkeypatch.setattr(store, "append", full)
    with pytest.raises(mops.StoreError, match="disk is full"):
        sampler.watch("a", progress=False, timeout_s=5)
    assert len(store.read_samples()) == 2
    assert len(sampler.client.times["a"]) == 3


def test_a_bug_in_a_worker_reaches_the_caller(store):
    """An error that nobody foresaw is no silence: it ends the watch and is raised there."""
    with pytest.raises(ZeroDivisionError):
        make(lambda *_: ZeroDivisionError("a bug"), store).watch("a", progress=False, timeout_s=5)


def test_a_bad_job_id_is_refused_before_anything_is_sent(store):
    """One unusable id: nothing is asked, for no job."""
    sampler = make(ends_after(1), store)
    with pytest.raises(mops.ConfigurationError, match="job id"):
        sampler.watch(["fine", ""], progress=False, timeout_s=20)
    with pytest.raises(mops.ConfigurationError, match="at least one job id"):
        sampler.watch([], progress=False, timeout_s=20)
    for nothing in (None, 5, [["a"]]):
        with pytest.raises(mops.ConfigurationError, match="job_ids: expected one id or several"):
            sampler.start(nothing)
    assert not sampler.client.times


@pytest.mark.parametrize(
    "options",
    [
        {"interval_s": 0},
        {"interval_s": math.nan},
        {"interval_s": "3"},
        {"interval_s": True},
        {"workers": 0},
        {"workers": 2.5},
        {"max_failures": -1},
        {"max_requests_per_s": "many"},
    ],
)
def test_numbers_must_be_positive(store, options):
    """The message names the option."""
    with pytest.raises(mops.ConfigurationError, match=f"{next(iter(options))}: expected a (whole )?number above zero"):
        make(ends_after(1), store, **options)


@pytest.mark.parametrize("timeout_s", [-1, math.nan, "900", True])
def test_a_timeout_that_is_none(store, timeout_s):
    """It is refused before anything starts: without its end a watch would go on for good."""
    sampler = make(ends_after(1), store)
    for act in (sampler.start, sampler.watch):
        with pytest.raises(mops.ConfigurationError, match="timeout_s: expected seconds"):
            act("a", timeout_s)
    assert not sampler.running
    assert not sampler.client.times


def test_waiting_for_nothing(store):
    """Where no job was ever started, all have ended."""
    assert make(ends_after(1), store).wait(5)


def test_many_jobs_on_few_threads(tmp_path):
    """200 jobs, one poll a second each: all are polled at their cadence, and quick replies need few threads."""
    with SampleStore(tmp_path / "many.db") as store:
        sampler = make(lambda job_id, n: status(job_id, processed=n), store, interval_s=1.0)
        sampler.start([f"job-{i}" for i in range(200)])
        time.sleep(2.5)
        threads, said = sampler.threads, repr(sampler)
        sampler.stop()
        assert 40 <= threads <= 200  # as many as would wait for replies of 0.2 s; on a busy machine more
        assert f"running, 200 jobs, {threads} threads" in said
        counts = [len(times) for times in sampler.client.times.values()]
        assert len(counts) == 200
        assert min(counts) >= 2


def test_a_watch_without_bars_does_not_look(store):
    """Looking at thousands of jobs holds up their polls: without bars it is done once, for what the watch returns."""
    looks = []

    class Watched(mops.Sampler):
        def outcomes(self):
            looks.append(time.monotonic())
            return super().outcomes()

    Watched(make(ends_after(10), store).client, store, interval_s=0.05).watch("a", progress=False)
    assert len(looks) == 1


def test_progress_bars_show_each_job(store, capsys):
    """A watch with bars ends as one without; the last state of each job is on stderr, nothing on stdout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(ends_after(3), store).watch(["job-a", "job-b"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "job-a" in shown.err
    assert "2 of 10 items" in shown.err

"""Sampler: polls many jobs on one schedule and writes every poll to the store. The only clock."""

from __future__ import annotations

import atexit
import math
import random
import threading
import time
import weakref
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Protocol

from mops_analysis.client import check_job_id
from mops_analysis.errors import PERMANENT_FAULTS, ConfigurationError, PollError
from mops_analysis.sampler import schedule
from mops_analysis.sampler.outcome import Outcome, to_frame, warn_of_unknown
from mops_analysis.sampler.queue import PollQueue, Watch
from mops_analysis.sampler.workers import Workers
from mops_analysis.schema import KNOWN_STATUSES, JobStatus, Poll, status_word

if TYPE_CHECKING:
    import pandas as pd

    from mops_analysis.store import SampleStore

__all__ = ["Outcome", "Sampler", "StatusClient"]

#: The most threads that wait for replies at the same time, unless the caller says otherwise.
DEFAULT_WORKERS = 256

# A service that says something new each time is told of no more often than this.
_MOST_UNKNOWN = 20

# Samplers of this process that run in the background: a notebook cell that is run again takes its jobs over.
_RUNNING: weakref.WeakSet[Sampler] = weakref.WeakSet()


class StatusClient(Protocol):
    """What the sampler needs of a client: `JobStatusClient` is one."""

    def fetch_status(self, job_id: str) -> JobStatus:
        """Return the job's status, or raise PollError."""

    def interrupt(self, threads: Collection[threading.Thread]) -> None:
        """End the requests that are under way in these threads."""


class Sampler:
    """Polls jobs on one schedule and writes every poll, good or bad, to the store.

    Each job has its own place in the interval; slow replies wait in threads of their own, so no job delays another.
    A job that has ended is dropped. After faults a job is asked more rarely; after a fault that asking again does not
    cure it is given up, and after a refused credential all are.

    Parameters
    ----------
    client
        Asks for one status: a `JobStatusClient`.
    store
        Takes the polls: a `SampleStore`.
    interval_s
        Time between two polls of a job [s].
    workers
        The most replies waited for at the same time; `threads` says how many it takes.
    max_requests_per_s
        The most requests per second over all jobs; None sets no bound.
    stop_at_review
        Whether a job that waits for a human ("awaiting_review") is dropped; it may wait for days.
    max_failures
        Faults in a row after which a job is given up; None never gives up.

    Raises
    ------
    ConfigurationError
        If a number is not above zero, or one that counts is not whole.

    Examples
    --------
    A job of one item, played three thousand times as fast as life:

    >>> import tempfile
    >>> from mops_analysis import JobStatusClient, SampleStore
    >>> from mops_analysis.simulator import Simulator
    >>> with tempfile.TemporaryDirectory() as folder, Simulator(speed=3000) as service:
    ...     with JobStatusClient(base_url=service.url) as client, SampleStore(f"{folder}/samples.db") as store:
    ...         frame = Sampler(client, store, interval_s=0.05).watch("single-item-1", progress=False)
    >>> frame[["job_id", "outcome", "status"]]
              job_id outcome     status
    0  single-item-1   ended  completed
    """

    def __init__(
        self,
        client: StatusClient,
        store: SampleStore,
        interval_s: float = 3.0,
        *,
        workers: int = DEFAULT_WORKERS,
        max_requests_per_s: float | None = None,
        stop_at_review: bool = True,
        max_failures: int | None = None,
    ) -> None:
        _check_positive("interval_s", interval_s)
        _check_positive("workers", workers, whole=True)
        if max_requests_per_s is not None:
            _check_positive("max_requests_per_s", max_requests_per_s)
        if max_failures is not None:
            _check_positive("max_failures", max_failures, whole=True)
        self.client = client
        self.store = store
        self.interval_s = float(interval_s)
        self.workers = workers
        self.max_requests_per_s = max_requests_per_s
        self.stop_at_review = stop_at_review
        self.max_failures = max_failures
        self._lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self._rng = random.Random()  # noqa: S311  spreads requests, guards nothing
        self._clock = schedule.UtcClock()
        self._watches: dict[str, Watch] = {}
        self._queue = PollQueue(self._rng)
        self._pool = Workers(
            self._lock, self._queue, take=self._take, poll=self._poll, fail=self._fail, most=self.workers
        )
        self._has_broken_off = False  # polls that were under way when it stopped
        self._error: BaseException | None = None
        self._timer: threading.Timer | None = None
        self._unknown: dict[str, str] = {}  # statuses that we do not know, with the first job that had each
        self._told: set[str] = set()  # those that the caller was warned of

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"running, {len(self._watches)} jobs, {self.threads} threads" if self.running else "not running"
        return f"Sampler({self.store!r}, interval_s={self.interval_s:g}, {state})"

    @property
    def running(self) -> bool:
        """Whether there is a job left to poll, and nobody has stopped the sampler."""
        return bool(self._pool.threads) and not self._pool.stopping.is_set()

    @property
    def threads(self) -> int:
        """How many threads there are: enough for replies after 0.2 s, more once more were needed, `workers` at most."""
        return len(self._pool.threads)

    @property
    def error(self) -> BaseException | None:
        """What ended the sampling of all jobs at once, such as a full disk; None while all is well."""
        return self._error

    # -- the caller's side ----------------------------------------------------------------------------------------

    def watch(
        self, job_ids: str | Iterable[str], timeout_s: float | None = 900.0, *, progress: bool = True
    ) -> pd.DataFrame:
        """Sample jobs until each has ended; an interrupt (Ctrl-C) stops it, and what was sampled is in the store.

        Parameters
        ----------
        job_ids
            One job or several.
        timeout_s
            The longest time to watch [s]; None has no end. A job that runs on is "timed_out": no failure, and a later
            watch goes on in the same store.
        progress
            Whether progress bars are shown, in the terminal or the notebook.

        Returns
        -------
        DataFrame
            One row per job, in the order given: `job_id`, `outcome` (see `Outcome`), `status` (NA before the first
            sample), `polls`, `failures`, `detail` (the last fault in words, NA if there was none).

        Raises
        ------
        ConfigurationError
            If a job id cannot be asked for, the timeout is no number, or the sampler is running; nothing was sent.
        StoreError
            If the store cannot be written, or another process samples one of the jobs into it.
        """
        from mops_analysis.sampler.progress import progress_bars

        self._refuse_if_running()
        try:  # an interrupt may come while it starts, too
            self.start(job_ids, timeout_s)
            with progress_bars(show=progress) as show:
                # Looking at thousands of jobs takes milliseconds, in which no poll is sent.
                while not self.wait(max(0.2, len(self._watches) / 2000)):
                    show(self.outcomes)
                show(self.outcomes)
        finally:
            self.stop()
        if self._error is not None:
            raise self._error
        return to_frame(self.outcomes())

    def start(self, job_ids: str | Iterable[str], timeout_s: float | None = None) -> None:
        """Sample jobs in the background until each has ended, or `stop` is called.

        A sampler that already runs in this process for the same store gives these jobs up: so a notebook cell may be
        run again.

        Parameters
        ----------
        job_ids
            One job or several.
        timeout_s
            The longest time to sample [s], as for `watch`; None has no end.

        Raises
        ------
        ConfigurationError
            If a job id cannot be asked for, the timeout is no number, or the sampler is running; nothing was sent.
        StoreError
            If the store cannot be written, or another process samples one of the jobs into it; nothing was sent.
        """
        self._refuse_if_running()
        _check_timeout(timeout_s)
        wanted = self._checked(job_ids)
        self._join()
        for other in list(_RUNNING):
            if other is not self and other.store.path == self.store.path:
                other.remove(wanted)
        self._reset()
        self._admit(wanted)
        _RUNNING.add(self)
        atexit.register(self.stop)
        with self._lock:
            if timeout_s is not None:
                longest_s = min(float(timeout_s), threading.TIMEOUT_MAX)
                self._timer = threading.Timer(longest_s, self._end_all, ("timed_out", self._pool))
                self._timer.daemon = True
                self._timer.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every job has ended.

        A status that we do not know is told here, once, as a warning: it is not taken for an end.

        Parameters
        ----------
        timeout_s
            The longest time to wait [s]; None has no end.

        Returns
        -------
        bool
            Whether every job has ended, also where there never was one.
        """
        has_ended = not self._pool.threads or self._pool.stopping.wait(timeout_s)
        with self._lock:
            words = {word: job_id for word, job_id in self._unknown.items() if word not in self._told}
            self._told |= set(words)
        warn_of_unknown(words)
        return has_ended

    def add(self, job_ids: str | Iterable[str]) -> None:
        """Sample more jobs; those that are sampled already are left as they are. Starts a sampler that has ended.

        Raises
        ------
        ConfigurationError
            If a job id cannot be asked for.
        StoreError
            If the store cannot be written, or another process samples one of the jobs into it.
        """
        active = {row.job_id for row in self.outcomes() if row.outcome == "running"}
        new = [job_id for job_id in self._checked(job_ids) if job_id not in active]
        if not (self.running and self._admit(new)):
            self.start(new)

    def remove(self, job_ids: str | Iterable[str]) -> None:
        """Stop sampling these jobs, whose polls under way are dropped; the others go on. Unknown jobs are ignored."""
        self._end("stopped", [job_ids] if isinstance(job_ids, str) else job_ids, drop=True)

    def stop(self) -> None:
        """Stop sampling, within a second; polls that take longer are broken off, and leave no row. May be repeated."""
        self._end_all("stopped", self._pool)
        self._join()
        atexit.unregister(self.stop)
        _RUNNING.discard(self)

    def outcomes(self) -> list[Outcome]:
        """Return how the watch of each job stands, in the order in which they were added."""
        now = time.monotonic()
        with self._lock:
            return [
                Outcome(
                    job_id=watch.job_id,
                    outcome=watch.outcome,
                    status=watch.status,
                    polls=watch.polls,
                    failures=watch.failures,
                    fault=watch.fault,
                    detail=watch.detail,
                    next_poll_in_s=(
                        math.nan
                        if watch.is_polling or watch.outcome != "running"
                        else max(0.0, self._queue.due(watch) - now)
                    ),
                )
                for watch in self._watches.values()
            ]

    # -- jobs come and go -----------------------------------------------------------------------------------------

    def _checked(self, job_ids: str | Iterable[str]) -> list[str]:
        try:
            wanted = list(dict.fromkeys([job_ids] if isinstance(job_ids, str) else job_ids))
        except TypeError:
            raise ConfigurationError(f"job_ids: expected one id or several, got {job_ids!r:.80}") from None
        if not wanted:
            raise ConfigurationError("expected at least one job id, got none")
        for job_id in wanted:
            check_job_id(job_id)
        return wanted

    def _refuse_if_running(self) -> None:
        if self.running:
            raise ConfigurationError("the sampler is running already; use add() for more jobs, or stop() it first")

    def _admit(self, job_ids: list[str]) -> bool:
        # False if the last job ended in the meantime, and the workers with it.
        self.store.claim(job_ids)
        is_admitted = False
        try:
            last_ns = self.store.last_sampled_at_ns()
            with self._lock:
                if not self._pool.stopping.is_set():
                    self._enqueue(job_ids, last_ns)
                    is_admitted = True
        finally:
            if not is_admitted:
                self.store.release(job_ids)
        return is_admitted

    def _enqueue(self, job_ids: list[str], last_ns: dict[str, int]) -> None:
        jobs = len(job_ids) + sum(watch.outcome == "running" for watch in self._watches.values())
        self._pool.start(schedule.first_threads(jobs, self.interval_s, self.workers))
        now = time.monotonic()
        utc_ns = self._clock.at(now)
        times = schedule.first_polls(len(job_ids), now, self.interval_s, self._rng)
        for job_id, due in zip(job_ids, times, strict=True):
            newest_ns = last_ns.get(job_id, 0)
            # One interval after it, else a rate over that step would be absurd.
            ahead_ns = newest_ns - utc_ns + round(self.interval_s * 1e9) if newest_ns > utc_ns else 0
            self._watches[job_id] = Watch(job_id, due, newest_ns, ahead_ns)
            self._pool.push(self._watches[job_id])

    def _end(self, outcome: str, job_ids: Iterable[str], *, drop: bool = False) -> None:
        # The outcome is for those that run; the store is told, and the workers are when it was the last one. A job
        # whose poll is under way stays ours until that is in the store, unless it is dropped.
        with self._lock:
            ended = [self._watches[job_id] for job_id in job_ids if job_id in self._watches]
            for watch in ended:
                watch.outcome = outcome if watch.outcome == "running" else watch.outcome
            if all(watch.outcome != "running" for watch in self._watches.values()):
                self._pool.stop()
            released = [watch for watch in ended if drop or not watch.is_polling]
        self._release(released)

    def _release(self, watches: Iterable[Watch]) -> None:
        claimed = [watch for watch in watches if watch.is_claimed]
        self.store.release([watch.job_id for watch in claimed])
        # Noted after it was done: an interrupt in between leaves it to the next one who asks.
        for watch in claimed:
            watch.is_claimed = False

    def _end_all(self, outcome: str, pool: Workers) -> None:
        if pool is self._pool:  # a timer of an earlier start has nothing to say
            self._end(outcome, list(self._watches))

    def _join(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._pool.join():
            self._has_broken_off = True
            self.client.interrupt(self._pool.threads)  # polls still under way
            self._pool.join()
        self._pool.threads = []
        self._release(self._watches.values())

    # -- the workers' side ----------------------------------------------------------------------------------------

    def _take(self, now: float) -> Watch:
        return self._queue.pop(now, self.interval_s, self.max_requests_per_s)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._end("stopped", list(self._watches), drop=True)

    def _poll(self, watch: Watch) -> None:
        started = time.monotonic()
        status: JobStatus | None = None
        fault: PollError | None = None
        try:
            status = self.client.fetch_status(watch.job_id)
        except PollError as error:
            fault = error
        ended = time.monotonic()
        poll = Poll(
            job_id=watch.job_id,
            sampled_at_ns=max(self._clock.at((started + ended) / 2) + watch.ahead_ns, watch.last_ns + 1),
            latency_s=ended - started,
            outcome="ok" if fault is None else fault.kind,
            http_status=200 if fault is None else fault.http_status,
            detail=None if fault is None else fault.detail,
            status=status,
        )
        was_broken_off = self._has_broken_off and poll.outcome == "connection"  # by us: nobody knows how it would end
        if watch.is_claimed and not was_broken_off:
            self.store.append(poll)
            self._settle(watch, poll, None if fault is None else fault.retry_after_s)

    def _settle(self, watch: Watch, poll: Poll, retry_after_s: float | None) -> None:
        # What one poll means for its job's next one, and for the others.
        now = time.monotonic()
        with self._lock:
            watch.is_polling = False
            watch.polls += 1
            watch.last_ns = poll.sampled_at_ns
            watch.fault = None if poll.status is not None else poll.outcome
            if poll.status is not None:
                watch.status = poll.status
                word = status_word(poll.status.status)
                if word not in KNOWN_STATUSES and len(self._unknown) < _MOST_UNKNOWN:
                    self._unknown.setdefault(word, watch.job_id)
                watch.failures_in_a_row = 0
                watch.due = schedule.next_poll(watch.due, now, self.interval_s)
            else:
                watch.detail = poll.detail
                watch.failures += 1
                watch.failures_in_a_row += 1
                watch.due = schedule.poll_after_fault(
                    now, self.interval_s, watch.failures_in_a_row, retry_after_s, self._rng
                )
            is_answer = poll.status is not None or poll.outcome in PERMANENT_FAULTS
            if is_answer and self._queue.note_answer(now, self.interval_s, poll.latency_s):
                self._pool.hurry()
            outcome = schedule.verdict(
                poll,
                failures=watch.failures_in_a_row,
                retry_after_s=retry_after_s,
                stop_at_review=self.stop_at_review,
                max_failures=self.max_failures,
            )
            watch.outcome = outcome or watch.outcome
            if watch.outcome == "running":
                self._pool.push(watch)
                return
        self._end(watch.outcome, [watch.job_id])
        if outcome == "auth":  # the credential is the same for all
            self._end("auth", list(self._watches))


def _check_positive(name: str, number: object, *, whole: bool = False) -> None:
    kind = Integral if whole else Real
    if isinstance(number, bool) or not isinstance(number, kind) or not 0 < float(number) < math.inf:
        raise ConfigurationError(f"{name}: expected a {'whole ' * whole}number above zero, got {number!r}")


def _check_timeout(timeout_s: object) -> None:
    if timeout_s is None:
        return
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, Real) or not float(timeout_s) >= 0:
        raise ConfigurationError(f"timeout_s: expected seconds, 0 or more, or None for no end; got {timeout_s!r}")

"""The threads of a sampler: they take the jobs of a queue as they are due, and poll them."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from mops_analysis.sampler.queue import PollQueue, Watch

_PATIENCE_S = 0.3


class Workers:
    """Threads that wait for due jobs and for replies; made anew for each start of a sampler.

    One idle worker, the leader, waits for the job that is due next; the others wait to become the leader. Who calls a
    method holds the lock, but for `join`.

    Parameters
    ----------
    lock
        Guards the queue, and all that a poll changes.
    queue
        The jobs.
    take
        Takes the next job out of the queue, at a time on the monotonic clock.
    poll
        Polls it; called without the lock.
    fail
        Is told of an error that ended a worker; called without the lock.
    most
        How many threads there may be.

    Attributes
    ----------
    threads
        Those that were started.
    stopping
        Set when no job is left, whatever the reason.
    """

    def __init__(
        self,
        lock: threading.RLock,
        queue: PollQueue,
        *,
        take: Callable[[float], Watch],
        poll: Callable[[Watch], None],
        fail: Callable[[BaseException], None],
        most: int,
    ) -> None:
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self._lock = lock
        self._queue = queue
        self._take, self._poll, self._fail = take, poll, fail
        self._most = most
        self._new_leader = threading.Condition(lock)  # idle workers wait here
        self._sooner = threading.Condition(lock)  # the one that waits for the next due job waits here
        self._idle = 0
        self._has_leader = False

    def start(self, count: int) -> None:
        """Have so many threads at least."""
        for _ in range(len(self.threads), count):
            thread = threading.Thread(target=self._work, name="mops-sampler", daemon=True)
            self.threads.append(thread)
            thread.start()

    def push(self, watch: Watch) -> None:
        """Give a job back to the queue."""
        if self._queue.push(watch):
            self.hurry()
        if not self._has_leader:
            self._new_leader.notify()

    def hurry(self) -> None:
        """Look again which job is due next: some have become due earlier."""
        self._sooner.notify()

    def stop(self) -> None:
        """Let every worker end that does not just wait for a reply."""
        self.stopping.set()
        self._new_leader.notify_all()
        self._sooner.notify_all()

    def join(self) -> bool:
        """Wait for their end a moment; whether all have ended."""
        end = time.monotonic() + _PATIENCE_S
        others = [thread for thread in self.threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in others)

    def _work(self) -> None:
        try:
            while (watch := self._next()) is not None:
                self._poll(watch)
        except BaseException as error:  # noqa: BLE001  a thread has no caller: who started it passes it on
            self._fail(error)

    def _next(self) -> Watch | None:
        with self._lock:
            while not self.stopping.is_set():
                now = time.monotonic()
                wait = self._queue.next_due() - now
                if self._has_leader or wait == math.inf:
                    with self._count_idle():
                        self._new_leader.wait()
                elif wait > 0:
                    self._has_leader = True
                    with self._count_idle():
                        self._sooner.wait(min(wait, threading.TIMEOUT_MAX))
                    self._has_leader = False
                else:
                    watch = self._take(now)
                    if watch.outcome != "running":
                        continue
                    watch.is_polling = True
                    self._appoint_leader()
                    return watch
            return None

    @contextlib.contextmanager
    def _count_idle(self) -> Iterator[None]:
        self._idle += 1
        try:
            yield
        finally:
            self._idle -= 1

    def _appoint_leader(self) -> None:
        if self._idle:
            self._new_leader.notify()
        elif self._queue.next_due() < math.inf:
            self.start(min(len(self.threads) + 1, self._most))

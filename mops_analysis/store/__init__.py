"""SampleStore: every poll of every job in one SQLite file. The only SQL is in this folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mops_analysis import schema
from mops_analysis.errors import SchemaError, StoreError
from mops_analysis.schema import JobStatus, Poll
from mops_analysis.store import claims, frames, segments
from mops_analysis.store.file import StoreFile
from mops_analysis.store.frames import JobIds, Time
from mops_analysis.store.segments import Wanted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SampleStore"]

_INSERT = """
INSERT INTO polls (job, sampled_at_ns, latency_us, outcome, http_status, detail,
                   status, progress_percentage, processed_items, total_items, failed_items)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Words that come again and again; a service that says something new each time must not fill the memory.
_MOST_CODES, _LONGEST_CODED = 10_000, 200


@dataclass(eq=False, slots=True)
class _Waiting:
    # A caller of `append` whose polls are not on the disk yet. It sleeps until `turn` is released: they are written
    # then, or it is the one that writes next.
    polls: tuple[Poll, ...]
    turn: threading.Lock = field(default_factory=threading.Lock)
    written: bool = False
    error: Exception | None = None


class SampleStore:
    """Every poll of every job in one SQLite file; a context manager.

    Safe to use from many threads, and to read from other processes while one samples. A file that is damaged, not a
    sample store, or made by a newer release is refused and left as it is.

    Parameters
    ----------
    path
        The file; created if missing. Must be on a local disk: SQLite's write-ahead log does not work over a network.

    Attributes
    ----------
    path
        The file, absolute.

    Raises
    ------
    StoreError
        If the file cannot be opened, or is not a sound sample store of this or an earlier release.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with SampleStore(folder.name + "/samples.db") as store:
    ...     store.append(Poll("job-1", 1_763_474_400_000_000_000, 0.1, "ok", 200, None,
    ...                       JobStatus("job-1", "in_progress", 50.0, 5, 10, 0)))
    ...     samples = store.read_samples()
    >>> samples[["job_id", "status", "processed_items"]]
      job_id       status  processed_items
    0  job-1  in_progress                5
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = StoreFile(path)
        self._queue: list[_Waiting] = []
        self._queue_lock = threading.Lock()
        self._has_leader = False
        self._codes: dict[tuple[str, str], int] = {}

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._file.path

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SampleStore({str(self.path)!r})"

    def close(self) -> None:
        """Close the file; what was in the log moves into it, so that the one file can be copied. May be repeated."""
        self._file.close()

    def check(self) -> None:
        """Check every page, index entry and reference of the file, and every byte of compacted ones.

        Opening it checked the pages, and whether the compacted files are there.

        Raises
        ------
        StoreError
            If there is any damage. Nothing is written.
        """
        self._file.check()

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Copy the store to another file, whole and consistent, also while a sampler writes to it.

        A plain copy of the file would miss what is still in the log beside it. Of a compacted store the folder is
        copied as well, under the name of the copy.

        Parameters
        ----------
        path
            The copy; must not exist yet, nor its folder.

        Returns
        -------
        Path
            The copy, absolute.

        Raises
        ------
        StoreError
            If there is such a file already, or it cannot be written; there is no half copy then.
        """
        target = Path(path).resolve()
        for place in (target, segments.folder_of(target)):
            if place.exists():
                raise StoreError(f"{place} exists already; choose another name for the copy")
        self._file.copy_to(target)
        return target

    def compact(self) -> int:
        """Move the samples so far out of the SQLite file into Parquet files in a folder beside it.

        They take a fifth of the bytes there, lie sorted by job and time, and are read many times as fast;
        every method goes on to see them. It pays from some hundred thousand samples on. Samplers and readers, also in
        other processes, are not held up. A kill at any moment loses nothing and doubles nothing; what it left is
        cleared away next time.

        Returns
        -------
        int
            How many samples were moved. Polls that gave none stay in the SQLite file.

        Raises
        ------
        StoreError
            If pyarrow is missing (extra `parquet`), another process compacts the store, or a file cannot be written;
            then what was not moved yet is where it was.

        Examples
        --------
        >>> import tempfile
        >>> from mops_analysis import load_example
        >>> with tempfile.TemporaryDirectory() as folder, SampleStore(folder + "/samples.db") as store:
        ...     _ = store.append_samples(load_example())
        ...     moved = store.compact()
        ...     samples = store.read_samples()
        >>> moved, len(samples)
        (1613, 1613)
        """
        from mops_analysis.store.compaction import compact

        return compact(self._file)

    def append(self, *polls: Poll) -> None:
        """Write polls; when this returns they are on the disk.

        Callers that wait at the same time share one transaction.

        Parameters
        ----------
        polls
            In the order in which they are to be read back.

        Raises
        ------
        StoreError
            If they could not be written: disk full, file read-only, file gone. What was there before is untouched.
        """
        waiting = _Waiting(polls)
        if threading.current_thread() is threading.main_thread():
            # Ctrl-C is raised in this thread, anywhere: it must not hit polls of others.
            self._commit([waiting])
        else:
            waiting.turn.acquire()
            with self._queue_lock:
                self._queue.append(waiting)
                is_leader, self._has_leader = not self._has_leader, True
            if not is_leader:
                waiting.turn.acquire()
            if not waiting.written:
                self._lead()
        if waiting.error is not None:
            raise waiting.error

    def _lead(self) -> None:
        """Write the polls of all that wait, and make the first who came meanwhile the next leader.

        Those who only wait sleep on locks of their own: were it the file's, each would have to get that once more, and
        come in behind the next commit.
        """
        batch: list[_Waiting] = []
        try:
            with self._file.writing:
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._commit(batch)
        finally:
            with self._queue_lock:
                self._has_leader = bool(self._queue)
                if self._queue:
                    self._queue[0].turn.release()
            for waiting in batch:
                if not waiting.written:  # this thread was ended in the middle
                    waiting.error, waiting.written = StoreError(f"{self.path}: the commit was broken off"), True
                waiting.turn.release()

    @contextlib.contextmanager
    def _transaction(self, **options: float) -> Iterator[sqlite3.Connection]:
        try:
            with self._file.transaction(**options) as connection:
                yield connection
        except BaseException:
            self._codes.clear()  # numbers given in this transaction are void
            raise

    def _commit(self, batch: list[_Waiting]) -> None:
        error, has_begun = None, False
        try:
            with self._transaction() as connection:
                has_begun = True
                rows = [self._row(connection, poll) for waiting in batch for poll in waiting.polls]
                connection.executemany(_INSERT, rows)
        except Exception as failure:  # noqa: BLE001  raised in the thread whose polls they are
            error = failure
        if error is not None and has_begun and len(batch) > 1:
            for waiting in batch:  # one that cannot be written must not take the others with it
                self._commit([waiting])
            return
        for waiting in batch:
            waiting.error = error
            waiting.written = True

    def _row(self, connection: sqlite3.Connection, poll: Poll) -> tuple[object, ...]:
        served: tuple[object, ...] = (None,) * 5
        if poll.status is not None:
            served = (
                self._code(connection, "words", "text", poll.status.status),
                poll.status.progress_percentage,
                poll.status.processed_items,
                poll.status.total_items,
                poll.status.failed_items,
            )
        return (
            self._code(connection, "jobs", "job_id", poll.job_id),
            poll.sampled_at_ns,
            round(poll.latency_s * 1e6),
            self._code(connection, "words", "text", poll.outcome),
            poll.http_status,
            poll.detail,
            *served,
        )

    def _code(self, connection: sqlite3.Connection, table: str, column: str, value: str) -> int:
        code = self._codes.get((table, value))
        if code is None:
            connection.execute(f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)", (value,))  # noqa: S608  our names
            found = connection.execute(f"SELECT rowid FROM {table} WHERE {column} = ?", (value,))  # noqa: S608
            code = int(found.fetchone()[0])
            if len(self._codes) < _MOST_CODES and len(value) <= _LONGEST_CODED:
                self._codes[table, value] = code
        return code

    def append_samples(self, samples: pd.DataFrame) -> int:
        """Write a samples frame, for example one read from a Parquet or CSV file.

        Parameters
        ----------
        samples
            Frame as in `schema`. Further columns are not kept.

        Returns
        -------
        int
            How many samples were written: those of a job and time that the store has already are left out.

        Raises
        ------
        SchemaError
            If it is not a samples frame.
        StoreError
            If it could not be written; then none of it was.
        """
        checked = schema.validate(samples)[list(schema.SAMPLE_DTYPES)].drop_duplicates(["job_id", "sampled_at"])
        if checked.empty:
            return 0
        stored = self.read_samples(checked["job_id"].unique(), since=checked["sampled_at"].min())
        known = stored.set_index(["job_id", "sampled_at"]).index
        new = checked[~checked.set_index(["job_id", "sampled_at"]).index.isin(known)]
        most = sys.float_info.max
        for name, least, what in (("progress_percentage", -most, "finite numbers"), ("latency_s", 0.0, "seconds")):
            if not new[name].between(least, most).all():
                raise SchemaError(f"column {name!r}: expected {what}, got others or missing ones")
        polls = [
            Poll(
                job_id=row["job_id"],
                sampled_at_ns=row["sampled_at"].value,
                latency_s=row["latency_s"],
                outcome="ok",
                http_status=200,
                status=JobStatus(**{name: row[name] for name in JobStatus.__slots__}),
            )
            for row in new.to_dict("records")
        ]
        if polls:
            self.append(*polls)
        return len(polls)

    def claim(self, job_ids: Iterable[str]) -> None:
        """Note that this process samples these jobs from now on; all of them, or none.

        Parameters
        ----------
        job_ids
            The jobs.

        Raises
        ------
        StoreError
            If a living process samples one of them into this store already, or the store cannot be written.
        """
        with self._transaction() as connection:
            jobs = {job_id: self._code(connection, "jobs", "job_id", job_id) for job_id in job_ids}
            claims.claim(connection, self.path, jobs)

    def release(self, job_ids: Iterable[str]) -> None:
        """Note that this process no longer samples these jobs.

        What cannot be written at once (the disk is full, another process holds the file) is no error: a note of a
        process that has gone, or no longer samples the job, holds nobody up.
        """
        freed = list(job_ids)
        if not freed:
            return
        try:
            with self._transaction(wait_s=0.3) as connection:
                claims.release(connection, self.path, freed)
        except StoreError:
            claims.forget(self.path, freed)

    def read_samples(self, job_ids: JobIds = None, *, since: Time = None, until: Time = None) -> pd.DataFrame:
        """Read the samples frame.

        Parameters
        ----------
        job_ids
            One job or several; None reads all. Jobs that the store does not know give no rows.
        since, until
            Only samples at or after, and before, these times; with a zone. None sets no bound.

        Returns
        -------
        DataFrame
            Frame as in `schema`: one row per sample, sorted by job and time.

        Raises
        ------
        SchemaError
            If a time has no zone.
        StoreError
            If the file cannot be read.
        """
        wanted = frames.wanted(job_ids, since, until)
        with self._file.reading() as connection:
            return frames.samples(connection, self.path, wanted)

    def read_new_samples(self, after: int = 0) -> tuple[pd.DataFrame, int]:
        """Read what came since the last look; it costs the same however much the store holds already.

        Parameters
        ----------
        after
            The number that the last look returned; 0 reads all.

        Returns
        -------
        samples : DataFrame
            The samples of the polls committed since, as in `read_samples`; those of a job may be older than what it
            had, where they come from a file.
        last : int
            The number of the last poll in the store (`seq` in `read_polls`), for the next look; also where there is no
            new sample.

        Raises
        ------
        StoreError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> from mops_analysis import load_example
        >>> with tempfile.TemporaryDirectory() as folder, SampleStore(folder + "/samples.db") as store:
        ...     _ = store.append_samples(load_example().head(100))
        ...     first, last = store.read_new_samples()
        ...     _ = store.append_samples(load_example().head(103))
        ...     new, _ = store.read_new_samples(last)
        >>> len(first), len(new)
        (100, 3)
        """
        with self._file.reading() as connection:
            last = connection.execute("SELECT max(seq) FROM polls").fetchone()[0]
            return frames.samples(connection, self.path, Wanted(after=after)), max(after, last or 0)

    def read_polls(self, job_ids: JobIds = None, *, since: Time = None, until: Time = None) -> pd.DataFrame:
        """Read every poll, good or bad, in the order of commit.

        Parameters
        ----------
        job_ids, since, until
            As in `read_samples`.

        Returns
        -------
        DataFrame
            One row per poll: `seq`, `job_id`, `sampled_at`, `latency_s` [s], `outcome` ("ok" or a key of
            `errors.POLL_FAULTS`), `http_status`, `detail` (redacted), and the served fields exactly as served; NA
            where there are none.

        Raises
        ------
        SchemaError
            If a time has no zone.
        StoreError
            If the file cannot be read.
        """
        wanted = frames.wanted(job_ids, since, until)
        with self._file.reading() as connection:
            return frames.polls(connection, self.path, wanted)

    def jobs(self) -> pd.DataFrame:
        """List the jobs in the store, the last sampled one first.

        Returns
        -------
        DataFrame
            One row per job: `job_id`, `status` (of the last sample; NA before the first), `polls`, `samples`,
            `first_sampled_at`, `last_sampled_at`, and the counters of the last sample [items].
        """
        with self._file.reading() as connection:
            return frames.jobs(connection)

    def last_sampled_at_ns(self) -> dict[str, int]:
        """Return the time of each job's newest poll since the epoch [ns]; what a resumed watch must come after."""
        with self._file.reading() as connection:
            return frames.last_sampled_at_ns(connection)

"""The SQLite file behind a sample store: made, opened, checked, read and written here.

Write-ahead log and ``synchronous=FULL``: a transaction that has ended is on the disk. Any number of processes may read
while one writes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from mops_analysis.errors import StoreError
from mops_analysis.store import segments

#: "mops" in ASCII: what makes an SQLite file a store of ours.
APPLICATION_ID = 0x6D6F7073
SCHEMA_VERSION = 2

# Samples that were moved out of `polls` (see `segments`): the files, and where each job's rows are in them. The newest
# sample of a job is repeated here, so that listing the jobs opens no file.
SEGMENT_TABLES = (
    """
    CREATE TABLE segments (
        segment INTEGER PRIMARY KEY,
        file TEXT NOT NULL UNIQUE,
        samples INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        digest TEXT NOT NULL,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        last_seq INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE segment_jobs (
        job INTEGER NOT NULL REFERENCES jobs,
        segment INTEGER NOT NULL REFERENCES segments,
        first_row INTEGER NOT NULL,
        samples INTEGER NOT NULL,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        status INTEGER NOT NULL REFERENCES words,
        processed_items INTEGER NOT NULL,
        total_items INTEGER NOT NULL,
        failed_items INTEGER NOT NULL,
        PRIMARY KEY (job, segment)
    ) STRICT, WITHOUT ROWID
    """,
)

#: How each version becomes the next. A release that changes the tables adds its statements here, and leaves a store of
#: the version before in the tests.
MIGRATIONS: dict[int, tuple[str, ...]] = {1: SEGMENT_TABLES}

_LONGEST_WAIT_S = 10.0
# Python hears of Ctrl-C between two calls of SQLite, not within one.
_ONE_WAIT_S = 0.1

# Rows are appended in the order of commit and found by scanning: an index on (job, time) would cost a hundred times
# more bytes written per poll than the poll has. Words (outcomes, statuses) and job ids are held once.
_CREATE = (
    "CREATE TABLE jobs (job INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE words (word INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE polls (
        seq INTEGER PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs,
        sampled_at_ns INTEGER NOT NULL,
        latency_us INTEGER NOT NULL CHECK (latency_us >= 0),
        outcome INTEGER NOT NULL REFERENCES words,
        http_status INTEGER,
        detail TEXT,
        status INTEGER REFERENCES words,
        progress_percentage REAL,
        processed_items INTEGER,
        total_items INTEGER,
        failed_items INTEGER,
        CHECK ((outcome = 0) = (status IS NOT NULL))
    ) STRICT
    """,
    """
    CREATE TABLE watches (
        job INTEGER PRIMARY KEY REFERENCES jobs,
        process INTEGER NOT NULL,
        process_started REAL NOT NULL
    ) STRICT
    """,
    *SEGMENT_TABLES,
    "INSERT INTO words (word, text) VALUES (0, 'ok')",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class StoreFile:
    """One SQLite file, opened for writing when first written to; safe to use from many threads.

    Attributes
    ----------
    path
        The file, absolute.
    writing
        Lock that a transaction holds; may be taken by the same thread again.

    Raises
    ------
    StoreError
        If the file is damaged, is no sample store, or was made by a newer release. It is left as it is.

    Notes
    -----
    A store of an earlier release is brought up to date when it is opened, in one transaction; a copy of it as it was
    is put beside it first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if os.fspath(path) == ":memory:":
            raise StoreError("a sample store is a file: samples in ':memory:' would be lost; give a path")
        self.path = Path(path).resolve()
        self.writing = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._is_closing = False
        is_there = _has_bytes(self.path)
        if is_there:
            self._check_header()
        # A journal is left where the making of the file was broken off: to write means to begin it anew.
        if not is_there or _has_bytes(Path(f"{self.path}-journal")):
            with self.transaction():
                pass
        if is_there and self._check_content() < SCHEMA_VERSION:
            with self.transaction():
                pass

    def close(self) -> None:
        """Close the file; what was in the log moves into it, so that the one file can be copied. May be repeated."""
        self._is_closing = True  # who waits for another process gives up
        with self.writing:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):  # a reader may hold the log: then it simply stays
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.close()
                self._connection = None
            self._is_closing = False

    def check(self) -> None:
        """Check every page, index entry and reference, and every compacted file; raise StoreError if one is wrong."""
        with self.reading() as connection:
            self._refuse_if_damaged(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
            for segment in segments.noted(connection):
                segments.content_of(self.path, segment)
        if broken is not None:
            self._refuse_if_damaged(f"row {broken[1]} of {broken[0]} refers to a row of {broken[2]} that is missing")

    def copy_to(self, target: Path) -> None:
        """Copy the store as it is now to another file, while others write; the copy appears when it is whole."""
        partial = target.with_name(f"{target.name}.partial")
        _remove(partial)  # what a killed copy left
        try:
            with self.reading() as source, _errors(target), contextlib.closing(sqlite3.connect(partial)) as copy:
                source.backup(copy)
                copy.execute("DELETE FROM watches")  # nobody samples into the copy
                copy.commit()
                for segment in segments.noted(copy):
                    segments.put(partial, segment, segments.content_of(self.path, segment))
            if segments.folder_of(partial).exists():
                segments.folder_of(partial).replace(segments.folder_of(target))
            partial.replace(target)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{error.filename2 or error.filename}: {error.strerror}; choose another name") from None
        finally:
            _remove(partial)

    def shrink(self, most_pages: int) -> None:
        """Give the pages that deleted rows left back to the system, if no more than so many others must be copied.

        Nobody can write meanwhile, so a file with much left in it stays as long as it is: new rows take the pages.
        """
        with self.writing, _errors(self.path):
            if self._connection is None:
                self._connection = self._open(_LONGEST_WAIT_S)
            pages, free = (
                int(self._connection.execute(f"PRAGMA {n}").fetchone()[0]) for n in ("page_count", "freelist_count")
            )
            if free > pages // 4 and pages - free <= most_pages:
                self._execute(self._connection, "VACUUM", _LONGEST_WAIT_S)
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check_content(self) -> int:
        # The version again: the header's may be the one before, while the newer one is still in the log.
        with self.reading() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            self._refuse_if_newer(version)
            self._refuse_if_damaged(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            segments.refuse_if_missing(connection, self.path)
        return version

    def _refuse_if_damaged(self, finding: str) -> None:
        if finding != "ok":
            words = " ".join(finding.replace("*** in database main ***", "").split())
            raise StoreError(f"{self.path} is damaged: {words}; restore a copy, or choose another file")

    def _refuse_if_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was made by a newer release (store version {version}, this one reads up to "
                f"{SCHEMA_VERSION}); upgrade mops_analysis"
            )

    def _check_header(self) -> None:
        # The bytes are read without SQLite, which might touch the file: a foreign one must stay as it is.
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from None
        if header[:16] != b"SQLite format 3\0" or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise StoreError(f"{self.path} is not a sample store; choose another file name")
        self._refuse_if_newer(int.from_bytes(header[60:64], "big"))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees the store as it is now, unchanged until the end of the block."""
        with _errors(self.path), contextlib.closing(self._read_only()) as connection:
            yield connection

    def _read_only(self) -> sqlite3.Connection:
        connection = self._connect("mode=ro")
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM polls LIMIT 1")
        except sqlite3.OperationalError as error:
            connection.close()
            # On read-only media SQLite cannot make the log's index; without a log the file alone is the truth.
            is_read_only = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not is_read_only or _has_bytes(Path(f"{self.path}-wal")):
                raise
            connection = self._connect("mode=ro&immutable=1")
        return connection

    @contextlib.contextmanager
    def transaction(self, wait_s: float = _LONGEST_WAIT_S) -> Iterator[sqlite3.Connection]:
        """Give a connection to write with; at the end of the block all of it is on the disk, or none.

        IMMEDIATE: a transaction that begins as a reader may fail to become a writer whatever the busy timeout. Others
        that write, threads or processes, are waited for no longer than `wait_s`.
        """
        if not self.writing.acquire(timeout=wait_s):
            raise StoreError(f"{self.path}: another thread is writing")
        try:
            with _errors(self.path):
                if self._connection is None:
                    self._connection = self._open(wait_s)
                self._execute(self._connection, "BEGIN IMMEDIATE", wait_s)
                try:
                    yield self._connection
                    self._refuse_if_gone()
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        finally:
            self.writing.release()

    def _refuse_if_gone(self) -> None:
        # What is written to a deleted file goes with the last process that has it open.
        with contextlib.suppress(FileNotFoundError):
            if self._opened is None or os.path.samestat(self._opened, self.path.stat()):
                return
        raise StoreError(f"{self.path} was deleted, moved or replaced while it was open; put it back, or open it anew")

    def _execute(self, connection: sqlite3.Connection, statement: str, wait_s: float) -> None:
        for last in reversed(range(max(1, round(wait_s / _ONE_WAIT_S)))):
            try:
                connection.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not last or self._is_closing:
                    raise
            else:
                return

    def _open(self, wait_s: float) -> sqlite3.Connection:
        connection = self._connect("mode=rwc", _ONE_WAIT_S)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # Tables first, log second: so the file is recognisable even if the process dies in between.
            self._execute(connection, "BEGIN IMMEDIATE", wait_s)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            self._refuse_if_newer(version)
            for statement in _CREATE if version == 0 else self._migration(version):
                connection.execute(statement)
            connection.execute("COMMIT")
            self._execute(connection, "PRAGMA journal_mode=WAL", wait_s)
            self._opened = self.path.stat()
        except BaseException:
            connection.close()
            raise
        return connection

    def _migration(self, version: int) -> list[str]:
        if version == SCHEMA_VERSION:
            return []
        self.copy_to(self.path.with_name(f"{self.path.stem}.version-{version}{self.path.suffix}"))
        steps = [statement for each in range(version, SCHEMA_VERSION) for statement in MIGRATIONS[each]]
        return [*steps, f"PRAGMA user_version = {SCHEMA_VERSION}"]

    def _connect(self, mode: str, timeout_s: float = _LONGEST_WAIT_S) -> sqlite3.Connection:
        # As a URI that Python has quoted: a path such as "q?mode=memory.db" means just that file.
        return sqlite3.connect(
            f"{self.path.as_uri()}?{mode}",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            Path(f"{path}{suffix}").unlink()
    shutil.rmtree(segments.folder_of(path), ignore_errors=True)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}; {_cure(error)}") from None


def _cure(error: sqlite3.DatabaseError) -> str:
    cures = {
        sqlite3.SQLITE_FULL: "free some disk space, then go on with the same store: all it had is still there",
        sqlite3.SQLITE_IOERR: "check the disk, then go on with the same store: all it had is still there",
        sqlite3.SQLITE_READONLY: "make the file and its folder writable, or choose another file",
        sqlite3.SQLITE_CANTOPEN: "check that the folder exists and may be written",
        sqlite3.SQLITE_BUSY: "another process holds the file; close it there and try again",
        sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a copy, or choose another file",
        sqlite3.SQLITE_NOTADB: "the file is not a sample store; choose another file name",
    }
    return cures.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "nothing was written")

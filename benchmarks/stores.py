"""Stores for the drivers: the samples of `fleet` as a sampler would have left them, and the naive table beside them."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

import mops_analysis as mops
from mops_analysis.schema import JobStatus, Poll

_COUNTS = ["progress_percentage", "processed_items", "total_items", "failed_items"]

_INSERT = """
INSERT INTO polls (job, sampled_at_ns, latency_us, outcome, http_status, status, progress_percentage, processed_items,
                   total_items, failed_items)
VALUES (?, ?, ?, 0, 200, ?, ?, ?, ?, ?)
"""
_NAIVE = """
CREATE TABLE samples (job_id TEXT, sampled_at TEXT, status TEXT, progress_percentage REAL, processed_items INTEGER,
                      total_items INTEGER, failed_items INTEGER, latency_s REAL)
"""


def polls(samples: pd.DataFrame) -> list[Poll]:
    """Samples as the polls that gave them, in the order of time."""
    in_time = samples.take(np.argsort(pd.DatetimeIndex(samples["sampled_at"]).asi8, kind="stable"))
    at_ns = pd.DatetimeIndex(in_time["sampled_at"]).asi8.tolist()
    columns = [in_time[name].tolist() for name in ("job_id", "status", *_COUNTS, "latency_s")]
    return [
        Poll(job_id, at, latency_s, "ok", 200, None, JobStatus(job_id, status, *counts))
        for at, job_id, status, *counts, latency_s in zip(at_ns, *columns, strict=True)
    ]


def size(path: Path) -> int:
    """Bytes of a closed store, compacted files included."""
    return sum(file.stat().st_size for file in [path, *Path(f"{path}.segments").rglob("*.parquet")])


def fill(store: mops.SampleStore, samples: pd.DataFrame, batch: int = 100_000) -> None:
    """Write samples in the order of time, as a sampler does; past `append`, which would take minutes for millions."""
    in_time = samples.take(np.argsort(pd.DatetimeIndex(samples["sampled_at"]).asi8, kind="stable"))
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        jobs, job_ids = pd.factorize(in_time["job_id"])
        words, statuses = pd.factorize(in_time["status"])
        job = _codes(connection, "jobs", "job_id", job_ids.tolist())
        word = _codes(connection, "words", "text", statuses.tolist())
        at_ns = pd.DatetimeIndex(in_time["sampled_at"]).asi8
        latency_us = np.round(in_time["latency_s"].to_numpy() * 1e6).astype(np.int64)
        columns = [job[jobs], at_ns, latency_us, word[words], *(in_time[name].to_numpy() for name in _COUNTS)]
        _insert(connection, _INSERT, columns, batch)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _codes(connection: sqlite3.Connection, table: str, column: str, texts: list[str]) -> npt.NDArray[np.int64]:
    rows = [(text,) for text in texts]
    connection.executemany(f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)", rows)
    codes = dict(connection.execute(f"SELECT {column}, rowid FROM {table}"))
    return np.array([codes[text] for text in texts])


def fill_naive(path: Path, samples: pd.DataFrame, *, index: bool = False, batch: int = 100_000) -> None:
    """Write samples into the table that one would make first: job and time as text, one row each, in order of time."""
    in_time = samples.take(np.argsort(pd.DatetimeIndex(samples["sampled_at"]).asi8, kind="stable"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(_NAIVE)
        if index:
            connection.execute("CREATE INDEX by_job ON samples (job_id, sampled_at)")
        for begin in range(0, len(in_time), 1_000_000):
            part = in_time.iloc[begin : begin + 1_000_000]
            iso = np.datetime_as_string(pd.DatetimeIndex(part["sampled_at"]).asi8.view("M8[ns]"))
            columns = [part["job_id"], np.char.add(iso, "+00:00"), part["status"], *(part[n] for n in _COUNTS)]
            _insert(connection, f"INSERT INTO samples VALUES ({'?, ' * 7}?)", [*columns, part["latency_s"]], batch)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, statement: str, columns: list[object], batch: int) -> None:
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    while chunk := list(itertools.islice(rows, batch)):
        connection.executemany(statement, chunk)
        connection.commit()


def repeat(store: mops.SampleStore, times: int) -> None:
    """Give each job so many copies in all, `job-1`, `job-1.1`, `job-1.2`; SQLite does it at a third of the time."""
    columns = "sampled_at_ns, latency_us, outcome, http_status, status, " + ", ".join(_COUNTS)
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        (jobs,), (last,) = connection.execute("SELECT max(job) FROM jobs UNION ALL SELECT max(seq) FROM polls")
        for copy in range(1, times):
            more = copy * jobs
            copied = f"SELECT job + {more}, job_id || '.{copy}' FROM jobs WHERE job <= {jobs}"
            connection.execute(f"INSERT INTO jobs {copied}")
            copied = f"SELECT job + {more}, {columns} FROM polls WHERE seq <= {last}"
            connection.execute(f"INSERT INTO polls (job, {columns}) {copied}")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def repeat_naive(path: Path, times: int) -> None:
    """The same copies in the naive table."""
    columns = "sampled_at, status, " + ", ".join(_COUNTS) + ", latency_s"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (last,) = connection.execute("SELECT max(rowid) FROM samples").fetchone()
        for copy in range(1, times):
            copied = f"SELECT job_id || '.{copy}', {columns} FROM samples WHERE rowid <= {last}"
            connection.execute(f"INSERT INTO samples {copied}")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def read_naive(path: Path) -> pd.DataFrame:
    """The naive table as a frame, the way that comes to mind first."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        times = {"sampled_at": {"format": "ISO8601", "utc": True}}
        return pd.read_sql("SELECT * FROM samples", connection, parse_dates=times)


@contextlib.contextmanager
def compacted(path: Path, samples: pd.DataFrame, times: int = 1) -> Iterator[mops.SampleStore]:
    """A store with so many copies of these samples, all of them compacted."""
    with mops.SampleStore(path) as store:
        fill(store, samples)
        repeat(store, times)
        store.compact()
        yield store

"""Moving samples out of the SQLite file into Parquet files, while others sample and read.

The order is what makes it safe: a file is on the disk before it is noted; from the note on its rows in the table count
for nothing (`segments.LIVE`), so they may be deleted slice by slice, or by the next compaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mops_analysis import parquet, schema
from mops_analysis.errors import StoreError
from mops_analysis.store import frames, segments
from mops_analysis.store.segments import MOVABLE, Segment

if TYPE_CHECKING:
    from mops_analysis.store.file import StoreFile

# Sorted in memory together, at about 170 bytes each: a job's samples should lie in few places.
_AT_ONCE = 10_000_000
# A file is written as a whole, and its index read as a whole for one job.
_PER_FILE = 16 * parquet.ROW_GROUP
# A sampler waits for one slice at the most: 0.1 s.
_SLICE = 20_000
# 16 MB: copied in 0.1 s.
_MOST_PAGES = 4_000

_NEXT = f"{MOVABLE} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"


def compact(file: StoreFile) -> int:
    """Move all samples that are there now; return how many."""
    folder = segments.folder_of(file.path)
    segments.arrow(folder)
    try:
        with _alone(folder):
            return _move_all(file, folder)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; make it writable, or free some disk space") from None


def _move_all(file: StoreFile, folder: Path) -> int:
    moved = 0
    with file.reading() as connection:
        last = int(connection.execute("SELECT coalesce(max(seq), 0) FROM polls").fetchone()[0])
        _sweep(folder, {segment.file for segment in segments.noted(connection)})
    while len(rows := _next_rows(file, last)):
        _move(file, rows)
        moved += len(rows)
    _delete(file)
    file.shrink(_MOST_PAGES)
    return moved


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second compaction of the same store. SQLite's lock goes with the process that holds it."""
    folder.mkdir(exist_ok=True)
    parquet.sync_folder(folder.parent)
    with contextlib.ExitStack() as stack:
        try:
            lock = sqlite3.connect(folder / ".lock", timeout=0, isolation_level=None)
            stack.enter_context(contextlib.closing(lock))
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            cure = "another compaction is under way, let it end" if is_busy else "make the folder writable"
            raise StoreError(f"{folder}: {error}; {cure}") from None
        yield


def _sweep(folder: Path, noted: set[str]) -> None:
    """Remove what a killed compaction left: files that nobody has noted."""
    for file in folder.glob("bucket=*/*"):
        if str(file.relative_to(folder)) not in noted:
            file.unlink()


def _next_rows(file: StoreFile, last: int) -> Any:
    """The next samples to move, in the order of commit. Read in slices: a long read would let the log grow."""
    with file.reading() as connection:
        after = segments.through(connection)
    rows = np.empty(max(0, min(_AT_ONCE, last - after)), dtype=frames.SAMPLE_ROW)
    count = 0
    while count < len(rows):
        with file.reading() as connection:
            part = frames.rows(connection, _NEXT, [after, last, min(_SLICE, len(rows) - count)])
        if not len(part):
            break
        rows[count : count + len(part)] = part
        count += len(part)
        after = int(part["seq"][-1])
    return rows[:count]


def _move(file: StoreFile, rows: Any) -> None:
    with file.reading() as connection:
        job, job_ids = frames.named(connection, "job", rows["job"])
        status, words = frames.named(connection, "status", rows["status"])
        number = int(connection.execute("SELECT coalesce(max(segment), 0) FROM segments").fetchone()[0])
    rank = np.argsort(np.argsort(job_ids)).astype(np.int32)
    order = np.lexsort((rows["sampled_at"], rank[job]))
    notes = []
    for begin in range(0, len(rows), _PER_FILE):
        number += 1
        chosen = order[begin : begin + _PER_FILE]
        name = f"bucket=0/{number:08d}.parquet"
        content = parquet.encoded(_table(rows[chosen], (job[chosen], job_ids), (status[chosen], words)))
        segment = Segment(number, name, len(chosen), len(content), segments.digest(content))
        segments.put(file.path, segment, content)
        notes.append(((*segment, *_bounds(rows[chosen])), _jobs(number, rows[chosen])))
    with file.transaction() as connection:
        for of_file, of_jobs in notes:
            connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", of_file)
            connection.executemany("INSERT INTO segment_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", of_jobs)


def _table(rows: Any, job: tuple[Any, list[str]], status: tuple[Any, list[str]]) -> Any:
    import pyarrow as pa

    known = [schema.status_word(word) for word in status[1]]
    columns = {
        "job_id": pa.array(job[1]).take(pa.array(job[0])),
        "sampled_at": pa.array(rows["sampled_at"]).cast(pa.timestamp("ns", "UTC")),
        "status": pa.array(known).take(pa.array(status[0])),
        **{name: pa.array(rows[name]) for name in ("progress_percentage", "processed_items")},
        **{name: pa.array(rows[name]) for name in ("total_items", "failed_items", "latency_us", "seq")},
        "served_status": pa.array(status[1]).take(pa.array(status[0])),
    }
    return pa.table(columns)


def _bounds(rows: Any) -> tuple[int, int, int]:
    """What is noted of a file: first and last time, and last poll."""
    return int(rows["sampled_at"].min()), int(rows["sampled_at"].max()), int(rows["seq"].max())


def _jobs(number: int, rows: Any) -> list[tuple[int, ...]]:
    """What is noted of each job in a file."""
    at_ns, seq, job = rows["sampled_at"], rows["seq"], rows["job"]
    begins = np.flatnonzero(np.diff(job, prepend=-1))
    counts = np.diff(begins, append=len(rows))
    ends = begins + counts - 1
    # The last by commit: where samples came from a file it need not be the last by time.
    newest = np.lexsort((seq, np.repeat(begins, counts)))[ends]
    columns = [job[begins], np.full(len(begins), number), begins, counts, at_ns[begins], at_ns[ends], seq[newest]]
    columns += [rows[column][newest] for column in ("status", "processed_items", "total_items", "failed_items")]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _delete(file: StoreFile) -> None:
    """Delete the rows that are in files; all but the newest, from whose number the next poll's follows."""
    after = 0
    while True:
        begun = time.monotonic()
        with file.transaction() as connection:
            newest = connection.execute("SELECT coalesce(max(seq), 0) FROM polls").fetchone()[0]
            last = min(segments.through(connection), newest - 1)
            query = f"SELECT seq FROM polls WHERE {MOVABLE} AND seq > ? AND seq <= ? ORDER BY seq LIMIT 1"  # noqa: S608
            found = connection.execute(query, (after, last)).fetchone()
            if found is None:
                return
            after = found[0] + _SLICE
            delete = f"DELETE FROM polls WHERE {MOVABLE} AND seq BETWEEN ? AND ?"  # noqa: S608
            connection.execute(delete, (found[0], min(after, last)))
        time.sleep(time.monotonic() - begun)  # else who waits for the file hardly ever gets it

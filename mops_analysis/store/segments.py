"""Samples that were moved out of the SQLite file: Parquet files in a folder beside it, and the notes that lead to them.

::

    samples.db
    samples.db.segments/bucket=0/00000001.parquet     sorted by job_id, then sampled_at

A file is noted in the SQLite file when it is on the disk, and never changes after that: who reads needs no lock. Its
columns are those of the samples frame, with `latency_us` for `latency_s` [µs], `seq` and `served_status`. So any
Parquet engine reads it, and the folder is a dataset of one bucket.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mops_analysis import parquet
from mops_analysis.errors import StoreError

#: The columns that are numbers, but for the times, which the frames show as such.
NUMBERS = (
    "seq",
    "sampled_at",
    "latency_us",
    "progress_percentage",
    "processed_items",
    "total_items",
    "failed_items",
)

#: Every sample up to this poll that `MOVABLE` names is in a file, whether or not its row is deleted already.
_THROUGH = "coalesce((SELECT max(last_seq) FROM segments), 0)"

#: What a file can hold: a poll that gave a sample. All others stay in the table; they are few, and have long texts.
MOVABLE = "outcome = 0 AND http_status = 200 AND detail IS NULL"

#: The rows of `polls` that are not in a file.
LIVE = f"(seq > {_THROUGH} OR outcome <> 0 OR http_status IS NOT 200 OR detail IS NOT NULL)"


class Wanted(NamedTuple):
    """Which samples are asked for; None sets no bound.

    Attributes
    ----------
    job_ids
        Only of these jobs.
    since_ns, until_ns
        Only at or after, and before, these times since the epoch [ns].
    after
        Only of polls with a later number.
    """

    job_ids: frozenset[str] | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    after: int = 0


class Piece(NamedTuple):
    """Some samples as columns: jobs and words by number, with the text of each number, and the numbers as they are."""

    job: tuple[Any, list[str]]
    status: tuple[Any, list[str]]
    numbers: dict[str, Any]


class Part(NamedTuple):
    """Where wanted samples are: a file, which groups of its rows (None: all), and how many they are at the most."""

    file: str
    groups: set[int] | None
    samples: int


class Segment(NamedTuple):
    """A file, as it was noted."""

    segment: int
    file: str
    samples: int
    bytes: int
    digest: str


def folder_of(store: Path) -> Path:
    """Where the files of a store are."""
    return store.with_name(f"{store.name}.segments")


def through(connection: sqlite3.Connection) -> int:
    """Up to which poll samples are in files."""
    return int(connection.execute(f"SELECT {_THROUGH}").fetchone()[0])


def noted(connection: sqlite3.Connection) -> list[Segment]:
    """The files of the store, in the order in which they were made; a store of version 1 has none."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'segments'").fetchone() is None:
        return []
    rows = connection.execute("SELECT segment, file, samples, bytes, digest FROM segments ORDER BY segment")
    return [Segment(*row) for row in rows]


def refuse_if_missing(connection: sqlite3.Connection, store: Path) -> None:
    """Look whether every file is there and as long as it was; raise StoreError if not."""
    for segment in noted(connection):
        file = folder_of(store) / segment.file
        if not file.is_file():
            raise StoreError(
                f"{file} is missing, and with it samples of {store}; a compacted store is the file and this folder: "
                "keep them together, or restore both from a backup"
            )
        if file.stat().st_size != segment.bytes:
            raise _damaged(file, f"expected {segment.bytes:,} bytes, got {file.stat().st_size:,}")


def content_of(store: Path, segment: Segment) -> bytes:
    """The bytes of a file; StoreError if they are not those that were written."""
    file = folder_of(store) / segment.file
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}; restore it from a backup") from None
    if digest(content) != segment.digest:
        raise _damaged(file, "its contents are not those that were written")
    return content


def put(store: Path, segment: Segment, content: bytes | memoryview) -> None:
    """Write a file; it is on the disk then, and counts as soon as it is noted."""
    file = folder_of(store) / segment.file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.put(file, content)
        for folder in (file.parent, file.parent.parent):
            parquet.sync_folder(folder.parent)
    except OSError as error:
        cure = "make its folder writable, or free some disk space"
        raise StoreError(f"{file} cannot be written: {error.strerror}; {cure}") from None


def digest(content: bytes | memoryview) -> str:
    """What tells a file from every other."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _damaged(file: Path, finding: str) -> StoreError:
    return StoreError(f"{file} is damaged: {finding}; restore it from a backup")


def parts(connection: sqlite3.Connection, wanted: Wanted) -> list[Part]:
    """Where the wanted samples are, in the order in which the files were made."""
    bounds = [("last_seq > ?", wanted.after), ("last_ns >= ?", wanted.since_ns), ("first_ns < ?", wanted.until_ns)]
    given = [(clause, bound) for clause, bound in bounds if bound is not None]
    where, parameters = " AND ".join(clause for clause, _ in given), [bound for _, bound in given]
    if wanted.job_ids is None:
        query = f"SELECT file, samples FROM segments WHERE {where} ORDER BY segment"  # noqa: S608  our names
        return [Part(file, None, samples) for file, samples in connection.execute(query, parameters)]
    query = f"""
    SELECT file, first_row, places.samples FROM json_each(?) CROSS JOIN jobs ON jobs.job_id = value
    CROSS JOIN (SELECT job, segment, first_row, samples FROM segment_jobs WHERE {where}) AS places USING (job)
    JOIN segments USING (segment) ORDER BY segment
    """  # noqa: S608
    found: dict[str, Part] = {}
    for file, first, samples in connection.execute(query, (json.dumps(list(wanted.job_ids)), *parameters)):
        part = found.get(file, Part(file, set(), 0))
        groups = range(first // parquet.ROW_GROUP, (first + samples - 1) // parquet.ROW_GROUP + 1)
        found[file] = Part(file, {*(part.groups or ()), *groups}, part.samples + samples)
    return list(found.values())


def read(store: Path, part: Part, wanted: Wanted) -> Iterator[Piece]:
    """The wanted samples of one file, a group of rows at a time, so that each takes the memory of the one before."""
    file = folder_of(store) / part.file
    pa, pq = arrow(file)
    names = ["job_id", "served_status", *NUMBERS]  # the status as served, since it has the other one in it
    options = {"memory_map": True, "page_checksum_verification": True}
    try:
        with pq.ParquetFile(file, read_dictionary=names[:2], **options) as opened:
            groups = range(opened.num_row_groups) if part.groups is None else sorted(part.groups)
            for batch in opened.iter_batches(parquet.ROW_GROUP, groups, names, use_threads=False):
                yield _only(_piece(batch), wanted)
    except FileNotFoundError:
        raise StoreError(f"{file} is missing; restore it from a backup") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, str(error)) from None


def _piece(batch: Any) -> Piece:
    job, status = batch["job_id"], batch["served_status"]
    columns = {name: batch[name] for name in NUMBERS}
    columns["sampled_at"] = columns["sampled_at"].view("int64")
    return Piece(
        (job.indices.to_numpy(), job.dictionary.to_pylist()),
        (status.indices.to_numpy(), status.dictionary.to_pylist()),
        {name: column.to_numpy() for name, column in columns.items()},
    )


def _only(piece: Piece, wanted: Wanted) -> Piece:
    import numpy as np

    keep = piece.numbers["seq"] > wanted.after
    if wanted.job_ids is not None:
        keep &= np.array([text in wanted.job_ids for text in piece.job[1]], dtype=bool)[piece.job[0]]
    if wanted.since_ns is not None:
        keep &= piece.numbers["sampled_at"] >= wanted.since_ns
    if wanted.until_ns is not None:
        keep &= piece.numbers["sampled_at"] < wanted.until_ns
    if keep.all():
        return piece
    return Piece(
        (piece.job[0][keep], piece.job[1]),
        (piece.status[0][keep], piece.status[1]),
        {name: column[keep] for name, column in piece.numbers.items()},
    )


def arrow(file: Path) -> Any:
    """The modules `pyarrow` and `pyarrow.parquet`; StoreError with the cure where they are missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise StoreError(
            f'{file}: compacted samples need pyarrow; install it with: pip install "mops_analysis[parquet]"'
        ) from None
    return pa, pq

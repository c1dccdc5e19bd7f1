"""Parquet as this package lays it out, for datasets and for the compacted part of a store; any engine reads it.

Rows sorted by job and time, in groups that a reader of one job skips; numbers that rise in small steps as their
differences, words by number, all of it under zstd.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

#: Rows of a group. Measured: the knee between reading all and reading one job.
ROW_GROUP = 65_536

# Counters and times rise in small steps. Latencies have no pattern at all; the rest repeats itself.
_DELTA = {"sampled_at", "processed_items", "total_items", "failed_items", "latency_us", "seq"}


def encoded(table: Any) -> memoryview:
    """The bytes of a Parquet file with the rows of an Arrow table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    names = table.column_names
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        use_dictionary=[name for name in names if name not in (*_DELTA, "latency_s")],
        column_encoding=dict.fromkeys(_DELTA & set(names), "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    )
    return memoryview(sink.getvalue())


def with_seconds(table: Any) -> Any:
    """The Arrow table with `latency_s`, where it has whole microseconds: those take a third of the bytes."""
    import pyarrow as pa

    if "latency_us" not in table.column_names:
        return table
    seconds = pa.array(table["latency_us"].to_numpy() / 1e6)
    return table.set_column(table.column_names.index("latency_us"), "latency_s", seconds)


def put(file: Path, content: bytes | memoryview) -> None:
    """Write a file that is there as a whole, on the disk, or not at all."""
    temporary = file.with_name(f".{file.name}-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

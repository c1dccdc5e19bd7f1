"""Which process samples which job, so that a second one is refused. A note of a process that has gone is void."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from mops_analysis.errors import StoreError

# The jobs that this process samples, by store: the table alone cannot tell a sampler that runs from one that ended
# without being able to say so.
_OWN: set[tuple[Path, str]] = set()


def claim(connection: sqlite3.Connection, store: Path, jobs: Mapping[str, int]) -> None:
    """Note that this process samples these jobs; StoreError if a living process samples one of them already."""
    import psutil

    own = (os.getpid(), psutil.Process().create_time())
    for job_id, job in jobs.items():
        holder = connection.execute("SELECT process, process_started FROM watches WHERE job = ?", (job,)).fetchone()
        if holder is not None and _is_held(store, job_id, *holder):
            who = "this process" if holder[0] == own[0] else f"process {holder[0]}"
            raise StoreError(
                f"job {job_id!r} is sampled into {store} by {who} already; "
                "stop that one, or give this one another store"
            )
        connection.execute("INSERT OR REPLACE INTO watches VALUES (?, ?, ?)", (job, *own))
    # Within the transaction, here as in `release`: what this process knows and the table change together.
    _OWN.update((store, job_id) for job_id in jobs)


def release(connection: sqlite3.Connection, store: Path, job_ids: list[str]) -> None:
    """Delete the notes of this process about these jobs."""
    query = "DELETE FROM watches WHERE process = ? AND job = (SELECT job FROM jobs WHERE job_id = ?)"
    connection.executemany(query, [(os.getpid(), job_id) for job_id in job_ids])
    forget(store, job_ids)


def forget(store: Path, job_ids: list[str]) -> None:
    """Let this process know that it no longer samples these jobs, whatever the table says."""
    _OWN.difference_update((store, job_id) for job_id in job_ids)


def _is_held(store: Path, job_id: str, process: int, started: float) -> bool:
    import psutil

    if process == os.getpid():
        return (store, job_id) in _OWN
    try:
        return abs(psutil.Process(process).create_time() - started) < 1.0  # else the number was given to another
    except psutil.Error:
        return False

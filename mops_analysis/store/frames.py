"""What is in the store, as frames: the queries, and the way from rows and files to columns."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.store import segments
from mops_analysis.store.segments import LIVE, Piece, Wanted

if TYPE_CHECKING:
    import pandas as pd

JobIds = str | Iterable[str] | None
Time = str | datetime | None

# Rows that are looked at together.
_STRETCH = 65_536

#: Samples as they lie in the table.
SAMPLE_ROW = [
    ("seq", "i8"),
    ("job", "i8"),
    ("sampled_at", "i8"),
    ("latency_us", "i8"),
    ("status", "i8"),
    ("progress_percentage", "f8"),
    ("processed_items", "i8"),
    ("total_items", "i8"),
    ("failed_items", "i8"),
]

_SAMPLES = """
SELECT seq, job, sampled_at_ns, latency_us, status, progress_percentage, processed_items, total_items, failed_items
FROM polls WHERE """

_POLLS = """
SELECT seq, job_id, sampled_at_ns, latency_us / 1e6, outcomes.text, http_status, detail, statuses.text,
       progress_percentage, processed_items, total_items, failed_items
FROM polls JOIN jobs USING (job) JOIN words AS outcomes ON outcomes.word = outcome
LEFT JOIN words AS statuses ON statuses.word = status
WHERE """

_JOBS = f"""
WITH parts AS (
    SELECT job, count(*) AS polls, count(status) AS samples, min(sampled_at_ns) AS first_ns,
           max(sampled_at_ns) AS last_ns, max(CASE WHEN outcome = 0 THEN seq END) AS newest
    FROM polls WHERE {LIVE} GROUP BY job
    UNION ALL SELECT job, samples, samples, first_ns, last_ns, last_seq FROM segment_jobs
), counts AS (
    SELECT job, sum(polls) AS polls, sum(samples) AS samples, min(first_ns) AS first_ns, max(last_ns) AS last_ns,
           max(newest) AS newest
    FROM parts GROUP BY job
)
SELECT job_id, text, polls, counts.samples, counts.first_ns, counts.last_ns,
       coalesce(live.processed_items, moved.processed_items), coalesce(live.total_items, moved.total_items),
       coalesce(live.failed_items, moved.failed_items)
FROM counts JOIN jobs USING (job) LEFT JOIN polls AS live ON live.seq = newest
LEFT JOIN segment_jobs AS moved ON moved.job = counts.job AND moved.last_seq = newest
LEFT JOIN words ON word = coalesce(live.status, moved.status)
ORDER BY counts.last_ns DESC, job_id
"""  # noqa: S608  our own names

_LAST_SAMPLED = """
SELECT job_id, max(last_ns) FROM (
    SELECT job, max(sampled_at_ns) AS last_ns FROM polls GROUP BY job
    UNION ALL SELECT job, last_ns FROM segment_jobs
) JOIN jobs USING (job) GROUP BY job
"""

_JOB_DTYPES = {
    "job_id": "string",
    "status": "string",
    "polls": "int64",
    "samples": "int64",
    "first_sampled_at": "datetime64[ns, UTC]",
    "last_sampled_at": "datetime64[ns, UTC]",
    "processed_items": "Int64",
    "total_items": "Int64",
    "failed_items": "Int64",
}


def wanted(job_ids: JobIds, since: Time, until: Time) -> Wanted:
    """What the caller asks for, as the queries need it."""
    try:
        ids = None if job_ids is None else frozenset([job_ids] if isinstance(job_ids, str) else job_ids)
    except TypeError:
        raise SchemaError(f"job_ids: expected one id or several, got {job_ids!r:.80}") from None
    return Wanted(
        ids,
        None if since is None else _since_epoch_ns(since, "since"),
        None if until is None else _since_epoch_ns(until, "until"),
    )


def samples(connection: sqlite3.Connection, store: Path, wanted: Wanted) -> pd.DataFrame:
    """Read the samples frame."""
    import pandas as pd

    of = _joined(connection, store, wanted, _live(connection, wanted))
    # What is not needed any more goes at once, and where a column lies it stays: fresh memory is dear.
    order = _order(of["job_id"], of["sampled_at"], of.pop("seq"))
    words = [schema.status_word(word) for word in of["words"]]
    latency = of["latency_us"][order]
    latency /= 1e6
    columns = {
        "job_id": pd.array(of["job_ids"], dtype="string").take(of.pop("job_id")[order]),
        "sampled_at": pd.DatetimeIndex(of["sampled_at"][order].view("M8[ns]"), tz="UTC"),
        "status": pd.array(words, dtype="string").take(of.pop("status")[order]),
        **{name: of[name][order] for name, _ in SAMPLE_ROW[-4:]},
        "latency_s": latency,
    }
    return pd.DataFrame(columns, copy=False)  # of `schema.SAMPLE_DTYPES` already


def _order(job: Any, at_ns: Any, seq: Any) -> Any:
    """What sorts samples by job and time, and the order of commit where both are the same."""
    import numpy as np

    for begin in range(0, len(job), _STRETCH):  # not all at once: that takes fresh memory too
        rows = slice(begin, begin + _STRETCH + 1)
        falls = seq[rows][1:] < seq[rows][:-1]
        for column in (at_ns[rows], job[rows]):
            falls = (column[1:] < column[:-1]) | ((column[1:] == column[:-1]) & falls)
        if falls.any():
            return np.lexsort((seq, at_ns, job))
    return slice(None)


def polls(connection: sqlite3.Connection, store: Path, wanted: Wanted) -> pd.DataFrame:
    """Read every poll, in the order of commit."""
    import pandas as pd

    where, parameters = _where(wanted)
    live = _typed(connection.execute(f"{_POLLS}{where} AND {LIVE} ORDER BY seq", parameters), schema.POLL_DTYPES)
    of = _joined(connection, store, wanted)
    moved = pd.DataFrame(
        {
            **{name: of[name] for name in ("seq", *(name for name, _ in SAMPLE_ROW[-4:]))},
            "job_id": pd.array(of["job_ids"], dtype="string").take(of["job_id"]),
            "sampled_at": pd.DatetimeIndex(of["sampled_at"].view("M8[ns]"), tz="UTC"),
            "latency_s": of["latency_us"] / 1e6,
            "outcome": "ok",
            "http_status": 200,
            "detail": None,
            "status": pd.array(of["words"], dtype="string").take(of["status"]),
        }
    )
    moved = moved[list(schema.POLL_DTYPES)].astype(schema.POLL_DTYPES)
    return pd.concat([moved, live]).sort_values("seq", ignore_index=True)


def jobs(connection: sqlite3.Connection) -> pd.DataFrame:
    """List the jobs, the last sampled one first."""
    frame = _typed(connection.execute(_JOBS), _JOB_DTYPES)
    return frame.assign(status=frame["status"].map(schema.status_word, na_action="ignore").astype("string"))


def last_sampled_at_ns(connection: sqlite3.Connection) -> dict[str, int]:
    """The time of each job's newest poll since the epoch [ns]."""
    return dict(connection.execute(_LAST_SAMPLED))


def rows(connection: sqlite3.Connection, where: str, parameters: list[object]) -> Any:
    """Samples in the table, as they lie there."""
    import numpy as np

    return np.fromiter(connection.execute(_SAMPLES + where, parameters), dtype=SAMPLE_ROW)


def named(connection: sqlite3.Connection, column: str, codes: Any) -> tuple[Any, list[str]]:
    """Jobs or words by number: numbered anew from 0, without those that do not occur, and the text of each."""
    import numpy as np

    query = {"job": "SELECT job_id FROM jobs WHERE job = value", "status": "SELECT text FROM words WHERE word = value"}
    known = np.flatnonzero(np.bincount(codes))
    place = np.empty(known[-1] + 1 if len(known) else 0, dtype=np.int32)
    place[known] = np.arange(len(known))
    texts = connection.execute(f"SELECT ({query[column]}) FROM json_each(?)", (json.dumps(known.tolist()),))  # noqa: S608
    return place[codes], [text for (text,) in texts]


def _live(connection: sqlite3.Connection, wanted: Wanted) -> Piece:
    where, parameters = _where(wanted)
    # What most rows fail comes first: SQLite tests in this order.
    found = rows(connection, f"{where} AND outcome = 0 AND {LIVE}", parameters)
    return Piece(
        named(connection, "job", found["job"]),
        named(connection, "status", found["status"]),
        {name: found[name] for name in segments.NUMBERS},
    )


def _joined(connection: sqlite3.Connection, store: Path, wanted: Wanted, *live: Piece) -> dict[str, Any]:
    """The columns of all pieces, one after the other; jobs and words numbered in their order, with the texts."""
    import numpy as np

    parts = segments.parts(connection, wanted)
    pieces = itertools.chain(*(segments.read(store, part, wanted) for part in parts), live)
    most = sum(part.samples for part in parts) + sum(len(piece.numbers["seq"]) for piece in live)
    numbers = {name: dtype for name, dtype in SAMPLE_ROW if name in segments.NUMBERS}
    dtypes = {**numbers, "latency_us": "f8", "job_id": "i4", "status": "i4"}
    # Filled piece by piece: fresh memory is dear, and this way each piece takes that of the one before.
    of: dict[str, Any] = {name: np.empty(most, dtype) for name, dtype in dtypes.items()}
    known: dict[str, dict[str, int]] = {"job_id": {}, "status": {}}
    count = 0
    for piece in pieces:
        rows = slice(count, count + len(piece.numbers["seq"]))
        for name in segments.NUMBERS:
            of[name][rows] = piece.numbers[name]
        for name, (codes, texts) in (("job_id", piece.job), ("status", piece.status)):
            places = [known[name].setdefault(text, len(known[name])) for text in texts]
            of[name][rows] = np.array(places, dtype=np.int32)[codes]
        count = rows.stop
    if count < most:
        of = {name: column[:count].copy() for name, column in of.items()}
    for name, texts_name in (("job_id", "job_ids"), ("status", "words")):
        of[texts_name] = sorted(known[name])
        if of[texts_name] == list(known[name]):
            continue
        rank = np.empty(len(known[name]), dtype=np.int32)
        rank[[known[name][text] for text in of[texts_name]]] = np.arange(len(rank))
        of[name] = rank[of[name]]
    return of


def _typed(rows: Iterable[tuple[object, ...]], dtypes: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(dtypes), dtype=object)
    for name, dtype in dtypes.items():
        if dtype.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name].astype("int64"), utc=True, unit="ns")
    return frame.astype(dtypes)


def _where(wanted: Wanted) -> tuple[str, list[object]]:
    clauses: list[str] = ["seq > ?"]
    parameters: list[object] = [wanted.after]
    if wanted.job_ids is not None:
        clauses.append("job IN (SELECT job FROM jobs WHERE job_id IN (SELECT value FROM json_each(?)))")
        parameters.append(json.dumps(list(wanted.job_ids)))
    for sign, bound in ((">=", wanted.since_ns), ("<", wanted.until_ns)):
        if bound is not None:
            clauses.append(f"sampled_at_ns {sign} ?")
            parameters.append(bound)
    return " AND ".join(clauses), parameters


def _since_epoch_ns(time: str | datetime, name: str) -> int:
    import pandas as pd

    try:
        stamp = pd.Timestamp(time).as_unit("ns")
    except (ValueError, TypeError):
        raise SchemaError(f"{name}: expected a time such as '2026-11-18T14:00+01:00', got {time!r}") from None
    if stamp.tzinfo is None:
        raise SchemaError(f"{name}: expected a time with a zone, such as '{stamp.isoformat()}+00:00', got {time!r}")
    return stamp.value

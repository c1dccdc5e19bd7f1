"""What is in the store, as frames: the queries, and the way from rows to columns."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mops_analysis import schema
from mops_analysis.errors import SchemaError

if TYPE_CHECKING:
    import pandas as pd

JobIds = str | Iterable[str] | None
Time = str | datetime | None

_SAMPLE_ROW = [
    ("job", "i8"),
    ("sampled_at_ns", "i8"),
    ("latency_us", "i8"),
    ("status", "i8"),
    ("progress_percentage", "f8"),
    ("processed_items", "i8"),
    ("total_items", "i8"),
    ("failed_items", "i8"),
]

_SAMPLES = f"SELECT {', '.join(name for name, _ in _SAMPLE_ROW)} FROM polls WHERE outcome = 0 AND "  # noqa: S608  our own names

_POLLS = """
SELECT seq, job_id, sampled_at_ns, latency_us / 1e6, outcomes.text, http_status, detail, statuses.text,
       progress_percentage, processed_items, total_items, failed_items
FROM polls JOIN jobs USING (job) JOIN words AS outcomes ON outcomes.word = outcome
LEFT JOIN words AS statuses ON statuses.word = status
WHERE """

_JOBS = """
SELECT job_id, words.text, polls, samples, first_ns, last_ns, processed_items, total_items, failed_items
FROM (SELECT job, count(*) AS polls, count(status) AS samples, min(sampled_at_ns) AS first_ns,
             max(sampled_at_ns) AS last_ns, max(CASE WHEN outcome = 0 THEN seq END) AS newest
      FROM polls GROUP BY job) AS counts
JOIN jobs USING (job) LEFT JOIN polls ON polls.seq = newest LEFT JOIN words ON words.word = status
ORDER BY last_ns DESC, job_id
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


def samples(connection: sqlite3.Connection, job_ids: JobIds, since: Time, until: Time) -> pd.DataFrame:
    """Read the samples frame."""
    return _samples(connection, *_where(job_ids, since, until))


def new_samples(connection: sqlite3.Connection, after: int) -> tuple[pd.DataFrame, int]:
    """Read the samples whose poll has a later number than this, and the last number."""
    last = connection.execute("SELECT max(seq) FROM polls").fetchone()[0]
    return _samples(connection, "seq > ?", [after]), max(after, last or 0)


def _samples(connection: sqlite3.Connection, where: str, parameters: list[object]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    rows = np.fromiter(connection.execute(_SAMPLES + where, parameters), dtype=_SAMPLE_ROW)
    job_ids_by_code = dict(connection.execute("SELECT job, job_id FROM jobs ORDER BY job_id"))
    statuses = {code: schema.status_word(text) for code, text in connection.execute("SELECT word, text FROM words")}
    rank = {code: position for position, code in enumerate(job_ids_by_code)}
    rows = rows[np.lexsort((rows["sampled_at_ns"], _decoded(rows["job"], rank)))]
    return pd.DataFrame(
        {
            "job_id": _decoded(rows["job"], job_ids_by_code),
            "sampled_at": pd.to_datetime(rows["sampled_at_ns"], utc=True, unit="ns"),
            "status": _decoded(rows["status"], statuses),
            **{name: rows[name] for name, _ in _SAMPLE_ROW[4:]},
            "latency_s": rows["latency_us"] / 1e6,
        }
    ).astype(schema.SAMPLE_DTYPES)


def polls(connection: sqlite3.Connection, job_ids: JobIds, since: Time, until: Time) -> pd.DataFrame:
    """Read every poll, in the order of commit."""
    where, parameters = _where(job_ids, since, until)
    return _typed(connection.execute(f"{_POLLS}{where} ORDER BY seq", parameters), schema.POLL_DTYPES)


def jobs(connection: sqlite3.Connection) -> pd.DataFrame:
    """List the jobs, the last sampled one first."""
    frame = _typed(connection.execute(_JOBS), _JOB_DTYPES)
    return frame.assign(status=frame["status"].map(schema.status_word, na_action="ignore").astype("string"))


def _typed(rows: Iterable[tuple[object, ...]], dtypes: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(dtypes), dtype=object)
    for name, dtype in dtypes.items():
        if dtype.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name].astype("int64"), utc=True, unit="ns")
    return frame.astype(dtypes)


def _where(job_ids: JobIds, since: Time, until: Time) -> tuple[str, list[object]]:
    clauses: list[str] = ["1"]
    parameters: list[object] = []
    if job_ids is not None:
        wanted = [job_ids] if isinstance(job_ids, str) else list(job_ids)
        clauses.append("job IN (SELECT job FROM jobs WHERE job_id IN (SELECT value FROM json_each(?)))")
        parameters.append(json.dumps(wanted))
    for sign, bound, name in ((">=", since, "since"), ("<", until, "until")):
        if bound is not None:
            clauses.append(f"sampled_at_ns {sign} ?")
            parameters.append(_since_epoch_ns(bound, name))
    return " AND ".join(clauses), parameters


def _since_epoch_ns(time: str | datetime, name: str) -> int:
    import pandas as pd

    try:
        stamp = pd.Timestamp(time)
    except ValueError:
        raise SchemaError(f"{name}: expected a time such as '2026-11-18T14:00+01:00', got {time!r}") from None
    if stamp.tzinfo is None:
        raise SchemaError(f"{name}: expected a time with a zone, such as '{stamp.isoformat()}+00:00', got {time!r}")
    return stamp.as_unit("ns").value


def _decoded(codes: Any, values: dict[int, Any]) -> Any:
    # One value per code, without a Python step per row.
    import numpy as np

    table = np.empty(max(values, default=0) + 1, dtype=object)
    table[list(values)] = list(values.values())
    return table[codes]

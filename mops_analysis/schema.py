"""The words of the toolkit: the service's reply, and the samples frame made of replies.

====================  ==========================================================  =====  ====================
name                  meaning                                                     unit   dtype
====================  ==========================================================  =====  ====================
``job_id``            the job, as asked for                                       -      string
``sampled_at``        client's clock, middle of request and reply                 -      datetime64[ns, UTC]
``status``            the service's word, lower-cased; any word is allowed        -      string
progress_percentage   as served; may disagree with the counts                     %      float64
``processed_items``   as served; may or may not include the failed ones           items  int64
``total_items``       as served; may be 0, grow or shrink                         items  int64
``failed_items``      as served                                                   items  int64
``latency_s``         request to last byte; half is the doubt of ``sampled_at``   s      float64
====================  ==========================================================  =====  ====================

A *poll* is one request for one job's status, good or bad; a *sample* is a poll that succeeded. The samples frame has
one row per sample, sorted by ``job_id`` and then ``sampled_at``. Further columns pass through untouched; a column
``label`` is shown in place of ``job_id`` in charts and reports.

This is the only place that maps a key of the service's JSON or names a column, a dtype, a unit or a status word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mops_analysis.errors import ReplyError, SchemaError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from pandas.api.extensions import ExtensionArray

#: Columns of the samples frame with their dtypes, in order.
SAMPLE_DTYPES = {
    "job_id": "string",
    "sampled_at": "datetime64[ns, UTC]",
    "status": "string",
    "progress_percentage": "float64",
    "processed_items": "int64",
    "total_items": "int64",
    "failed_items": "int64",
    "latency_s": "float64",
}

#: Columns of the polls frame with their dtypes, in order: every poll, good or bad, in the order of commit.
POLL_DTYPES = {
    "seq": "int64",
    "job_id": "string",
    "sampled_at": "datetime64[ns, UTC]",
    "latency_s": "float64",
    "outcome": "string",
    "http_status": "Int64",
    "detail": "string",
    "status": "string",
    "progress_percentage": "Float64",
    "processed_items": "Int64",
    "total_items": "Int64",
    "failed_items": "Int64",
}

#: The statuses that the service's documents name, in the order of a job's life.
STATUSES = (
    "pending",
    "in_progress",
    "awaiting_review",
    "completed",
    "completed_with_warnings",
    "partial_success",
    "failed",
    "cancelled",
)

#: Statuses that never change again. `awaiting_review` is not one of them, nor is any word that we do not know.
TERMINAL_STATUSES = frozenset(
    {"completed", "completed_with_warnings", "partial_success", "failed", "cancelled", "canceled"}
)

#: Terminal statuses that an analyst reads as "ended well".
GOOD_STATUSES = frozenset({"completed", "completed_with_warnings"})

#: The status of a job that is being worked on: only then do its clock and its forecast run.
RUNNING_STATUS = "in_progress"

#: The status of a job that waits for its turn, and of one that waits for a human: it may do so for days.
PENDING_STATUS, REVIEW_STATUS = "pending", "awaiting_review"

#: Terminal statuses of jobs that went through all their items, some of which may have failed.
FINISHED_STATUSES = GOOD_STATUSES | {"partial_success"}

#: Every status word that we know.
KNOWN_STATUSES = TERMINAL_STATUSES | frozenset(STATUSES)

_COUNTS = ("processed_items", "total_items", "failed_items")
_INT64 = range(-(2**63), 2**63)


def status_word(status: str) -> str:
    """Return the service's word as the samples frame has it: lower-cased, without blanks around it.

    Examples
    --------
    >>> status_word("COMPLETED")
    'completed'
    """
    return status.strip().lower()


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One reply of the service, strictly typed, as served.

    Attributes
    ----------
    job_id
        The job.
    status
        The service's word, as served.
    progress_percentage
        As served [%]; finite, otherwise unchecked.
    processed_items, total_items, failed_items
        As served [items]; 64-bit integers, otherwise unchecked: odd values are data.

    Examples
    --------
    >>> reply = {"job_id": "job-1", "status": "in_progress", "progress_percentage": 50,
    ...          "processed_items": 5, "total_items": 10, "failed_items": 0, "more": "is fine"}
    >>> JobStatus.from_reply(reply, "job-1").progress_percentage
    50.0
    """

    job_id: str
    status: str
    progress_percentage: float
    processed_items: int
    total_items: int
    failed_items: int

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended: its status never changes again."""
        return status_word(self.status) in TERMINAL_STATUSES

    @classmethod
    def from_reply(cls, reply: object, job_id: str) -> JobStatus:
        """Check a decoded reply against the contract.

        Parameters
        ----------
        reply
            What the JSON decoder returned. Keys beyond the six are ignored.
        job_id
            The job that was asked for.

        Returns
        -------
        JobStatus
            The six fields.

        Raises
        ------
        ReplyError
            Kind "schema": not an object, a field missing or of the wrong type (a boolean is no integer, 50.0 is one),
            an integer beyond 64 bits, a percentage that is not finite, text that is no Unicode, or another job's id.
        """
        if not isinstance(reply, Mapping):
            raise _contract_error(f"expected a JSON object, got {_json_type(reply)}", job_id)
        for name in ("job_id", "status"):
            _check_text(reply, name, job_id)
        counts = {name: _count(reply, name, job_id) for name in _COUNTS}
        if reply["job_id"] != job_id:
            raise _contract_error("the reply is about another job than the one asked for", job_id)
        return cls(
            job_id=job_id,
            status=reply["status"],
            progress_percentage=_percentage(reply, job_id),
            **counts,
        )


@dataclass(frozen=True, slots=True)
class Poll:
    """One request for one job's status, good or bad: what the sampler hands to the store.

    Attributes
    ----------
    job_id
        The job, as asked for.
    sampled_at_ns
        Client's clock, middle of request and reply, since the epoch [ns].
    latency_s
        Request to last byte of the reply, or to the fault [s].
    outcome
        "ok", or a key of `errors.POLL_FAULTS`.
    http_status
        The reply's HTTP status, None where none arrived.
    detail
        The redacted reason of a fault, None where all went well.
    status
        What the service said; None exactly where `outcome` is not "ok".
    """

    job_id: str
    sampled_at_ns: int
    latency_s: float
    outcome: str
    http_status: int | None = None
    detail: str | None = None
    status: JobStatus | None = None


def decode_reply(body: bytes, job_id: str) -> object:
    """Decode the body of a reply as one strict JSON document.

    Parameters
    ----------
    body
        The bytes of the reply, after decompression.
    job_id
        The job that was asked for; only for the error.

    Returns
    -------
    object
        The decoded document.

    Raises
    ------
    ReplyError
        Kind "decode" where the bytes are not UTF-8; "not_json" where they are not one JSON document, or nest too deep;
        "schema" for NaN, Infinity, a key given twice, or a number too long to read.

    Examples
    --------
    >>> decode_reply(b'{"status": "completed"}', "job-1")
    {'status': 'completed'}
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ReplyError("the body is not UTF-8", kind="decode", job_id=job_id) from None
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except _BrokenContractError as error:
        raise _contract_error(str(error), job_id) from None
    except json.JSONDecodeError as error:
        detail = f"expected one JSON document: {error.msg} at character {error.pos}"
        raise ReplyError(detail, kind="not_json", job_id=job_id) from None
    except RecursionError:
        raise ReplyError("the document nests too deep", kind="not_json", job_id=job_id) from None
    except ValueError:  # an integer of more digits than Python reads
        raise _contract_error("a number has too many digits", job_id) from None


class _BrokenContractError(ValueError):
    pass


def _no_constant(word: str) -> float:
    raise _BrokenContractError(f"{word} is no JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _BrokenContractError("a key is given twice")
    return fields


def _contract_error(detail: str, job_id: str) -> ReplyError:
    return ReplyError(detail, kind="schema", job_id=job_id)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _field(reply: Mapping[str, Any], name: str, job_id: str) -> Any:
    if name not in reply:
        raise _contract_error(f"field {name!r} is missing", job_id)
    return reply[name]


def _check_text(reply: Mapping[str, Any], name: str, job_id: str) -> None:
    value = _field(reply, name, job_id)
    if not isinstance(value, str):
        raise _contract_error(f"field {name!r}: expected a string, got {_json_type(value)}", job_id)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _contract_error(f"field {name!r}: a lone surrogate is no Unicode text", job_id)


def _count(reply: Mapping[str, Any], name: str, job_id: str) -> int:
    value = _field(reply, name, job_id)
    # JSON Schema counts 50.0 among the integers. Beyond 2**53 a decimal point may have cost some digits.
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if type(value) is not int:
        raise _contract_error(f"field {name!r}: expected an integer, got {_json_type(value)}", job_id)
    if value not in _INT64:
        raise _contract_error(f"field {name!r}: the integer does not fit 64 bits", job_id)
    return value


def _percentage(reply: Mapping[str, Any], job_id: str) -> float:
    value = _field(reply, "progress_percentage", job_id)
    if type(value) not in (int, float):
        raise _contract_error(f"field 'progress_percentage': expected a number, got {_json_type(value)}", job_id)
    try:
        percentage = float(value)
    except OverflowError:
        percentage = math.inf
    if not math.isfinite(percentage):
        raise _contract_error("field 'progress_percentage': the number is not finite", job_id)
    return percentage


def to_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the samples frame from records.

    Parameters
    ----------
    records
        Mappings with the keys of `SAMPLE_DTYPES`; `sampled_at` is an aware datetime or an ISO string with offset.
        Further keys become further columns.

    Returns
    -------
    DataFrame
        One row per record, sorted by `job_id` and `sampled_at`, RangeIndex; the eight columns come first, also for no
        records at all.

    Raises
    ------
    SchemaError
        If a record is no mapping, a key is missing, a time is naive, or a value does not fit its dtype.

    Examples
    --------
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": "2026-11-18T14:00:00+00:00", "status": "COMPLETED",
    ...                    "progress_percentage": 100, "processed_items": 10, "total_items": 10, "failed_items": 0,
    ...                    "latency_s": 0.1}])
    >>> frame.loc[0, "status"], str(frame.loc[0, "sampled_at"])
    ('completed', '2026-11-18 14:00:00+00:00')
    """
    import pandas as pd

    try:
        rows = [dict(record) for record in records]
    except (TypeError, ValueError):
        raise SchemaError(f"expected records: mappings with the keys {', '.join(SAMPLE_DTYPES)}") from None
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({name: [] for name in SAMPLE_DTYPES})
    _require_columns(frame)
    if not rows:
        return frame.astype(SAMPLE_DTYPES)
    if frame["sampled_at"].dtype == object or pd.api.types.is_string_dtype(frame["sampled_at"]):
        frame["sampled_at"] = aware_times(frame["sampled_at"])
    frame["status"] = frame["status"].map(lambda word: status_word(word) if isinstance(word, str) else word)
    return validate(frame).reset_index(drop=True)


def aware_times(times: pd.Series[Any]) -> pd.Series[Any]:
    """Times from aware datetimes or ISO strings with offset; SchemaError where one has no zone, or is none."""
    import pandas as pd

    try:
        parsed = [pd.Timestamp(time) for time in times]
        is_naive = any(pd.isna(time) or time.tzinfo is None for time in parsed)
        instants = None if is_naive else pd.to_datetime(parsed, utc=True).as_unit("ns")
    except (ValueError, TypeError) as error:  # also what nanoseconds cannot count
        raise SchemaError(f"column 'sampled_at': expected times of the years 1678 to 2261; {error}") from None
    if instants is None:
        raise SchemaError(_NAIVE)
    return pd.Series(instants, index=times.index)


_NAIVE = (
    "column 'sampled_at': expected times with a zone, got naive or missing ones; "
    "say which zone they are in: samples['sampled_at'].dt.tz_localize('UTC')"
)


def _require_columns(frame: pd.DataFrame) -> None:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SchemaError(f"column {twice!r} is there twice; keep one: samples.loc[:, ~samples.columns.duplicated()]")
    missing = [name for name in SAMPLE_DTYPES if name not in frame.columns]
    if missing:
        raise SchemaError(
            f"column {missing[0]!r} is missing (of the samples frame: {', '.join(SAMPLE_DTYPES)}); "
            f"the frame has {', '.join(map(str, frame.columns)) or 'no columns'}. "
            "Read samples with read_samples(), or build them with schema.to_frame()"
        )


def validate(samples: pd.DataFrame) -> pd.DataFrame:
    """Check that a frame is a samples frame, and bring it into order.

    Parameters
    ----------
    samples
        Any frame. It is not changed.

    Returns
    -------
    DataFrame
        The same rows under the same index labels, sorted by `job_id` and `sampled_at`, with exactly the dtypes of
        `SAMPLE_DTYPES`, those columns first; the very same object where nothing had to be done.

    Raises
    ------
    SchemaError
        If a column is missing, a time is naive, or a dtype cannot be converted without loss. The message names the
        column and the cure.

    Examples
    --------
    >>> import pandas as pd
    >>> validate(pd.DataFrame({"job_id": ["job-1"]}))
    Traceback (most recent call last):
    ...
    mops_analysis.errors.SchemaError: column 'sampled_at' is missing (of the samples frame: job_id, sampled_at, ...
    """
    import pandas as pd

    if not isinstance(samples, pd.DataFrame):
        raise SchemaError(f"expected a samples frame (pandas DataFrame), got {type(samples).__name__}")
    _require_columns(samples)
    changed = {
        name: _as_dtype(samples[name], dtype)
        for name, dtype in SAMPLE_DTYPES.items()
        if str(samples[name].dtype) != dtype
    }
    checked = samples.assign(**changed) if changed else samples
    if checked["sampled_at"].isna().any():
        raise SchemaError(_NAIVE)
    for name in ("job_id", "status"):
        if checked[name].isna().any():
            raise SchemaError(
                f"column {name!r}: expected text, some of it is missing; drop those rows: samples.dropna()"
            )
    if list(checked.columns[: len(SAMPLE_DTYPES)]) != list(SAMPLE_DTYPES):
        checked = checked[[*SAMPLE_DTYPES, *(name for name in checked.columns if name not in SAMPLE_DTYPES)]]
    return in_order(checked)


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that has `job_id` and `sampled_at` sorted by both; the very same object where it already is."""
    import numpy as np
    import pandas as pd

    if is_ordered(frame):
        return frame
    job = pd.factorize(frame["job_id"], sort=True)[0]
    return frame.take(np.lexsort((pd.DatetimeIndex(frame["sampled_at"]).asi8, job)))


def changes(words: ExtensionArray) -> npt.NDArray[np.int64]:
    """Positions at which the word is another than the one before; the first is one."""
    import numpy as np

    found = [np.zeros(min(len(words), 1), dtype=np.int64)]
    for start in range(1, len(words), _BLOCK):
        here = words[start : start + _BLOCK]
        before = words[start - 1 : start - 1 + len(here)]
        # Words change seldom, and whether any does is known in a third of the time.
        if not here.equals(before):  # type: ignore[attr-defined]  # pandas has it, its stubs do not
            found.append(start + np.flatnonzero(np.asarray(here != before, dtype=bool)))
    return np.concatenate(found)


_BLOCK = 65_536


def is_ordered(samples: pd.DataFrame) -> bool:
    """Whether the rows are sorted by job and time."""
    import numpy as np
    import pandas as pd

    starts = changes(samples["job_id"].array)
    jobs = samples["job_id"].iloc[starts]
    time_ns = pd.DatetimeIndex(samples["sampled_at"]).asi8
    falls = np.flatnonzero(time_ns[1:] < time_ns[:-1]) + 1
    return bool(jobs.is_monotonic_increasing and jobs.is_unique and np.isin(falls, starts).all())


def _as_dtype(column: pd.Series[Any], dtype: str) -> pd.Series[Any]:
    import pandas as pd

    name = column.name
    converted: pd.Series[Any]
    if dtype.startswith("datetime"):
        return _as_times(column)
    if dtype == "string":
        is_text = isinstance(column.dtype, pd.StringDtype) or pd.api.types.infer_dtype(column, skipna=False) == "string"
        if len(column) and not is_text:
            raise SchemaError(f"column {name!r}: expected text, got {column.dtype}; use .astype('string')")
        return column.astype("string")
    types = pd.api.types
    is_number = types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)
    if len(column) and (types.is_bool_dtype(column.dtype) or not is_number):
        raise SchemaError(f"column {name!r}: expected {dtype}, got {column.dtype}; use pandas.to_numeric()")
    try:
        converted = column.astype(pd.api.types.pandas_dtype(dtype))
    except (ValueError, TypeError, OverflowError):
        lossless = False
    else:
        lossless = dtype == "float64" or bool((converted == column).all())
    if not lossless:
        raise SchemaError(
            f"column {name!r}: expected whole numbers without gaps ({dtype}), got {column.dtype} with other values; "
            "leave out the rows that are no samples: samples.dropna()"
        )
    return converted


def _as_times(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise SchemaError(
            f"column 'sampled_at': expected times with a zone, got {column.dtype}; "
            "make times of it: pandas.to_datetime(samples['sampled_at'], utc=True)"
        )
    times = pd.DatetimeIndex(column)  # also of times that Arrow holds
    if times.tz is None:
        raise SchemaError(_NAIVE)
    try:
        return pd.Series(times.tz_convert("UTC").as_unit("ns"), index=column.index, name=column.name)
    except ValueError as error:
        raise SchemaError(f"column 'sampled_at': expected times of the years 1678 to 2261; {error}") from None

"""The service's reply, strictly typed, and the poll that brought it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mops_analysis.errors import ReplyError
from mops_analysis.schema.words import TERMINAL_STATUSES, status_word

_COUNTS = ("processed_items", "total_items", "failed_items")
_INT64 = range(-(2**63), 2**63)


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

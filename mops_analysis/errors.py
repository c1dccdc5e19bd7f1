"""What can go wrong, as one small tree.

::

    MopsError                    .kind names the fault in one word
    ├── SchemaError              kind "schema": a frame or a file that is not what it should be
    ├── ConfigurationError       kind "configuration": an address, credential, job id or option is unusable
    ├── StoreError               kind "store": a sample store is damaged, foreign, newer, locked or out of space
    └── PollError                one poll gave no sample; the next may
        ├── ConnectionFailed     the request never completed: kind "connection", "timeout" or "tls"
        └── ReplyError           a reply arrived and is no sample: any other kind of `POLL_FAULTS`

A class exists only where a caller acts differently. Every message says what was expected, what came, and the cure;
none holds a credential: whoever raises a `PollError` has redacted its text.
"""

from __future__ import annotations

__all__ = [
    "PERMANENT_FAULTS",
    "POLL_FAULTS",
    "ConfigurationError",
    "ConnectionFailed",
    "MopsError",
    "PollError",
    "ReplyError",
    "SchemaError",
    "StoreError",
]

#: Every fault that a poll may end with, and what it means. `read_polls()` has these words in its column `outcome`.
POLL_FAULTS = {
    "connection": "the connection failed or broke before the reply was whole",
    "timeout": "no whole reply within the deadline",
    "tls": "the server's certificate was not accepted, or it speaks no TLS there; nothing was sent",
    "redirect": "the server sent us elsewhere; we do not follow",
    "auth": "401: the credential is missing, wrong or expired",
    "forbidden": "403: signed in, but without the permission",
    "not_found": "404 or 410: wrong id, another organization's job, or an expired one",
    "quota": "402: the organization's quota is used up",
    "client": "400, 409 or 422: the request itself was refused",
    "rate_limited": "429: too many requests",
    "server": "5xx: trouble at the service",
    "http": "another HTTP status than 200",
    "too_large": "the reply was larger than a job status can be",
    "decode": "the reply's bytes are not what its headers say, or not UTF-8",
    "not_json": "the reply is not one JSON document",
    "schema": "the reply is JSON but breaks the contract",
}

#: Faults that asking again does not cure: the job is given up after one of them ("auth": every job).
PERMANENT_FAULTS = frozenset({"auth", "forbidden", "not_found", "quota", "client"})


class MopsError(Exception):
    """The root: every error that this package raises on purpose.

    Attributes
    ----------
    kind
        The fault in one word; the same word that `read_polls()` shows.
    """

    kind: str = "error"


class SchemaError(MopsError, ValueError):
    """A frame, file or value is not what the function takes."""

    kind = "schema"


class ConfigurationError(MopsError, ValueError):
    """An address, credential, job id or option cannot be used; nothing was sent."""

    kind = "configuration"


class StoreError(MopsError, OSError):
    """A sample store cannot be opened, read or written; what it holds is untouched."""

    kind = "store"


class PollError(MopsError):
    """One poll gave no sample.

    Attributes
    ----------
    kind
        A key of `POLL_FAULTS`.
    job_id
        The job that was asked for.
    http_status
        The reply's HTTP status, None where none arrived.
    retry_after_s
        What the service asked us to wait [s], None where it did not say.
    detail
        The redacted reason, at most 200 characters.
    """

    def __init__(
        self,
        detail: str,
        *,
        kind: str,
        job_id: str,
        http_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.job_id = job_id
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.detail = detail
        super().__init__(detail)

    def __str__(self) -> str:
        status = f", HTTP {self.http_status}" if self.http_status is not None else ""
        return f"job {self.job_id!r}: {POLL_FAULTS[self.kind]} ({self.kind}{status}): {self.detail}"


class ConnectionFailed(PollError):  # noqa: N818  it shadows no builtin and reads as what happened
    """The request never completed: nothing can be said about the job."""


class ReplyError(PollError):
    """A reply arrived, and it is no sample."""

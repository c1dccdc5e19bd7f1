"""What a reply that is no sample says: its kind, its reason in words, and when to come back."""

from __future__ import annotations

import html
import json
import re
import sys
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from mops_analysis.client.transport import MAX_BODY_BYTES, Reply

# The one table of HTTP statuses. Beyond it: 3xx "redirect", 5xx "server", anything else "http".
_KINDS = {
    400: "client",
    401: "auth",
    402: "quota",
    403: "forbidden",
    404: "not_found",
    409: "client",
    410: "not_found",
    422: "client",
    429: "rate_limited",
}

# What a validation error repeats of the request may be a credential.
_ECHOES = frozenset({"input", "ctx"})
# Enough to find 200 characters in, and little enough to search at once.
_LONGEST_TEXT = 8192
_DEEPEST = 4
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def kind_of(status: int) -> str:
    """Return the kind of an HTTP status other than 200."""
    families = {3: "redirect", 5: "server"}
    return _KINDS.get(status) or families.get(status // 100, "http")


def decoded_body(reply: Reply) -> bytes | None:
    """Undo the content coding of a body; None where the bytes are not what the header says.

    At most `MAX_BODY_BYTES` + 1 bytes come out, whatever went in.
    """
    coding = reply.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return reply.body
    if coding in ("gzip", "x-gzip"):
        return _inflate(reply.body, 16 + zlib.MAX_WBITS)
    if coding == "deflate":
        # Some servers leave the zlib header out.
        inflated = _inflate(reply.body, zlib.MAX_WBITS)
        return _inflate(reply.body, -zlib.MAX_WBITS) if inflated is None else inflated
    return None


def _inflate(body: bytes, window_bits: int) -> bytes | None:
    stream = zlib.decompressobj(window_bits)
    try:
        inflated = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return None
    is_whole = stream.eof and not stream.unused_data
    return inflated if is_whole or len(inflated) > MAX_BODY_BYTES else None


def reason_of(reply: Reply) -> str:
    """Return what an error reply says for itself, in words, not yet redacted; else what its status means."""
    if kind_of(reply.status) == "redirect":
        return f"HTTP {reply.status} to {_target(reply.headers.get('Location', ''))}"
    text = text_of(decoded_body(reply) or b"")
    return text or reply.reason or _phrase(reply.status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _target(location: str) -> str:
    # The rest of the address may hold a credential.
    try:
        return urlsplit(location).hostname or "the same host"
    except ValueError:
        return "an address that is none"


def text_of(body: bytes) -> str:
    """Return a body as one line of text: JSON's `detail`, a page without its markup, or the text as it is."""
    text = body[: 8 * _LONGEST_TEXT].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return _one_line(_without_markup(text[:_LONGEST_TEXT]))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _one_line(text)
    if isinstance(document, dict) and "detail" in document:
        document = document["detail"]
    return _one_line(_words(document))


def _one_line(text: str) -> str:
    # Control characters could steer the terminal that shows the text.
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_TEXT])
    return " ".join(printable.split())


def _without_markup(page: str) -> str:
    # Linear in the page, which no pattern with "anything up to" is on a hostile one.
    texts, is_code = [], False
    for piece in page.split("<"):
        tag, _, text = piece.partition(">")
        if tag.lower().startswith(("script", "style")):
            is_code = True
        elif tag.lower().startswith(("/script", "/style")):
            is_code = False
        if not is_code:
            texts.append(text)
    return html.unescape(" ".join(texts))


def _words(value: object, depth: int = 0) -> str:
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(_words(item, depth + 1) for item in value)
    if not isinstance(value, dict):
        return str(value)
    if "msg" in value:
        loc = value.get("loc")
        place = (
            ".".join(_words(part, depth + 1) for part in loc) if isinstance(loc, list) else _words(loc or "", depth + 1)
        )
        return f"{place}: {_words(value['msg'], depth + 1)}" if place else _words(value["msg"], depth + 1)
    shown = {key: item for key, item in value.items() if key not in _ECHOES}
    return ", ".join(f"{key}: {_words(item, depth + 1)}" for key, item in shown.items())


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return what `Retry-After` asks us to wait [s], None where it says nothing that can be read.

    Whole and fractional seconds, and HTTP dates: those are measured from the reply's own `Date`, so that a clock that
    differs does no harm. A date in the past is 0.

    Examples
    --------
    >>> retry_after_s({"Retry-After": "2.5"})
    2.5
    >>> retry_after_s({"Retry-After": "Sat, 01 Jan 2000 00:01:00 GMT", "Date": "Sat, 01 Jan 2000 00:00:00 GMT"})
    60.0
    >>> retry_after_s({"Retry-After": "1m0s"}) is None
    True
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), sys.float_info.max)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, LookupError):
        return None

"""The client against a server that misbehaves in every way that the fault table knows."""

import base64
import contextlib
import gzip
import io
import os
import pickle
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from faulty_server import (
    Behaviour,
    Exchange,
    FaultyServer,
    black_hole,
    body_of,
    chunked,
    close,
    flood,
    hang,
    head,
    raw,
    refused,
    reply,
    reset,
    sample,
    trickle,
)
from IPython.core.ultratb import VerboseTB
from rich.console import Console
from rich.traceback import Traceback

from mops_analysis import JobStatusClient
from mops_analysis.client import check_job_id
from mops_analysis.errors import POLL_FAULTS, ConfigurationError, ConnectionFailed, MopsError, PollError, ReplyError
from mops_analysis.schema import JobStatus

TOKEN = "canary-t0ken/8f3A+Zq91x"
ORGANIZATION = "canary-org-55173"
SESSION = "canary-session-c00kie42"
CANARIES = (TOKEN, ORGANIZATION, SESSION)
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("MERCHANTOPS_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE")):
            monkeypatch.delenv(name)


def client_for(server: FaultyServer, **options: Any) -> JobStatusClient:
    credentials = {"token": TOKEN, "organization_id": ORGANIZATION, "session": SESSION}
    return JobStatusClient(**({"base_url": server.url, "deadline_s": 5.0, **credentials} | options))


def outcome_of(client: JobStatusClient, job_id: str = "job-1") -> JobStatus | PollError:
    try:
        return client.fetch_status(job_id)
    except PollError as error:
        return error


def of(body: bytes | Callable[[str], bytes], *headers: str, **options: Any) -> Behaviour:
    return reply(200, body, *headers, **options)


def fields(**changed: object) -> Behaviour:
    return of(lambda job_id: body_of(job_id, **changed))


def as_text(old: bytes, new: bytes) -> Behaviour:
    """A sample whose JSON has one piece of text changed to what `json.dumps` would not write."""
    return of(lambda job_id: body_of(job_id).replace(old, new))


def packed(pack: Callable[[bytes], bytes], coding: str) -> Behaviour:
    return of(lambda job_id: pack(body_of(job_id)), f"Content-Encoding: {coding}")


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def framed(job_id: str) -> bytes:
    body = body_of(job_id)
    return head(length=len(body)) + body


# ---------------------------------------------------------------- replies that are samples

SAMPLES = {
    "plain": sample(),
    "slow": sample(after_s=0.2),
    "chunked": raw(lambda job: head(200, "Transfer-Encoding: chunked") + chunked(body_of(job)), then="keep"),
    "gzip": packed(gzip.compress, "gzip"),
    "deflate": packed(zlib.compress, "deflate"),
    "deflate without its header": packed(raw_deflate, "Deflate"),
    "identity": packed(bytes, "identity"),
    "HTTP/1.0": of(body_of, version="1.0"),
    "Connection: close": of(body_of, "Connection: close"),
    "until the connection closes": raw(lambda job: head(200) + body_of(job)),
    "a folded line before the headers": raw(lambda job: framed(job).replace(b"\r\n", b"\r\n odd\r\n", 1), then="keep"),
    "odd header case": raw(lambda job: framed(job).replace(b"Content-Length", b"cONTENT-lENGTH"), then="keep"),
    "100 first": raw(lambda job: head(100) + framed(job), then="keep"),
    "103 first": raw(lambda job: head(103, "Link: </x>") + framed(job), then="keep"),
    "trickled, in time": trickle(framed, every_s=0.002, size=10),
    "byte order mark": of(lambda job: b"\xef\xbb\xbf" + body_of(job)),
    "extra fields": fields(more={"is": ["fine"]}),
    "a Date a day off": of(body_of, f"Date: {formatdate(time.time() + 86400, usegmt=True)}"),
    "closed when idle": raw(framed),
    "a second reply that nobody asked for": raw(
        lambda job: framed(job) + framed(job).replace(b": 5,", b": 9,"), then="keep"
    ),
    "a cookie": of(body_of, f"Set-Cookie: stytch_session={SESSION}2; Path=/"),
}


@pytest.mark.parametrize("behaviour", SAMPLES.values(), ids=SAMPLES)
def test_each_form_of_a_good_reply_is_a_sample(behaviour: Behaviour) -> None:
    """However a good reply travels, each of two polls gives its sample, with one request each."""
    with FaultyServer({"job-1": behaviour}) as server, client_for(server) as client:
        for _ in range(2):
            assert client.fetch_status("job-1") == JobStatus("job-1", "in_progress", 50.0, 5, 10, 0)
        assert len(server.requests) == 2


ODD_VALUES = {
    "negative": {"processed_items": -3},
    "processed > total": {"processed_items": 11},
    "failed > processed": {"failed_items": 6},
    "total 0": {"total_items": 0},
    "progress 250": {"progress_percentage": 250.0},
    "integer progress": {"progress_percentage": 50},
    "largest integer": {"processed_items": 2**63 - 1},
    "50.0 as a count": {"processed_items": 50.0},
    "unknown status": {"status": "unheard_of"},
    "Unicode status": {"status": "läuft ✓ 進行"},
    "NUL in the status": {"status": "a\0b"},
    "20 kB status": {"status": "x" * 20_000},
    "markup status": {"status": "<script>alert(1)</script>=1+1"},
}


@pytest.mark.parametrize("changed", ODD_VALUES.values(), ids=ODD_VALUES)
def test_odd_values_come_through_as_served(changed: dict[str, object]) -> None:
    """Values that are odd but keep the contract are data."""
    with FaultyServer({"job-1": fields(**changed)}) as server, client_for(server) as client:
        status = client.fetch_status("job-1")
    assert {name: getattr(status, name) for name in changed} == changed
    assert type(status.processed_items) is int


# ---------------------------------------------------------------- the fault table

BOMB = (lambda stream: b"".join([*(stream.compress(bytes(MIB)) for _ in range(256)), stream.flush()]))(
    zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
)
LOGIN_PAGE = (
    b"<html><head><title>Sign in</title><script>var a = '</a>';</script></head><body>Please sign in</body></html>"
)

#: Fault: behaviour, kind, HTTP status of the error, and how many requests the server sees.
FAULTS: dict[str, tuple[Behaviour, str, int | None, int]] = {
    # The connection breaks.
    "empty reply": (close, "connection", None, 1),
    "RST before the reply": (reset, "connection", None, 1),
    "RST in the body": (raw(head(length=500) + b'{"job_id"', then="reset"), "connection", None, 1),
    "short body": (raw(head(length=500) + b'{"job_id"'), "connection", None, 1),
    "short body, valid JSON": (raw(lambda job: head(length=500) + body_of(job)), "connection", None, 1),
    "cut in the status line": (raw(b"HTTP/1.1 200"), "connection", None, 1),
    "cut after the status line": (raw(b"HTTP/1.1 200 OK\r\n"), "connection", None, 1),
    "cut in a header": (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "connection", None, 1),
    "cut after a header": (raw(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n"), "connection", None, 1),
    "RST in the headers": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", then="reset"), "connection", None, 1),
    "cut chunk": (raw(head(200, "Transfer-Encoding: chunked") + b"50\r\n{}"), "connection", None, 1),
    "last chunk missing": (
        raw(lambda job: head(200, "Transfer-Encoding: chunked") + chunked(body_of(job))[:-5]),
        "connection",
        None,
        1,
    ),
    "bad chunk": (raw(head(200, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n"), "connection", None, 1),
    "bad status line": (raw(b"SMTP 220 hello\r\n\r\n"), "connection", None, 1),
    "status that is no number": (raw(b"HTTP/1.1 OK 200\r\n\r\n"), "connection", None, 1),
    "500 headers": (raw(lambda job: head(200, *["X: y"] * 500) + body_of(job)), "connection", None, 1),
    "100 kB header": (raw(lambda job: head(200, "X: " + "y" * 100_000) + body_of(job)), "connection", None, 1),
    "a line that is no header": (
        raw(lambda job: head(200, "Oops", f"Content-Length: {len(body_of(job))}") + body_of(job)),
        "connection",
        None,
        1,
    ),
    "two lengths": (
        raw(lambda job: head(200, "Content-Length: 5, 6") + body_of(job)),
        "connection",
        None,
        1,
    ),
    # It takes too long.
    "hang": (hang(), "timeout", None, 1),
    "hang after the headers": (raw(head(length=200), then="hang"), "timeout", None, 1),
    "hang in the body": (raw(head(length=200) + b"{", then="hang"), "timeout", None, 1),
    "trickled headers": (trickle(head(200, "X: " + "y" * 500)), "timeout", None, 1),
    "trickled body": (trickle(b" " * 500, first=head(length=500)), "timeout", None, 1),
    "trickled chunks": (
        flood(b"1\r\n \r\n", first=head(200, "Transfer-Encoding: chunked"), every_s=0.05),
        "timeout",
        None,
        1,
    ),
    "100 Continue for ever": (flood(head(100)), "timeout", None, 1),
    "100 Continue for ever, slowly": (flood(head(100), every_s=0.05), "timeout", None, 1),
    "103 Early Hints for ever": (flood(head(103)), "timeout", None, 1),
    # Statuses.
    "301": (reply(301, b"", "Location: https://elsewhere.example/api"), "redirect", 301, 1),
    "302 without Location": (reply(302), "redirect", 302, 1),
    "307 to a bad address": (reply(307, b"", "Location: http://[bad"), "redirect", 307, 1),
    "308 to a file": (reply(308, b"", "Location: file:///etc/passwd"), "redirect", 308, 1),
    "302 with an endless body": (flood(b" " * 65536, first=head(302, "Location: /", length=10**9)), "redirect", 302, 1),
    "400": (reply(400, b'{"detail": "bad"}'), "client", 400, 1),
    "401": (reply(401, b'{"detail": "sign in"}'), "auth", 401, 1),
    "402": (reply(402, b'{"detail": {"quota": 5}}'), "quota", 402, 1),
    "403": (reply(403, b'{"detail": "Missing required permission: job:read"}'), "forbidden", 403, 1),
    "404": (reply(404, b'{"detail": "Not Found"}'), "not_found", 404, 1),
    "409": (reply(409, b"[]"), "client", 409, 1),
    "410": (reply(410), "not_found", 410, 1),
    "422": (reply(422, b'{"detail": []}'), "client", 422, 1),
    "429": (reply(429, b"slow down"), "rate_limited", 429, 1),
    "500": (reply(500, LOGIN_PAGE), "server", 500, 1),
    "500 with a perfect sample": (reply(500, body_of), "server", 500, 1),
    "500 with a broken body": (raw(head(500, length=500) + b"{"), "server", 500, 1),
    "500 with an endless body": (flood(b" " * 65536, first=head(500, length=10**9)), "server", 500, 1),
    "502 in false gzip": (reply(502, b"<html>", "Content-Encoding: gzip"), "server", 502, 1),
    "503": (reply(503), "server", 503, 1),
    "504": (reply(504), "server", 504, 1),
    "999": (reply(999), "http", 999, 1),
    "418": (reply(418, b"teapot"), "http", 418, 1),
    "408": (reply(408), "http", 408, 1),
    "204": (raw(head(204), then="keep"), "http", 204, 1),
    "203 with a perfect sample": (reply(203, body_of), "http", 203, 1),
    "201 with a perfect sample": (reply(201, body_of), "http", 201, 1),
    "101": (raw(head(101), then="keep"), "http", 101, 1),
    # Too large.
    "gzip bomb, 256 MB": (reply(200, BOMB, "Content-Encoding: gzip"), "too_large", 200, 1),
    "body of 100 MB": (flood(b" " * 65536, first=head(length=10**8)), "too_large", 200, 1),
    "endless body": (flood(b" " * 65536, first=head(200)), "too_large", 200, 1),
    "endless chunks": (
        flood(b"10000\r\n" + b" " * 65536 + b"\r\n", first=head(200, "Transfer-Encoding: chunked")),
        "too_large",
        200,
        1,
    ),
    "one byte too much": (of(lambda job: body_of(job).ljust(MIB + 1)), "too_large", 200, 1),
    # Bytes that are not what they say.
    "bad UTF-8": (as_text(b"in_progress", b"in\xff"), "decode", 200, 1),
    "UTF-16": (of(lambda job: body_of(job).decode().encode("utf-16")), "decode", 200, 1),
    "false gzip": (packed(bytes, "gzip"), "decode", 200, 1),
    "cut gzip": (packed(lambda body: gzip.compress(body)[:-12], "gzip"), "decode", 200, 1),
    "gzip and more": (packed(lambda body: gzip.compress(body) + b"more", "gzip"), "decode", 200, 1),
    "false deflate": (packed(bytes, "deflate"), "decode", 200, 1),
    "unknown encoding": (packed(bytes, "br"), "decode", 200, 1),
    "ten encodings": (packed(bytes, ", ".join(["gzip"] * 10)), "decode", 200, 1),
    # Not JSON.
    "cut JSON": (of(lambda job: body_of(job)[:-5]), "not_json", 200, 1),
    "HTML": (of(LOGIN_PAGE, content_type="text/html"), "not_json", 200, 1),
    "HTML that says it is JSON": (of(LOGIN_PAGE), "not_json", 200, 1),
    "empty": (of(b""), "not_json", 200, 1),
    "two documents": (of(lambda job: body_of(job) * 2), "not_json", 200, 1),
    "200 000 brackets": (of(b"[" * 200_000), "not_json", 200, 1),
    # JSON that breaks the contract.
    "list": (of(b"[]"), "schema", 200, 1),
    "null": (of(b"null"), "schema", 200, 1),
    "text": (of(b'"completed"'), "schema", 200, 1),
    "number": (of(b"5"), "schema", 200, 1),
    "{}": (of(b"{}"), "schema", 200, 1),
    "field missing": (fields(failed_items=...), "schema", 200, 1),
    "field null": (fields(total_items=None), "schema", 200, 1),
    "boolean count": (fields(processed_items=True), "schema", 200, 1),
    "17.5 items": (fields(processed_items=17.5), "schema", 200, 1),
    "2**53 + 2, with a point": (as_text(b": 5,", b": 9007199254740994.0,"), "schema", 200, 1),
    "text count": (fields(processed_items="5"), "schema", 200, 1),
    "object count": (fields(processed_items={}), "schema", 200, 1),
    "list count": (fields(total_items=[5]), "schema", 200, 1),
    "numeric status": (fields(status=5), "schema", 200, 1),
    "boolean progress": (fields(progress_percentage=False), "schema", 200, 1),
    "2**63": (fields(processed_items=2**63), "schema", 200, 1),
    "-2**63 - 1": (fields(failed_items=-(2**63) - 1), "schema", 200, 1),
    "NaN": (as_text(b"50.0", b"NaN"), "schema", 200, 1),
    "NaN in a further field": (as_text(b'"status":', b'"more": NaN, "status":'), "schema", 200, 1),
    "Infinity": (as_text(b"50.0", b"Infinity"), "schema", 200, 1),
    "-Infinity": (as_text(b": 5,", b": -Infinity,"), "schema", 200, 1),
    "1e400": (as_text(b"50.0", b"1e400"), "schema", 200, 1),
    "5000 digits": (as_text(b"50.0", b"9" * 5000), "schema", 200, 1),
    "duplicate key": (as_text(b'"status":', b'"status": "failed", "status":'), "schema", 200, 1),
    "lone surrogate": (as_text(b"in_progress", rb"\ud800"), "schema", 200, 1),
    "another job": (of(body_of("job-2")), "schema", 200, 1),
    "the job's id in upper case": (of(body_of("JOB-1")), "schema", 200, 1),
}


@pytest.mark.parametrize(("behaviour", "kind", "http_status", "requests"), FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_kind(behaviour: Behaviour, kind: str, http_status: int | None, requests: int) -> None:
    """Each fault ends in its kind, in time, with the requests of its row; the next poll is right, none stays open."""
    deadline_s = 0.4 if kind == "timeout" else 5.0
    with FaultyServer({"job-1": behaviour}) as server, client_for(server, deadline_s=deadline_s) as client:
        begun = time.monotonic()
        outcome = outcome_of(client)
        assert time.monotonic() - begun < deadline_s + 1
        assert isinstance(outcome, PollError), outcome
        assert (outcome.kind, outcome.http_status) == (kind, http_status), str(outcome)
        assert isinstance(outcome, ReplyError) == (http_status is not None)
        assert isinstance(outcome, ConnectionFailed) == (http_status is None)
        assert len(server.requests) == requests
        assert client.fetch_status("good").job_id == "good"
        ends_at = time.monotonic() + 2
        while server.open_connections > 1 and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert server.open_connections <= 1


def test_every_kind_is_met() -> None:
    """The table above, with the certificates below, knows every kind of fault."""
    assert {kind for _, kind, _, _ in FAULTS.values()} | {"tls"} == set(POLL_FAULTS)


def test_nobody_listens() -> None:
    """A refused connection is "connection"."""
    with refused() as url, JobStatusClient(base_url=url) as client:
        assert outcome_of(client).kind == "connection"


def test_no_such_host() -> None:
    """A name without address is "connection"; nothing hangs."""
    with JobStatusClient(base_url="http://no-such-host.invalid", deadline_s=3) as client:
        assert outcome_of(client).kind in {"connection", "timeout"}


@pytest.mark.parametrize("options", [{"deadline_s": 0.3}, {"connect_timeout_s": 0.3}], ids=str)
def test_black_hole(options: dict[str, float]) -> None:
    """An address that never answers is "timeout", within the deadline and within the connect timeout."""
    with black_hole() as url, JobStatusClient(base_url=url, **options) as client:
        begun = time.monotonic()
        outcome = outcome_of(client)
        assert outcome.kind == "timeout"
        assert "no connection" in outcome.detail
        assert 0.25 < time.monotonic() - begun < 1.3


def test_read_timeout_bounds_each_wait() -> None:
    """A pause longer than the read timeout is "timeout" long before the deadline."""
    with FaultyServer({"job-1": hang()}) as server, client_for(server, read_timeout_s=0.2) as client:
        begun = time.monotonic()
        assert outcome_of(client).kind == "timeout"
        assert time.monotonic() - begun < 1.2


def test_hostile_bodies_take_no_memory() -> None:
    """A bomb of 256 MB and endless bodies take less than 8 MB; of an endless one little more than 1 MB is read."""
    sent = []

    def endless(exchange: Exchange) -> bool:
        exchange.send(head(200))
        while True:
            exchange.send(bytes(65536))
            sent.append(65536)

    bomb, chunks = FAULTS["gzip bomb, 256 MB"][0], FAULTS["endless chunks"][0]
    script = {"bomb": bomb, "chunks": chunks, "endless": endless}
    with FaultyServer(script) as server, client_for(server) as client:
        tracemalloc.start()
        try:
            assert {outcome_of(client, job_id).kind for job_id in script} == {"too_large"}
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()
    assert MIB <= sum(sent) < 12 * MIB  # what the system keeps between the two sockets is some 6 MB of it


# ---------------------------------------------------------------- connections


def test_polls_share_one_connection() -> None:
    """Good and failed polls of one thread go over one connection."""
    with (
        FaultyServer({"busy": reply(429), "down": reply(503), "gone": reply(404)}) as server,
        client_for(server) as client,
    ):
        for _ in range(10):
            for job_id in ("good", "busy", "down", "gone"):
                outcome_of(client, job_id)
        assert (len(server.requests), server.connections) == (40, 1)


def test_each_thread_has_one_connection() -> None:
    """Four threads that poll at once get their own jobs' replies, over at most four connections."""
    with FaultyServer() as server, client_for(server) as client, ThreadPoolExecutor(4) as pool:
        jobs = [f"job-{number}" for number in range(80)]
        assert [status.job_id for status in pool.map(client.fetch_status, jobs)] == jobs
        assert server.connections <= 4


def test_connections_of_ended_threads_are_closed() -> None:
    """A thread that ends leaves no connection behind."""
    with FaultyServer() as server, client_for(server) as client:
        for _ in range(5):
            thread = threading.Thread(target=client.fetch_status, args=("job-1",))
            thread.start()
            thread.join()
        ends_at = time.monotonic() + 3
        while server.open_connections and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert (server.connections, server.open_connections) == (5, 0)


def test_a_stale_connection_is_replaced_in_silence() -> None:
    """Where the server closes the kept connection on the second request, that request is sent once more."""
    with FaultyServer({"job-1": [sample(), reset, sample(processed_items=6)]}) as server, client_for(server) as client:
        assert client.fetch_status("job-1").processed_items == 5
        assert client.fetch_status("job-1").processed_items == 6
        assert (len(server.requests), server.connections) == (3, 2)


def test_a_stale_connection_is_replaced_once() -> None:
    """A server that closes each connection gets two requests for a poll, no third."""
    with FaultyServer({"job-1": [sample(), close]}) as server, client_for(server) as client:
        client.fetch_status("job-1")
        assert outcome_of(client).kind == "connection"
        assert len(server.requests) == 3


def test_a_reply_that_began_is_not_asked_for_again() -> None:
    """A kept connection that breaks inside the reply is a fault like on a new one."""
    script = {"job-1": [sample(), raw(head(length=500) + b"{", then="reset")]}
    with FaultyServer(script) as server, client_for(server) as client:
        client.fetch_status("job-1")
        assert outcome_of(client).kind == "connection"
        assert len(server.requests) == 2


def test_an_idle_connection_that_the_server_closed() -> None:
    """A connection closed between two polls costs no further request."""
    with FaultyServer({"job-1": raw(framed)}) as server, client_for(server) as client:
        for _ in range(3):
            assert client.fetch_status("job-1").processed_items == 5
            time.sleep(0.05)
        assert (len(server.requests), server.connections) == (3, 3)


@pytest.mark.parametrize("late_s", [0.0, 0.05], ids=["at once", "late"])
def test_replies_never_shift(late_s: float) -> None:
    """A second reply that nobody asked for is never taken for the next one."""

    def twice(exchange: Exchange) -> bool:
        framed_stale = framed("job-1").replace(b": 5,", b": 9,")
        if late_s:
            exchange.send(framed(exchange.job_id))
            exchange.wait(late_s)
            exchange.send(framed_stale)
        else:
            exchange.send(framed(exchange.job_id) + framed_stale)
        return True

    with FaultyServer({"job-1": twice}) as server, client_for(server) as client:
        for _ in range(4):
            assert client.fetch_status("job-1").processed_items == 5
            time.sleep(2 * late_s)


def test_an_odd_reply_drops_its_connection() -> None:
    """What comes late after a reply that was no sample is not taken for the next reply."""

    def late(exchange: Exchange) -> bool:
        exchange.send(head(length=2) + b"[]")
        exchange.wait(0.05)
        exchange.send(framed("job-1").replace(b": 5,", b": 9,"))
        return True

    with FaultyServer({"job-1": [late, sample()]}) as server, client_for(server) as client:
        assert outcome_of(client).kind == "schema"
        assert client.fetch_status("job-1").processed_items == 5
        assert server.connections == 2


def test_a_redirect_is_not_read() -> None:
    """A redirect whose body never comes is a fault at once."""
    with FaultyServer({"job-1": raw(head(302, "Location: /", length=9), then="hang")}) as server:
        begun = time.monotonic()
        with client_for(server) as client:
            assert outcome_of(client).kind == "redirect"
        assert time.monotonic() - begun < 2


def test_interrupt_ends_running_polls() -> None:
    """interrupt() ends a poll that hangs in another thread at once, and the next poll works."""
    with FaultyServer({"stuck": hang()}) as server, client_for(server) as client, ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(outcome_of, client, "stuck")
        while not server.requests:
            time.sleep(0.01)
        client.interrupt()
        outcome = stuck.result(timeout=1)
        assert (outcome.kind, outcome.detail) == ("connection", "the poll was interrupted")
        assert pool.submit(client.fetch_status, "good").result(timeout=2).job_id == "good"
        assert len(server.of("stuck")) == 1


def test_interrupt_of_some_threads() -> None:
    """Given the threads of some polls, interrupt() ends those alone; the others get their replies."""
    behaviours = {"stuck": hang(), "slow": sample(after_s=1.0)}
    with FaultyServer(behaviours) as server, client_for(server) as client, ThreadPoolExecutor(1) as other:
        outcomes: list[JobStatus | PollError] = []
        thread = threading.Thread(target=lambda: outcomes.append(outcome_of(client, "stuck")))
        thread.start()
        slow = other.submit(outcome_of, client, "slow")
        while len(server.requests) < 2:
            time.sleep(0.01)
        client.interrupt([thread])
        thread.join(timeout=0.5)
        assert [outcome.detail for outcome in outcomes] == ["the poll was interrupted"]
        assert slow.result(timeout=5).job_id == "slow"


def test_a_closed_client_sends_nothing() -> None:
    """After close() a poll is refused, and every connection is closed."""
    with FaultyServer() as server:
        with client_for(server) as client:
            client.fetch_status("job-1")
        with pytest.raises(ConfigurationError, match="closed"):
            client.fetch_status("job-1")
        assert len(server.requests) == 1


# ---------------------------------------------------------------- one origin


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    ["{sink}/api/jobs/job-1/status", "//{sink_host}/x", "/api/jobs/job-2/status", "http://user:pw@{sink_host}/", ""],
    ids=["host", "//host", "other job", "userinfo", "empty"],
)
def test_redirects_reach_nobody(status: int, target: str) -> None:
    """A redirect is a fault; its target sees no connection, and our server no second request."""
    with FaultyServer() as sink:
        location = target.format(sink=sink.url, sink_host=f"127.0.0.1:{sink.port}")
        with FaultyServer({"job-1": reply(status, b"", f"Location: {location}")}) as server:
            with client_for(server) as client:
                outcome = outcome_of(client)
            assert (outcome.kind, outcome.http_status, len(server.requests)) == ("redirect", status, 1)
            assert "pw" not in outcome.detail
        assert sink.connections == 0


def test_headers_sent() -> None:
    """Token, organization and cookie travel as documented; nothing else says who we are."""
    with FaultyServer() as server, client_for(server) as client:
        client.fetch_status("job-1")
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-organization-id"] == ORGANIZATION
    assert headers["cookie"] == f"stytch_session={SESSION}"
    assert set(headers) == {
        "host", "user-agent", "accept", "accept-encoding", "authorization", "x-organization-id", "cookie"
    }  # fmt: skip


def test_a_prefixed_token_is_sent_as_it_is() -> None:
    """A token of two words keeps its own scheme."""
    with FaultyServer() as server:
        for token in ("Bearer abc", "ApiKey abc"):
            with client_for(server, token=token) as client:
                client.fetch_status("job-1")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer abc", "ApiKey abc"]


def test_without_credentials_none_are_sent() -> None:
    """A client without credentials sends no header of theirs."""
    with FaultyServer() as server, JobStatusClient(base_url=server.url) as client:
        client.fetch_status("job-1")
    assert not {"authorization", "x-organization-id", "cookie"} & set(server.requests[0].headers)


def test_cookies_are_not_stored() -> None:
    """A cookie that the server sets is not sent back: ours goes alone."""
    with FaultyServer({"job-1": SAMPLES["a cookie"]}) as server, client_for(server) as client:
        client.fetch_status("job-1")
        client.fetch_status("job-1")
    assert server.requests[1].headers["cookie"] == f"stytch_session={SESSION}"


def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A .netrc entry for the host changes nothing."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password netrc-pw\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with FaultyServer() as server, client_for(server) as client, JobStatusClient(base_url=server.url) as nobody:
        client.fetch_status("job-1")
        nobody.fetch_status("job-1")
    assert [request.headers.get("authorization") for request in server.requests] == [f"Bearer {TOKEN}", None]


def test_no_proxy_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables never carry an http:// request, which the proxy could read."""
    with FaultyServer() as sink, FaultyServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, sink.url)
        with client_for(server) as client:
            client.fetch_status("job-1")
        assert (len(server.requests), sink.connections) == (1, 0)


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate in a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_a_private_authority_by_option(authority: trustme.CA, ca_file: Path) -> None:
    """With ca_bundle, polls over TLS work, over one connection."""
    with FaultyServer(tls=tls_for(authority, "127.0.0.1")) as server, client_for(server, ca_bundle=ca_file) as client:
        for _ in range(3):
            assert client.fetch_status("job-1").processed_items == 5
        assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_by_environment(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each of the usual variables names a private authority."""
    monkeypatch.setenv(name, str(ca_file))
    with FaultyServer(tls=tls_for(authority, "127.0.0.1")) as server, client_for(server) as client:
        assert client.fetch_status("job-1").processed_items == 5


@pytest.mark.parametrize("fault", ["unknown authority", "wrong host"])
def test_a_certificate_that_is_not_accepted(authority: trustme.CA, ca_file: Path, fault: str) -> None:
    """A certificate of a stranger or for another host is "tls", and no request is sent."""
    tls = tls_for(authority, "127.0.0.1" if fault == "unknown authority" else "other.example")
    options = {} if fault == "unknown authority" else {"ca_bundle": ca_file}
    with FaultyServer(tls=tls) as server, client_for(server, **options) as client:
        outcome = outcome_of(client)
        assert (outcome.kind, outcome.http_status, server.requests) == ("tls", None, [])
        assert outcome.detail.startswith("certificate verify failed: ")


def test_no_tls_at_an_https_address(ca_file: Path) -> None:
    """A server that speaks plain HTTP at an https:// address is "tls", and no request is sent."""
    with FaultyServer(on_connect=raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        with client_for(server, base_url=f"https://127.0.0.1:{server.port}", ca_bundle=ca_file) as client:
            assert outcome_of(client).kind == "tls"
        assert server.requests == []


@pytest.mark.parametrize("stage", ["handshake", "handshake, trickled", "reply", "headers, trickled", "body, trickled"])
def test_deadline_over_tls(authority: trustme.CA, ca_file: Path, stage: str) -> None:
    """The total deadline holds in the handshake and in every part of a reply over TLS."""
    on_connect = {"handshake": hang(), "handshake, trickled": trickle(b"\x16\x03\x03\x40\x00" + b"\x02" * 500)}
    script = {
        "reply": hang(),
        "headers, trickled": trickle(head(200, "X: " + "y" * 500)),
        "body, trickled": trickle(b" " * 500, first=head(length=500)),
    }
    behaviour = script.get(stage, sample())
    tls = tls_for(authority, "127.0.0.1")
    with (
        FaultyServer({"job-1": behaviour}, tls=tls, on_connect=on_connect.get(stage)) as server,
        client_for(server, ca_bundle=ca_file, deadline_s=0.4) as client,
    ):
        begun = time.monotonic()
        outcome = outcome_of(client)
        assert time.monotonic() - begun < 1.4
        assert outcome.kind == "timeout", outcome


def test_interrupt_over_tls(authority: trustme.CA, ca_file: Path) -> None:
    """interrupt() ends a poll that hangs in TLS too."""
    with (
        FaultyServer({"job-1": hang()}, tls=tls_for(authority, "127.0.0.1")) as server,
        client_for(server, ca_bundle=ca_file) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        stuck = pool.submit(outcome_of, client)
        while not server.requests:
            time.sleep(0.01)
        client.interrupt()
        assert stuck.result(timeout=1).kind == "connection"


def tunnel(exchange: Exchange) -> bool:
    """A proxy: answers CONNECT, notes it, and passes bytes both ways."""
    asked = exchange.sock.recv(65536)
    exchange.request.headers["connect"] = asked.decode()
    host, port = asked.split(b" ")[1].decode().rsplit(":", 1)
    with socket.create_connection((host, int(port))) as far:
        exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def pump(source: Any, sink: Any) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    sink.sendall(piece)
                sink.shutdown(2)

        back = threading.Thread(target=pump, args=(far, exchange.sock), daemon=True)
        back.start()
        pump(exchange.sock, far)
        back.join(2)
    return False


def test_https_goes_through_the_proxy(authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https:// poll goes through HTTPS_PROXY in a tunnel that sees no credential; NO_PROXY goes past it."""
    seen: list[str] = []

    def noted(exchange: Exchange) -> bool:
        goes_on = tunnel(exchange)
        seen.append(exchange.request.headers["connect"])
        return goes_on

    with FaultyServer(tls=tls_for(authority, "127.0.0.1")) as server, FaultyServer(on_connect=noted) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://eve:proxy-pa55word@127.0.0.1:{proxy.port}")
        with client_for(server, ca_bundle=ca_file) as client:
            assert client.fetch_status("job-1").processed_items == 5
            assert client.fetch_status("job-1").processed_items == 5
            assert "pa55word" not in repr(client) + str(client.describe())
        assert (proxy.connections, len(server.requests)) == (1, 2)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with client_for(server, ca_bundle=ca_file) as client:
            assert client.fetch_status("job-1").processed_items == 5
        assert proxy.connections == 1
    assert seen[0].startswith(f"CONNECT 127.0.0.1:{server.port} ")
    assert not [canary for canary in CANARIES if canary in seen[0]]


# ---------------------------------------------------------------- 401


def test_a_new_token_after_401() -> None:
    """A token function is asked again after a 401, and the poll goes through with the new token."""
    tokens = iter(["old-token", "new-token", "unused"])

    def guarded(exchange: Exchange) -> bool:
        is_new = exchange.request.headers["authorization"] == "Bearer new-token"
        return (sample() if is_new else reply(401))(exchange)

    with FaultyServer({"job-1": guarded}) as server, client_for(server, token=lambda: next(tokens)) as client:
        assert client.fetch_status("job-1").processed_items == 5
        assert client.fetch_status("job-1").processed_items == 5
        assert len(server.requests) == 3


def test_401_for_good() -> None:
    """A 401 in spite of a new token is "auth", after one further request; the same token is not sent twice."""
    tokens = iter(range(100))
    with FaultyServer({"job-1": reply(401)}) as server:
        with client_for(server, token=lambda: f"token-{next(tokens)}") as client:
            assert outcome_of(client).kind == "auth"
        assert len(server.requests) == 2
        with client_for(server, token=lambda: "always-the-same") as client:
            assert outcome_of(client).kind == "auth"
        assert len(server.requests) == 3


@pytest.mark.parametrize("given", [None, "", "line\nbreak", 7, KeyError(TOKEN)], ids=repr)
def test_a_token_function_that_fails(given: Any) -> None:
    """A token function that raises, or gives what is no token, is "auth", and nothing is sent."""

    def source() -> str:
        if isinstance(given, Exception):
            raise given
        return given  # type: ignore[no-any-return]

    with FaultyServer() as server, client_for(server, token=source) as client:
        outcome = outcome_of(client)
        assert (outcome.kind, outcome.http_status, server.requests) == ("auth", None, [])
        assert TOKEN not in str(outcome)


# ---------------------------------------------------------------- what the service says


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"detail": "Missing required permission: job:read"}', "Missing required permission: job:read"),
        (
            b'{"detail": [{"loc": ["path", "job_id"], "msg": "too long", "type": "t", "input": "SE", "ctx": {}}]}',
            "path.job_id: too long",
        ),
        (b'{"detail": [{"loc": ["body", 3], "msg": "a"}, {"loc": [], "msg": "b"}]}', "body.3: a; b"),
        (b'{"detail": {"code": "quota", "limit": 5, "input": "SECRET"}}', "code: quota, limit: 5"),
        (b'{"error": "gone"}', "error: gone"),
        (LOGIN_PAGE, "Sign in Please sign in"),
        (b"slow down\x1b[2J\r\nplease", "slow down [2J please"),
        (b"", "Whatever"),
        (b"[" * 100_000, "[" * 199 + "…"),
        (b'{"detail": ' * 50 + b"1" + b"}" * 50, "detail: detail: detail: detail: detail: ..."),
    ],
    ids=[
        "string",
        "422",
        "422, two",
        "object",
        "no detail",
        "HTML",
        "control characters",
        "empty",
        "brackets",
        "nested",
    ],
)
def test_detail(body: bytes, detail: str) -> None:
    """What an error body says is shown in words, in whatever form it comes; what it repeats of the request is not."""
    with FaultyServer({"job-1": reply(422, body)}) as server, client_for(server) as client:
        assert outcome_of(client).detail == detail


NOW = 1_795_000_000


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("0.129", 0.129),
        (".5", 0.5),
        ("999999999", 999999999.0),
        ("9" * 5000, sys.float_info.max),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1m0s", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("\u00b2", None),
        ("5, 6", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 1999 99:99:99 GMT", None),
        ("soon", None),
    ],
)
def test_retry_after(asked: str | None, seconds: float | None) -> None:
    """Retry-After comes through in seconds, measured from the reply's own Date; what cannot be read is None."""
    headers = [f"Date: {formatdate(NOW, usegmt=True)}"] + ([] if asked is None else [f"Retry-After: {asked}"])
    with FaultyServer({"job-1": reply(429, b"", *headers)}) as server, client_for(server) as client:
        outcome = outcome_of(client)
    assert (outcome.kind, outcome.retry_after_s) == ("rate_limited", seconds)


def test_retry_after_date_without_a_date() -> None:
    """Without a Date header, or with a bad one, the own clock stands in."""
    header = f"Retry-After: {formatdate(time.time() + 100, usegmt=True)}"
    script = {"job-1": [reply(503, b"", header), reply(503, b"", header, "Date: never")]}
    with FaultyServer(script) as server, client_for(server) as client:
        for _ in range(2):
            assert outcome_of(client).retry_after_s == pytest.approx(100, abs=5)


# ---------------------------------------------------------------- job ids


ODD_IDS = [
    "a/b", "../x", "a?b=c", "a#b", "%2e%2e", "%2F", "a b", " ", "...", "a;b", "a\\b", "ä✓進", "a%", "~", "a+b", "http://x/",
    "'\"<>", "\u2028", "😀", "x" * 2000, ".a", "..a", "a..", "{id}", "|^`[]",
]  # fmt: skip


@pytest.mark.parametrize("job_id", ODD_IDS)
def test_a_job_id_is_one_segment(job_id: str) -> None:
    """Whatever the id, one GET asks for it, in one segment that decodes to it."""
    with FaultyServer(prefix="/v1") as server, client_for(server) as client:
        assert client.fetch_status(job_id).job_id == job_id
        assert [request.path for request in server.requests] == [f"/v1/api/jobs/{quote(job_id, safe='')}/status"]


@pytest.mark.parametrize(
    "job_id", ["", ".", "..", "a\n", "a\r\nX: y", "\0", "\x7f", "\x85", "\ud800", "x" * 2001, None, 5, b"a"]
)
def test_a_job_id_that_cannot_be_asked_for(job_id: Any) -> None:
    """Ids that no address can hold are refused, and nothing is sent."""
    with FaultyServer() as server, client_for(server) as client:
        with pytest.raises(ConfigurationError, match="job id"):
            client.fetch_status(job_id)
        with pytest.raises(ConfigurationError, match="job id"):
            check_job_id(job_id)
    assert server.connections == 0


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    "base_url",
    [
        "", "api.merchantops.ai", "ftp://h", "file:///etc", "http://", "https://u:canary-pw@h", "https://h?q", "https://h/#f",
        "https://h h", "https://h\r\nX: y", "https://[bad", "https://h:99999", "https://h:x", "https://h/../x", "https://h/a//b",
        "https://h/%2e%2e", "https://h\\x", "https://h/ä", "https://" + "x" * 70, None, 5,
    ],
)  # fmt: skip
def test_a_base_url_that_cannot_be_used(base_url: Any) -> None:
    """An address that is none, or holds more than host, port and path, is refused without showing a password."""
    with pytest.raises(ConfigurationError, match=r"base_url \(MERCHANTOPS_API_URL\): expected https") as caught:
        JobStatusClient(base_url=base_url)
    assert "canary-pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://h/", "https://h"),
        ("https://H.Example:8443/prefix/", "https://h.example:8443/prefix"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_base_url(given: str, used: str) -> None:
    """The address keeps its path, loses its last slash, and its host is as DNS has it."""
    assert JobStatusClient(base_url=given).base_url == used


def test_credentials_stay_off_clear_text() -> None:
    """Credentials to http:// are refused but on this machine, or where asked for in so many words."""
    for credential in ("token", "organization_id", "session"):
        with pytest.raises(ConfigurationError, match="allow_insecure"):
            JobStatusClient(base_url="http://service.example", **{credential: "x"})
    JobStatusClient(base_url="http://service.example")
    JobStatusClient(base_url="http://service.example", token="x", allow_insecure=True)
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]", "demo.localhost"):
        JobStatusClient(base_url=f"http://{host}:8000", token="x")


@pytest.mark.parametrize("name", ["connect_timeout_s", "read_timeout_s", "deadline_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), None, "1", True])
def test_durations(name: str, value: Any) -> None:
    """A timeout that is no positive number of seconds is refused."""
    with pytest.raises(ConfigurationError, match=name):
        JobStatusClient(**{name: value})


def test_a_ca_bundle_that_is_none(tmp_path: Path) -> None:
    """A missing file, an empty one and one that is no PEM are refused before the first poll."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem", "text.pem"):
        with pytest.raises(ConfigurationError, match="ca_bundle"):
            JobStatusClient(ca_bundle=tmp_path / name)


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """from_env() takes the variables, and an option in place of its variable."""
    with FaultyServer() as server:
        monkeypatch.setenv("MERCHANTOPS_API_URL", server.url)
        monkeypatch.setenv("MERCHANTOPS_API_KEY", "key-canary-1")
        monkeypatch.setenv("MERCHANTOPS_ORGANIZATION_ID", ORGANIZATION)
        with JobStatusClient.from_env(session=SESSION) as client:
            client.fetch_status("job-1")
            assert client.describe() == {
                "base_url": server.url,
                "token": "set (from MERCHANTOPS_API_KEY)",
                "organization_id": "set (from MERCHANTOPS_ORGANIZATION_ID)",
                "session": "set (from an argument)",
                "proxy": "not set",
            }
        assert server.requests[0].headers["authorization"] == "Bearer key-canary-1"


# ---------------------------------------------------------------- secrets


def forms_of(canary: str) -> set[str]:
    """A canary as it is, URL-encoded, in base64 and in hex; and its first and last ten characters."""
    data = canary.encode()
    return {canary, quote(canary, safe=""), base64.b64encode(data).decode(), data.hex(), canary[:10], canary[-10:]}


def leaks(text: str) -> list[str]:
    return [form for canary in CANARIES for form in forms_of(canary) if form.casefold() in text.casefold()]


def echo(exchange: Exchange) -> bytes:
    shown = [exchange.request.headers[name] for name in ("authorization", "x-organization-id", "cookie")]
    forms = [form for canary in CANARIES for form in forms_of(canary)]
    return " ".join([*shown, *forms, "user:" + TOKEN]).encode()


ECHOES = {
    "text": lambda echoed: echoed,
    "detail": lambda echoed: b'{"detail": "%s"}' % echoed,
    "input": lambda echoed: b'{"detail": [{"loc": ["header"], "msg": "%s", "input": "%s"}]}' % (echoed, echoed),
    "HTML": lambda echoed: b"<h1>" + echoed + b"</h1>",
    "cut": lambda echoed: b"x" * 190 + echoed,
    "base64 of user and token": lambda echoed: base64.b64encode(b"user:" + TOKEN.encode()),
}


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("form", ECHOES.values(), ids=ECHOES)
def test_an_echo_of_the_credentials_is_not_shown(status: int, form: Callable[[bytes], bytes]) -> None:
    """A reply that repeats our credentials, in whatever form, leaves no trace of them in the error."""

    def behave(exchange: Exchange) -> bool:
        return reply(status, form(echo(exchange)))(exchange)

    with FaultyServer({"job-1": behave}) as server, client_for(server) as client:
        outcome = outcome_of(client)
    assert isinstance(outcome, ReplyError)
    shown = "".join([str(outcome), repr(outcome), repr(vars(outcome)), repr(outcome.args)])
    assert not leaks(shown)
    assert len(outcome.detail) <= 200


@pytest.mark.parametrize("place", range(188, 200, 3))
def test_a_detail_is_redacted_before_it_is_cut(place: int) -> None:
    """A credential that crosses the 200th character leaves not even its first five letters."""
    with FaultyServer({"job-1": reply(401, b"x " * (place // 2) + TOKEN.encode())}) as server:
        with client_for(server) as client:
            detail = outcome_of(client).detail
        assert detail.startswith("x x")
        assert TOKEN[:5] not in detail


def rendered(error: BaseException) -> str:
    """An error as plain Python, IPython's verbose mode and rich with all local variables show it."""
    info = (type(error), error, error.__traceback__)
    console = Console(file=io.StringIO(), width=300)
    console.print(Traceback.from_exception(*info, show_locals=True, locals_max_length=None, locals_max_string=None))
    verbose = VerboseTB(theme_name="nocolor", long_header=True).text(*info)
    return "".join(traceback.format_exception(error)) + verbose + console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["hang", "401", "bad status line", "NaN"])
def test_no_traceback_shows_a_credential(name: str) -> None:
    """No error shows a credential, not even with the local variables of all frames; no cause hangs on it."""
    with FaultyServer({"job-1": FAULTS[name][0]}) as server, client_for(server, deadline_s=0.4) as client:
        try:
            client.fetch_status("job-1")
        except PollError as error:
            caught = error
    assert caught.__context__ is None
    assert caught.__cause__ is None
    text = rendered(caught.with_traceback(caught.__traceback__.tb_next))  # type: ignore[union-attr]
    assert "fetch_status" in text
    assert not leaks(text)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to threads are POSIX")
def test_ctrl_c_shows_no_credential() -> None:
    """KeyboardInterrupt passes at once, and its traceback ends in our own frame."""
    with FaultyServer({"job-1": hang()}) as server, client_for(server) as client:
        me = threading.get_ident()
        timer = threading.Timer(0.2, signal.pthread_kill, args=(me, signal.SIGINT))
        caught: BaseException | None = None
        timer.start()
        try:
            client.fetch_status("job-1")
        except KeyboardInterrupt as error:
            caught = error
        timer.join()
        assert isinstance(caught, KeyboardInterrupt)
        assert not leaks(rendered(caught.with_traceback(caught.__traceback__.tb_next)))  # type: ignore[union-attr]
        assert client.fetch_status("good").job_id == "good"


@pytest.mark.parametrize(
    "bad", [{"token": TOKEN + "\n"}, {"session": SESSION + ";"}, {"organization_id": ORGANIZATION + "\r\nX: y"}]
)
def test_a_bad_credential_is_not_shown(bad: dict[str, str]) -> None:
    """The error about a credential that cannot be sent does not show it, not even in the frames."""

    def make(given: Callable[[], str]) -> None:
        JobStatusClient(**{name: given()})

    name, value = next(iter(bad.items()))
    with pytest.raises(ConfigurationError, match=name) as caught:
        make(lambda: value)
    assert not leaks(str(caught.value))
    ours = caught.tb.tb_next.tb_next  # type: ignore[union-attr]
    assert not leaks(rendered(caught.value.with_traceback(ours)))


def test_a_client_shows_no_credential() -> None:
    """repr, str, describe and attributes of a client show no credential; it is not pickled."""
    client = JobStatusClient(token=TOKEN, organization_id=ORGANIZATION, session=SESSION)
    console = Console(file=io.StringIO(), width=300)
    console.print(client, vars(client))
    shown = [repr(client), str(client), f"{client}", repr(vars(client)), repr(client.describe())]
    assert not leaks("".join(shown) + console.file.getvalue())  # type: ignore[attr-defined]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(client, protocol)


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At any level, no log line holds a credential, whatever the reply's headers repeat; nor is there a traceback."""

    def echoing(form: bytes) -> Behaviour:
        def behave(exchange: Exchange) -> bool:
            return raw(b"HTTP/1.1 200 " + form.replace(b"%", echo(exchange)) + b"\r\n\r\n")(exchange)

        return behave

    caplog.set_level(0)
    forms = (b"OK\r\n %", b"OK\r\n%", b"OK\r\n: %", b"OK\r\nX: y\r\n%", b"%", b"OK\r\nLocation: %")
    behaviours = [sample(), reply(401), close, *(echoing(form) for form in forms), raw(b"HTTP/1.1 oops\r\n\r\n")]
    with FaultyServer({"job-1": behaviours}) as server, client_for(server) as client:
        for _ in range(len(behaviours) + 1):
            outcome_of(client)
    assert "urllib3" in caplog.text
    assert "Traceback" not in caplog.text
    assert not leaks(caplog.text)


def test_errors_are_of_the_tree() -> None:
    """Every error of a poll is a MopsError and names its job."""
    with (
        FaultyServer({"job-1": reply(503)}) as server,
        client_for(server) as client,
        pytest.raises(MopsError, match="job 'job-1'.*HTTP 503"),
    ):
        client.fetch_status("job-1")

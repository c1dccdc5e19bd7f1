"""Whatever the bytes, headers and ids: the client ends in its own errors, and makes no sample that was not served."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import pytest
from faulty_server import Behaviour, FaultyServer, body_of, close, raw, sample
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mops_analysis import JobStatusClient
from mops_analysis.client.replies import retry_after_s, text_of
from mops_analysis.credentials import Secret, redact
from mops_analysis.errors import POLL_FAULTS, ConfigurationError, PollError
from mops_analysis.schema import JobStatus

TOKEN = "canary-t0ken-8f3A"
quick = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@dataclass(repr=False)
class Bench:
    """A server that answers each request as `behaviour` says now, and a client for it."""

    server: FaultyServer
    client: JobStatusClient
    behaviour: Behaviour = close

    def poll(self, behaviour: Behaviour, job_id: str = "job-1") -> JobStatus | PollError:
        self.behaviour = behaviour
        try:
            return self.client.fetch_status(job_id)
        except PollError as error:
            failed = error
        assert failed.kind in POLL_FAULTS
        assert failed.kind != "timeout"
        assert failed.__context__ is None
        assert len(failed.detail) <= 200
        assert TOKEN[:10] not in str(failed)
        return failed


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One server and client for all examples."""
    with FaultyServer() as server, JobStatusClient(base_url=server.url, token=TOKEN, deadline_s=5) as client:
        found = Bench(server, client)
        server.script = lambda job_id, number: found.behaviour
        yield found


def is_count(value: object) -> bool:
    if type(value) is float:
        return value.is_integer() and abs(value) <= 2**53
    return type(value) is int and -(2**63) <= value < 2**63


def is_sample(document: object) -> bool:
    """The contract, written a second time: six fields of the right type, about the job asked for."""
    if not isinstance(document, dict):
        return False
    counts = [document.get(name) for name in ("processed_items", "total_items", "failed_items")]
    percentage = document.get("progress_percentage")
    return (
        document.get("job_id") == "job-1"
        and isinstance(document.get("status"), str)
        and all(is_count(count) for count in counts)
        and type(percentage) in (int, float)
        and abs(percentage) < 1e300
        and math.isfinite(percentage)
    )


numbers = st.one_of(
    st.integers(), st.floats(), st.integers(2**62, 2**65), st.sampled_from([2**63 - 1, 2**63, -(2**63)])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20))
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
near_samples = st.fixed_dictionaries(
    {},
    optional={
        "job_id": st.sampled_from(["job-1", "job-1", "job-1", "JOB-1", 1, None]),
        "status": st.one_of(st.text(), scalars),
        "progress_percentage": st.one_of(st.floats(0, 100), scalars),
        "processed_items": st.one_of(st.integers(0, 100), scalars),
        "total_items": st.one_of(st.integers(0, 100), scalars),
        "failed_items": st.one_of(st.integers(0, 100), scalars),
        "more": documents,
    },
).map(lambda changed: {**json.loads(body_of("job-1")), **changed})


def ok(body: bytes, *lines: bytes) -> Behaviour:
    return raw(b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines, b"", body]))


@quick
@given(data=st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\r\n\r\n")
@example(b"HTTP/1.1 200\r\nContent-Length: -5\r\n\r\n{}")
@example(b"HTTP/2 200 OK\r\n\r\n")
def test_any_bytes_as_a_reply(bench: Bench, data: bytes) -> None:
    """Bytes that nobody framed are no sample."""
    assert isinstance(bench.poll(raw(data)), PollError)


@quick
@given(body=st.binary(max_size=200), coding=st.sampled_from([b"", b"gzip", b"deflate", b"br", b"gzip, gzip", b"\xff"]))
@example(b"\x1f\x8b", b"gzip")
def test_any_bytes_as_a_body(bench: Bench, body: bytes, coding: bytes) -> None:
    """A framed body of any bytes, in any coding, is no sample."""
    outcome = bench.poll(ok(body, b"Content-Encoding: " + coding))
    assert outcome.kind in {"decode", "not_json", "schema"}


@quick
@given(document=documents | near_samples)
def test_any_json(bench: Bench, document: object) -> None:
    """A JSON document is a sample exactly where it keeps the contract, and then its values are those served."""
    assume("NaN" not in (text := json.dumps(document)))
    outcome = bench.poll(ok(text.encode()))
    served = json.loads(text) if "Infinity" not in text else None
    if isinstance(outcome, JobStatus):
        assert is_sample(served)
        assert {name: getattr(outcome, name) for name in outcome.__slots__}.items() <= served.items()
    else:
        assert outcome.kind == "schema"
        assert not is_sample(served)


KNOWN = [
    "Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-Type", "Location", "Retry-After", "Date",
    "Connection", "Set-Cookie", "Keep-Alive", "Trailer", "Upgrade",
]  # fmt: skip
names = st.sampled_from(KNOWN) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=10)
values = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30),
    st.sampled_from(["chunked", "close", "keep-alive", "gzip", "0", "1", "-1", "9" * 5000, "http://[bad", "1m0s"]),
    st.integers().map(str),
)


@quick
@given(status=st.integers(100, 999) | st.just(200), headers=st.lists(st.tuples(names, values), max_size=4))
def test_any_headers(bench: Bench, status: int, headers: list[tuple[str, str]]) -> None:
    """Whatever the headers, only a 200 is a sample, and then it is the one served."""
    lines = [f"{name}: {value}".encode("latin-1") for name, value in headers]
    body = body_of("job-1")
    outcome = bench.poll(raw(b"\r\n".join([b"HTTP/1.1 %d Whatever" % status, *lines, b"", body])))
    if isinstance(outcome, JobStatus):
        assert (status, outcome) == (200, JobStatus("job-1", "in_progress", 50.0, 5, 10, 0))
    elif outcome.http_status is not None:
        assert (outcome.http_status, outcome.kind == "auth") == (status, status == 401)
    # A stray Connection header or the closed socket must not disturb the next poll.
    assert isinstance(bench.poll(sample()), JobStatus)


@quick
@given(job_id=st.text(max_size=30) | st.text("./%?#\\ a", max_size=6) | st.text(st.characters(), max_size=10))
def test_any_job_id(bench: Bench, job_id: str) -> None:
    """An id is refused and nothing sent, or one GET goes out whose one segment decodes to it."""
    before = len(bench.server.requests)
    try:
        outcome = bench.poll(sample(), job_id)
    except ConfigurationError:
        assert len(bench.server.requests) == before
        return
    assert isinstance(outcome, JobStatus)
    assert outcome.job_id == job_id
    (request,) = bench.server.requests[before:]
    _, api, jobs, segment, status = request.path.split("/")
    assert (api, jobs, unquote(segment), status) == ("api", "jobs", job_id, "status")


@quick
@given(value=st.text(max_size=40) | st.from_regex(r"[0-9.]{1,400}") | st.floats().map(str), date=st.text(max_size=40))
@example("Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 1 00:00:00 +2359")
@example("Fri, 31 Dec 1999 23:59:59 -9999999999", "")
def test_any_retry_after(value: str, date: str) -> None:
    """Retry-After is None or a finite number of seconds from 0 up."""
    seconds = retry_after_s({"Retry-After": value, "Date": date})
    assert seconds is None or 0 <= seconds < math.inf


@quick
@given(body=st.binary(max_size=300) | documents.map(lambda document: json.dumps({"detail": document}).encode()))
def test_any_error_body(body: bytes) -> None:
    """Whatever an error says for itself is one printable line."""
    text = text_of(body)
    assert text.isprintable()
    assert "  " not in text


printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40)


@quick
@given(secret=printable, before=st.text(max_size=20), after=st.text(max_size=20), cut=st.integers(0, 60))
def test_no_piece_of_a_secret_is_left(secret: str, before: str, after: str, cut: int) -> None:
    """Wherever a text with a secret is cut, 8 characters of it are never shown, nor is the text around it lost."""
    pieces = {secret[at : at + 8].casefold() for at in range(len(secret) - 7)}
    shown = redact((before + secret + after)[: len(before) + cut], [Secret(secret)])
    assert not [piece for piece in pieces - {"********"} if piece in shown.casefold()]

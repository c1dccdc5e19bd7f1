"""A real HTTP server on loopback that can cut, trickle, lie, redirect, compress, stall and flood.

::

    with FaultyServer({"job-1": [sample(processed_items=1), reply(503)], "job-2": hang()}) as server:
        client = JobStatusClient(base_url=server.url)

A *behaviour* is a function of one `Exchange`; it returns whether the connection stays open. A script names the
behaviour of each job: one, a list (the n-th request gets the n-th, later ones the last), or a function of job id and
number of the request, from 0. A job that the script does not name gets a plain `sample()`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

#: What a healthy job says, but for its id.
FIELDS = {
    "status": "in_progress",
    "progress_percentage": 50.0,
    "processed_items": 5,
    "total_items": 10,
    "failed_items": 0,
}


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names are in lower case, `connection` counts from 0."""

    path: str
    job_id: str
    headers: dict[str, str]
    head: bytes
    connection: int
    at: float


@dataclass
class Exchange:
    """One request and the socket to answer on."""

    sock: socket.socket
    request: Request
    stopping: threading.Event

    @property
    def job_id(self) -> str:
        return self.request.job_id

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait(self, seconds: float) -> bool:
        """Wait; true when the server is about to stop, or the other side has gone."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if self.stopping.wait(min(left, 0.05)) or self._is_gone():
                return True
        return False

    def _is_gone(self) -> bool:
        if isinstance(self.sock, ssl.SSLSocket):
            return False
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


Behaviour = Callable[[Exchange], bool]
Script = Mapping[str, "Behaviour | Sequence[Behaviour]"] | Callable[[str, int], Behaviour]
Text = bytes | Callable[[str], bytes]


def body_of(job_id: str, **fields: object) -> bytes:
    """The JSON of a job's status; a field given as `...` is left out."""
    whole = {"job_id": job_id, **FIELDS, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def head(status: int = 200, *headers: str, length: int | None = None, version: str = "1.1") -> bytes:
    """A status line and header lines, the empty line included."""
    lines = [f"HTTP/{version} {status} Whatever", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(body: bytes, size: int = 7) -> bytes:
    """A body in chunks, the last one included."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def sample(*, after_s: float = 0.0, **fields: object) -> Behaviour:
    """200 with the job's status, after a while."""

    def behave(exchange: Exchange) -> bool:
        if after_s and exchange.wait(after_s):
            return False
        return reply(200, body_of(exchange.job_id, **fields))(exchange)

    return behave


def reply(
    status: int = 200, body: Text = b"", *headers: str, content_type: str = "application/json", version: str = "1.1"
) -> Behaviour:
    """A well-framed reply; header lines as `Name: value`."""

    def behave(exchange: Exchange) -> bool:
        content = body if isinstance(body, bytes) else body(exchange.job_id)
        lines = [f"Content-Type: {content_type}", *headers]
        exchange.send(head(status, *lines, length=len(content), version=version) + content)
        return version == "1.1" and "connection: close" not in {line.lower() for line in headers}

    return behave


def raw(data: Text, *, then: str = "close") -> Behaviour:
    """These very bytes; then "close", "keep" (open for the next request), "hang" or "reset"."""

    def behave(exchange: Exchange) -> bool:
        exchange.send(data if isinstance(data, bytes) else data(exchange.job_id))
        return {"close": close, "keep": keep, "hang": hang(), "reset": reset}[then](exchange)

    return behave


def keep(exchange: Exchange) -> bool:
    """Nothing more; wait for the next request."""
    return True


def close(exchange: Exchange) -> bool:
    """Close the connection."""
    return False


def reset(exchange: Exchange) -> bool:
    """Close the connection with a RST."""
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(seconds: float = 60.0) -> Behaviour:
    """Say nothing."""

    def behave(exchange: Exchange) -> bool:
        exchange.wait(seconds)
        return False

    return behave


def trickle(data: Text, *, first: bytes = b"", every_s: float = 0.05, size: int = 1) -> Behaviour:
    """Send `first` at once, and then a few bytes at a time."""

    def behave(exchange: Exchange) -> bool:
        content = data if isinstance(data, bytes) else data(exchange.job_id)
        exchange.send(first)
        for at in range(0, len(content), size):
            if exchange.wait(every_s):
                return False
            exchange.send(content[at : at + size])
        return True

    return behave


def flood(piece: bytes, *, first: bytes = b"", every_s: float = 0.0) -> Behaviour:
    """Send the same bytes again and again, until the other side has gone."""

    def behave(exchange: Exchange) -> bool:
        exchange.send(first)
        while not exchange.stopping.is_set():
            exchange.send(piece)
            if every_s and exchange.wait(every_s):
                break
        return False

    return behave


@dataclass
class FaultyServer:
    """The server; a context manager.

    Attributes
    ----------
    script
        The behaviours, as above.
    tls
        Speak TLS with this context; may be changed, for connections to come.
    on_connect
        Runs before anything else on a new connection; the connection goes on if it returns true.
    prefix
        Path before `/api/jobs/`.
    requests
        The requests so far, in the order of arrival.
    connections
        How many connections were accepted.
    """

    script: Script = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    on_connect: Behaviour | None = None
    prefix: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._listener = _bound(0)
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.prefix}"

    def __enter__(self) -> FaultyServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._cut()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Cut every connection and refuse new ones; at the end of the block, listen again at the same address."""
        self._cut()
        self._listener.close()
        self._listener = _bound(self.port)
        yield
        self._listener.listen(128)
        self._start(self._accept)

    def _cut(self) -> None:
        with self._lock:
            open_sockets = list(self._sockets)
        for sock in [self._listener, *open_sockets]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._sockets)

    def of(self, job_id: str) -> list[Request]:
        """The requests for one job."""
        return [request for request in self.requests if request.job_id == job_id]

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            with self._lock:
                self._sockets.add(sock)
            plain = sock
            try:
                greeting = Request("", "", {}, b"", number, time.monotonic())
                if self.on_connect and not self.on_connect(Exchange(sock, greeting, self._stopping)):
                    return
                if self.tls:
                    sock = self.tls.wrap_socket(sock, server_side=True)
                    with self._lock:
                        self._sockets.add(sock)
                while request := self._receive(sock, number):
                    if not self._behaviour(request)(Exchange(sock, request, self._stopping)):
                        return
            finally:
                with self._lock:
                    self._sockets -= {plain, sock}
                sock.close()

    def _receive(self, sock: socket.socket, number: int) -> Request | None:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = sock.recv(65536)
            if not piece:
                return None
            received += piece
        first, *lines = received.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        path = first.split(" ")[1]
        named = re.fullmatch(rf"{re.escape(self.prefix)}/api/jobs/([^/?#]*)/status", path)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        job_id = unquote(named[1], errors="surrogatepass") if named else ""
        return Request(path, job_id, headers, received, number, time.monotonic())

    def _behaviour(self, request: Request) -> Behaviour:
        with self._lock:
            number = len(self.of(request.job_id))
            self.requests.append(request)
        if callable(self.script):
            return self.script(request.job_id, number)
        behaviours = self.script.get(request.job_id, sample())
        return behaviours if callable(behaviours) else behaviours[min(number, len(behaviours) - 1)]


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that takes no connection and refuses none: a listener whose backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """An address where nobody listens, kept from being given to another."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"

"""One GET within a deadline, at one origin.

This is the connection pool of `requests` on its own. A `requests.Session` around it would store cookies, read the
environment for each request, and read the body of a redirect whole, however large; we want none of that.

The total deadline is kept by the sockets: before each wait they ask what is left of the poll's budget. So neither a
body nor headers that trickle, nor an endless row of interim replies, outlast it, and no watchdog thread is needed.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from mops_analysis.credentials import Secret

#: A job status has some 200 bytes. More than this is no job status.
MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came; `is_whole` is false where its body was cut, not read, or longer than `MAX_BODY_BYTES`."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool


class Failure(NamedTuple):
    """Why there is no reply: kind "connection", "timeout" or "tls", and the reason, not yet redacted."""

    kind: str
    detail: str


class _Budget(threading.local):
    # What the poll that runs in this thread may still spend, and how far it came.
    transport: Transport
    started_at = 0.0
    ends_at = 0.0
    is_new_connection = False
    is_connected = False
    has_received = False

    def start(self, transport: Transport, ends_at: float) -> None:
        self.transport, self.started_at, self.ends_at = transport, time.monotonic(), ends_at
        self.is_new_connection = self.is_connected = self.has_received = False

    def left(self, longest_s: float) -> float:
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total deadline has passed")
        return min(longest_s, left)


_budget = _Budget()


class _Socket(socket.socket):
    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(_budget.left(_budget.transport.read_timeout_s))
        count = super().recv_into(buffer, nbytes, flags)
        _budget.has_received |= count > 0
        return count


class DeadlineTLSSocket(ssl.SSLSocket):
    """For `SSLContext.sslsocket_class`: a socket that keeps the deadline, in the handshake too.

    Within one call, OpenSSL's waits are bounded by the timeout in sum, however the bytes trickle.
    """

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands within the connect timeout."""
        _budget.transport.register(self)
        self.settimeout(_budget.left(_budget.transport.connect_timeout_s))
        super().do_handshake(block)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive within the read timeout."""
        self.settimeout(_budget.left(_budget.transport.read_timeout_s))
        count = super().recv_into(buffer, nbytes, flags)
        _budget.has_received |= count > 0
        return count


def _resolve(host: str, port: int) -> list[Any]:
    with contextlib.suppress(socket.gaierror):  # an address in figures needs no name service
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    # getaddrinfo knows no timeout: a thread waits for it, and we wait for the thread.
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_budget.left(_budget.transport.connect_timeout_s))
    except queue.Empty:
        raise TimeoutError("no answer from the name service") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _connect(host: str, port: int) -> socket.socket:
    failed: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in _resolve(host.strip("[]"), port):
        sock = _Socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _budget.transport.register(sock)
            sock.settimeout(_budget.left(_budget.transport.connect_timeout_s))
            sock.connect(address)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            failed = error
        else:
            return sock
    raise failed


class _Head:
    # What http.client reads a reply's head from; remembers the newest line.
    def __init__(self, file: Any) -> None:
        self.close = file.close
        self.line = b""
        self._file = file

    def readline(self, limit: int) -> bytes:
        self.line = self._file.readline(limit)
        return self.line


class _FinalResponse(http.client.HTTPResponse):
    # RFC 9110, 15.2: interim replies (103 Early Hints) come before the final one. http.client skips 100 alone, takes
    # the next for the final one, and every later reply would answer the request before. It also takes the end of the
    # connection for the end of the headers.
    def begin(self, **limits: Any) -> None:  # newer Pythons pass a limit of headers
        file = self.fp
        self.fp = head = _Head(file)  # type: ignore[assignment]
        try:
            super().begin(**limits)
            while 102 <= self.status <= 199:
                self.headers = self.msg = None  # type: ignore[assignment]  # what makes begin() read on
                super().begin(**limits)
        finally:
            self.fp = file if self.fp is head else self.fp  # type: ignore[comparison-overlap]
        if head.line.strip(b"\r\n") or not head.line:
            raise http.client.RemoteDisconnected("the connection ended within the reply's headers")
        if self.headers.get_payload():
            raise http.client.HTTPException("after a line that is no header, the others cannot be told")
        # urllib3 would log what is odd about them: a traceback, with whatever they repeat of our request.
        self.headers.defects.clear()


class _Connection(HTTPConnection):
    response_class = _FinalResponse

    def _new_conn(self) -> socket.socket:
        _budget.is_new_connection = True
        return _connect(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()
        _budget.is_connected = True


class _TLSConnection(HTTPSConnection):
    response_class = _FinalResponse

    def _new_conn(self) -> socket.socket:
        _budget.is_new_connection = True
        return _connect(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()
        _budget.is_connected = True


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS: dict[str, Any] = {"http": _Pool, "https": _TLSPool}


class _Adapter(HTTPAdapter):
    # One connection, kept open between the polls of one thread.
    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._ssl_context, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._ssl_context, **proxy_kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Transport:
    """GETs at one origin; one connection per thread.

    Parameters
    ----------
    ssl_context
        What to trust, None for `http://`.
    proxy
        Address of a proxy, if any.
    connect_timeout_s, read_timeout_s
        Longest wait for a connection, and for each piece of a reply [s].
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None,
        proxy: Secret | None,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        self.connect_timeout_s = connect_timeout_s
        self.read_timeout_s = read_timeout_s
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._timeout = urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s)
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._interrupted: dict[threading.Thread, bool] = {}  # of each thread that polls, whether it is to end
        self._sockets: weakref.WeakKeyDictionary[socket.socket, threading.Thread] = weakref.WeakKeyDictionary()

    def get(self, url: str, headers: Mapping[str, str], *, ends_at: float) -> Reply | Failure:
        """Send one GET; end at `ends_at` on the monotonic clock at the latest.

        A server may close an idle connection just when we use it again; so where a used connection breaks before the
        first byte of a reply, the request is sent once more on a new one.
        """
        thread = threading.current_thread()
        with self._lock:
            self._interrupted[thread] = False
        try:
            outcome = self._attempt(url, headers, ends_at)
            is_stale = isinstance(outcome, Failure) and outcome.kind == "connection" and not _budget.is_new_connection
            if is_stale and not _budget.has_received:
                outcome = self._attempt(url, headers, ends_at)
        finally:
            with self._lock:
                was_interrupted = self._interrupted.pop(thread)
        if isinstance(outcome, Failure) and was_interrupted:
            return Failure("connection", "the poll was interrupted")
        return outcome

    def _attempt(self, url: str, headers: Mapping[str, str], ends_at: float) -> Reply | Failure:
        _budget.start(self, ends_at)
        try:
            raw = self._pool(url).urlopen(
                "GET",
                urlsplit(url).path,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=self._timeout,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            body, is_whole = _read_body(raw)
        except Exception as error:  # noqa: BLE001  a hostile reply makes the libraries below raise anything at all
            self.drop()
            return _failure(error)
        if not is_whole:
            raw.close()
        return Reply(raw.status, raw.reason or "", raw.headers, body, is_whole)

    def _pool(self, url: str) -> urllib3.HTTPConnectionPool:
        if not hasattr(self._threads, "pool"):
            adapter = _Adapter(self._ssl_context)
            manager = adapter.proxy_manager_for(self._proxy.reveal()) if self._proxy else adapter.poolmanager
            self._threads.pool = manager.connection_from_url(url)
        pool: urllib3.HTTPConnectionPool = self._threads.pool
        return pool

    def drop(self) -> None:
        """Close this thread's connection: after anything odd the next reply on it might be a late one."""
        if hasattr(self._threads, "pool"):
            self._threads.pool.close()
            del self._threads.pool

    def register(self, sock: socket.socket) -> None:
        """Note a socket that this thread's poll is about to wait for."""
        thread = threading.current_thread()
        with self._lock:
            if self._interrupted[thread]:
                raise ConnectionAbortedError("the poll was interrupted")
            self._sockets[sock] = thread

    def interrupt(self, threads: Collection[threading.Thread] | None = None) -> None:
        """End the polls that run now in these threads, in any where None, and close their connections."""
        with self._lock:
            ended = [thread for thread in self._interrupted if threads is None or thread in threads]
            self._interrupted.update(dict.fromkeys(ended, True))
            sockets = [sock for sock, thread in self._sockets.items() if threads is None or thread in threads]
        for sock in sockets:
            with contextlib.suppress(OSError):
                # SSLSocket's own shutdown would pull the TLS state away under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Interrupt, and forget every connection."""
        self.interrupt()
        self._threads = threading.local()


def _read_body(raw: Any) -> tuple[bytes, bool]:
    # Only where it says something: a redirect's body, say, is not ours to read.
    if raw.status != 200 and raw.status < 400:
        return b"", False
    body = bytearray()
    try:
        while chunk := raw.read(MAX_BODY_BYTES + 1 - len(body), decode_content=False):
            body += chunk
    except urllib3.exceptions.DecodeError:
        # It looks at Content-Encoding also where told not to decode, and refuses a long list.
        return b"", False
    except Exception:
        # An error's status says enough without its body.
        if raw.status == 200:
            raise
        return bytes(body), False
    return bytes(body), len(body) <= MAX_BODY_BYTES


def _failure(error: Exception) -> Failure:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure("tls", f"certificate verify failed: {cause.verify_message}")
    if any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in causes):
        progress = "no whole reply" if _budget.has_received else "no reply" if _budget.is_connected else "no connection"
        return Failure("timeout", f"{progress} after {time.monotonic() - _budget.started_at:.1f} s")
    innermost = causes[-1]
    detail = f"{type(innermost).__name__}: {innermost}"
    broken_off = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    if not _budget.is_connected and isinstance(innermost, ssl.SSLError) and not isinstance(innermost, broken_off):
        return Failure("tls", detail)
    return Failure("connection", detail)


def _causes(error: BaseException) -> Iterator[BaseException]:
    # The libraries below wrap errors in errors, by `from`, in `args` and in `reason`; the first cause comes last.
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]

"""The client: one GET for one job's status, strictly checked."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Collection
from typing import NoReturn, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mops_analysis import __version__
from mops_analysis.client.replies import decoded_body, kind_of, reason_of, retry_after_s, text_of
from mops_analysis.client.transport import MAX_BODY_BYTES, DeadlineTLSSocket, Failure, Reply, Transport
from mops_analysis.credentials import (
    DEFAULT_BASE_URL,
    Credentials,
    Secret,
    as_secret,
    ca_bundle_path,
    proxy_for,
    redact,
    token_from,
)
from mops_analysis.errors import ConfigurationError, ConnectionFailed, PollError, ReplyError
from mops_analysis.schema import JobStatus, decode_reply

__all__ = ["JobStatusClient", "check_job_id"]

_LONGEST_DETAIL = 200
_LONGEST_JOB_ID = 2000
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def check_job_id(job_id: str) -> None:
    """Refuse a job id that no request can ask for.

    Parameters
    ----------
    job_id
        Any text that the service gave as a job's id; it is percent-encoded into one segment of the address.

    Raises
    ------
    ConfigurationError
        If it is empty, `.` or `..` (which move to another address even when encoded), longer than 2000 characters, or
        has control characters or lone surrogates.

    Examples
    --------
    >>> check_job_id("enrichment-7")
    >>> check_job_id("..")
    Traceback (most recent call last):
    ...
    mops_analysis.errors.ConfigurationError: job id '..': expected the id that the service gave; '..' is no id
    """
    if not isinstance(job_id, str):
        raise ConfigurationError(f"job id: expected text, got {type(job_id).__name__}")
    flaw = None
    if job_id in ("", ".", ".."):
        flaw = f"{job_id!r} is no id"
    elif len(job_id) > _LONGEST_JOB_ID:
        flaw = f"it has {len(job_id)} characters, {_LONGEST_JOB_ID} at most can be sent"
    elif any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in job_id):
        flaw = "it has control characters; a line break from a file or the clipboard is the usual cause"
    elif any("\ud800" <= letter <= "\udfff" for letter in job_id):
        flaw = "it is no Unicode text"
    if flaw:
        raise ConfigurationError(f"job id {job_id[:40]!r}: expected the id that the service gave; {flaw}")


class JobStatusClient:
    """Asks the service for the status of jobs, one GET at a time.

    May be used by many threads at once; each keeps one connection open. Redirects are refused, cookies are not stored,
    a `.netrc` file is not read, and nothing but the host of `base_url` ever gets a request. `close()`, or leaving the
    `with` block, closes all connections.

    Parameters
    ----------
    base_url
        Address of the service, `https://` or `http://`, without user, query or fragment; a path is kept as prefix.
    token
        Bearer token, or a function without arguments that returns one: it is called before the first request, and again
        after a 401. A value of two words ("Scheme token") is sent as it is.
    organization_id
        Sent as `X-Organization-ID`.
    session
        Sent as cookie `stytch_session`.
    connect_timeout_s
        Longest wait for a connection [s].
    read_timeout_s
        Longest wait for the next piece of a reply [s].
    deadline_s
        Longest time that `fetch_status` takes in all [s].
    ca_bundle
        Certificates of a private authority: a PEM file or a folder. Default: the environment's, else the usual public
        authorities. There is no way to go without checks.
    allow_insecure
        Send credentials in clear text: to `http://` hosts other than this machine.

    Raises
    ------
    ConfigurationError
        If an address, credential or option cannot be used. Nothing is sent, and no value of a credential is shown.

    Examples
    --------
    >>> with JobStatusClient(token="s3cr3t") as client:
    ...     client
    JobStatusClient('https://api.merchantops.ai', token set (from an argument))
    """

    def __init__(
        self,
        *,
        base_url: str = DEFAULT_BASE_URL,
        token: Secret | str | Callable[[], str] | None = None,
        organization_id: Secret | str | None = None,
        session: Secret | str | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 10.0,
        deadline_s: float = 10.0,
        ca_bundle: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
    ) -> None:
        # Bare text must not stay in a local variable: verbose tracebacks show those.
        token, organization_id, session = as_secret(token), as_secret(organization_id), as_secret(session)
        address = _checked_address(base_url)
        self._base_url = address.geturl()
        self._credentials = Credentials(self._base_url, token, organization_id, session)
        is_anonymous = token is None and organization_id is None and session is None
        if address.scheme == "http" and not (allow_insecure or is_anonymous or _is_loopback(address)):
            raise ConfigurationError(
                "base_url (MERCHANTOPS_API_URL): credentials would go over http:// in clear text; use https://, "
                "or say allow_insecure=True where the network is trusted"
            )
        self._deadline_s = _checked_duration("deadline_s", deadline_s)
        self._token_lock = threading.Lock()
        self._given_token: Secret | None = None
        self._proxy = proxy_for(self._base_url)
        self._is_closed = False
        self._transport = Transport(
            ssl_context=_ssl_context(ca_bundle) if address.scheme == "https" else None,
            proxy=self._proxy,
            connect_timeout_s=_checked_duration("connect_timeout_s", connect_timeout_s),
            read_timeout_s=_checked_duration("read_timeout_s", read_timeout_s),
        )

    @classmethod
    def from_env(cls, **options: object) -> Self:
        """Make a client from the variables that `credentials` lists.

        Parameters
        ----------
        options
            As for the class; an option given here stands in place of its variable.

        Returns
        -------
        JobStatusClient
            The client.

        Raises
        ------
        ConfigurationError
            If a variable or an option cannot be used.
        """
        found = Credentials.from_env()
        names = ("base_url", "token", "organization_id", "session")
        return cls(**({name: getattr(found, name) for name in names} | options))

    @property
    def base_url(self) -> str:
        """Address of the service."""
        return self._base_url

    def fetch_status(self, job_id: str) -> JobStatus:
        """Ask for the status of one job, once.

        Beyond the one GET there is at most one more: on a new connection, where the service had closed the one that was
        kept open; and with the new token, where a token function gives another one after a 401.

        Parameters
        ----------
        job_id
            The job.

        Returns
        -------
        JobStatus
            The reply: only from a 200 that keeps the contract to the letter.

        Raises
        ------
        ConfigurationError
            If the job id cannot be asked for, or the client is closed; nothing was sent.
        ConnectionFailed
            If the request never completed: kind "connection", "timeout" or "tls".
        ReplyError
            If a reply arrived that is no sample; `kind` says why, `http_status` and `retry_after_s` what it said.
        PollError
            Kind "auth", if the token function failed or gave something that is no token; nothing was sent.
        """
        check_job_id(job_id)
        if self._is_closed:
            raise ConfigurationError("the client is closed; make a new one")
        try:
            outcome: JobStatus | BaseException = self._poll(job_id)
        except BaseException as error:  # noqa: BLE001  raised again below: KeyboardInterrupt, say
            # The frames below hold the credentials, and verbose tracebacks show what frames hold.
            error.__context__ = None
            outcome = error.with_traceback(None)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def interrupt(self, threads: Collection[threading.Thread] | None = None) -> None:
        """End the polls that run now: they raise `ConnectionFailed`. Later ones work as before.

        Parameters
        ----------
        threads
            Only the polls of these threads; None ends those of all.
        """
        self._transport.interrupt(threads)

    def close(self) -> None:
        """End the polls that run now, and close all connections."""
        self._is_closed = True
        self._transport.close()

    def describe(self) -> dict[str, str]:
        """Say what is configured, for people to read; never a credential's value.

        Returns
        -------
        dict
            Keys `base_url`, `token`, `organization_id`, `session`, `proxy`.

        Examples
        --------
        >>> JobStatusClient(base_url="http://127.0.0.1:8000").describe()["token"]
        'not set'
        """
        described = {"base_url": self._base_url, **self._credentials.describe()}
        return described | {"proxy": "not set" if self._proxy is None else self._proxy.describe()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r}, token {self._credentials.describe()['token']})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a client is not pickled: it holds credentials; make one where it is needed, with from_env()")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(2)

    def _poll(self, job_id: str) -> JobStatus | PollError:
        ends_at = time.monotonic() + self._deadline_s
        url = f"{self._base_url}/api/jobs/{quote(job_id, safe='')}/status"
        try:
            token = self._token()
            reply = self._transport.get(url, self._headers(token), ends_at=ends_at)
            if isinstance(reply, Reply) and kind_of(reply.status) == "auth" and token is not None:
                newer = self._token(refused=token)
                if newer is not None and newer.reveal() != token.reveal():
                    reply = self._transport.get(url, self._headers(newer), ends_at=ends_at)
        except ConfigurationError as error:
            return PollError(self._shown(str(error)), kind="auth", job_id=job_id)
        if isinstance(reply, Failure):
            return ConnectionFailed(self._shown(reply.detail), kind=reply.kind, job_id=job_id)
        outcome = self._judge(reply, job_id)
        # After anything odd, the next reply on this connection might be a late one.
        if not isinstance(outcome, JobStatus) and reply.status < 400:
            self._transport.drop()
        return outcome

    def _judge(self, reply: Reply, job_id: str) -> JobStatus | ReplyError:
        body = decoded_body(reply)
        if reply.status != 200:
            kind, detail = kind_of(reply.status), reason_of(reply)
        elif len(body or reply.body) > MAX_BODY_BYTES:
            kind, detail = "too_large", f"expected some 200 bytes, got more than {MAX_BODY_BYTES}"
        elif body is None:
            kind, detail = "decode", "the body is not what its Content-Encoding says"
        else:
            try:
                return JobStatus.from_reply(decode_reply(body, job_id), job_id)
            except ReplyError as error:
                kind, detail = error.kind, error.detail
            if kind == "not_json" and body:
                detail = f"{detail}; the body begins: {text_of(body)}"
        wait_s = None if reply.status == 200 else retry_after_s(reply.headers)
        detail = self._shown(detail)
        return ReplyError(detail, kind=kind, job_id=job_id, http_status=reply.status, retry_after_s=wait_s)

    def _shown(self, detail: str) -> str:
        # Redacted first: cutting first would leave half a token.
        secrets = [*self._credentials.secrets, self._given_token, self._proxy]
        detail = redact(detail, [secret for secret in secrets if secret is not None])
        return detail if len(detail) <= _LONGEST_DETAIL else f"{detail[: _LONGEST_DETAIL - 1]}…"

    def _headers(self, token: Secret | None) -> dict[str, str]:
        headers = {
            "User-Agent": f"mops_analysis/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        }
        given = self._credentials
        if token is not None:
            value = token.reveal()
            headers["Authorization"] = value if " " in value else f"Bearer {value}"
        if isinstance(given.organization_id, Secret):
            headers["X-Organization-ID"] = given.organization_id.reveal()
        if isinstance(given.session, Secret):
            headers["Cookie"] = f"stytch_session={given.session.reveal()}"
        return headers

    def _token(self, *, refused: Secret | None = None) -> Secret | None:
        source = self._credentials.token
        if not callable(source):
            return self._credentials.fixed_token
        with self._token_lock:
            # Another thread may have met the 401 first and asked already.
            if self._given_token is None or self._given_token is refused:
                self._given_token = token_from(source)
            return self._given_token


def _checked_address(base_url: str) -> SplitResult:
    expected = "base_url (MERCHANTOPS_API_URL): expected https://host or http://host, with a port or a path if needed"
    if not isinstance(base_url, str):
        raise ConfigurationError(f"{expected}; got {type(base_url).__name__}")
    try:
        parts = urlsplit(base_url.rstrip("/"))
        # What comes back is what a request will use: the name as DNS has it, the port as a number.
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
        is_address = ":" in host and bool(ipaddress.IPv6Address(host))
    except ValueError:
        raise ConfigurationError(f"{expected}; the address is not shown, it cannot be read") from None
    if "@" in base_url:
        raise ConfigurationError(f"{expected}; this one holds a user or a password, which belong into `token`")
    if parts.scheme not in ("https", "http"):
        raise ConfigurationError(f"{expected}; the scheme is {parts.scheme!r}")
    if not _HOST.fullmatch(host) and not is_address:
        raise ConfigurationError(f"{expected}; the host is missing or has characters that no host has")
    if "?" in base_url or "#" in base_url or any(letter <= " " or letter == "\x7f" for letter in base_url):
        raise ConfigurationError(f"{expected}; without query, fragment, blanks or control characters")
    segments = {unquote(segment) for segment in parts.path.split("/")}
    if not _PATH.fullmatch(parts.path) or segments & {".", ".."}:
        raise ConfigurationError(f"{expected}; the path has empty segments, '..' or characters that no path has")
    name = f"[{host}]" if is_address else host
    return parts._replace(netloc=name if port is None else f"{name}:{port}")


def _is_loopback(address: SplitResult) -> bool:
    host = address.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked_duration(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ConfigurationError(f"{name}: expected a number of seconds above 0, got {value!r}")
    return float(value)


def _ssl_context(ca_bundle: str | os.PathLike[str] | None) -> ssl.SSLContext:
    # Not ssl.create_default_context(): it would write the session keys to where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    path = ca_bundle_path(ca_bundle)
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError):
        pass
    else:
        context.sslsocket_class = DeadlineTLSSocket
        return context
    raise ConfigurationError(f"ca_bundle: no certificates can be read from {path}; expected a PEM file")

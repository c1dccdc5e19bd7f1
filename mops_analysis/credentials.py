"""Credentials, and everything else that the environment says: the one place that reads it.

==============================  =================================================================
variable                        meaning
==============================  =================================================================
``MERCHANTOPS_TOKEN``           bearer token, sent as it is
``MERCHANTOPS_API_KEY``         server API key, where there is no token; sent as a bearer token too
``MERCHANTOPS_ORGANIZATION_ID``  header ``X-Organization-ID``
``MERCHANTOPS_SESSION``         cookie ``stytch_session``
``MERCHANTOPS_API_URL``         base URL; https://api.merchantops.ai where not set
``HTTPS_PROXY``, ``NO_PROXY``   proxy for ``https://`` addresses, with a tunnel; never used for ``http://``
``REQUESTS_CA_BUNDLE``,         certificates of a private authority; the first one set counts
``CURL_CA_BUNDLE``,
``SSL_CERT_FILE``
==============================  =================================================================

An empty variable counts as not set. A ``.netrc`` file is never read.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import certifi
from requests.utils import get_environ_proxies, select_proxy

from mops_analysis.errors import ConfigurationError

__all__ = ["DEFAULT_BASE_URL", "Credentials", "Secret", "ca_bundle_path", "proxy_for", "redact"]

DEFAULT_BASE_URL = "https://api.merchantops.ai"

_MASK = "********"
# Shorter pieces of a secret also occur in ordinary words.
_PIECE = 8
# One or two words: a bare token, or a scheme and its token.
_TOKEN = re.compile(r"[!-~]+( [!-~]+)?")
_ORGANIZATION = re.compile(r"[!-~]+")
# RFC 6265, cookie-octet.
_COOKIE = re.compile(r"[!#-+\--:<-\[\]-~]+")


class Secret:
    """A value that shows itself to nobody who does not ask for it by name.

    `repr`, `str` and `format` give a constant mask, copies are the object itself, and pickling is refused.

    Parameters
    ----------
    value
        The value to keep.
    source
        Where it came from, in a word or two; the only thing about it that is ever shown.

    Examples
    --------
    >>> token = Secret("s3cr3t", source="keyring")
    >>> token, f"{token}", token.describe(), token.reveal()
    (Secret('********'), '********', 'set (from keyring)', 's3cr3t')
    """

    __slots__ = ("_open", "source")

    def __init__(self, value: str, *, source: str = "an argument") -> None:
        if not isinstance(value, str):
            raise ConfigurationError(f"a Secret (from {source}) holds text, got {type(value).__name__}")

        # A closure keeps the value out of `vars`, debuggers' panes and `object.__getstate__`.
        def reveal() -> str:
            return value

        self._open = reveal
        self.source = source

    def reveal(self) -> str:
        """Return the value: the only door."""
        return self._open()

    def describe(self) -> str:
        """Say that there is a value and where it came from."""
        return f"set (from {self.source})"

    def __repr__(self) -> str:
        return f"Secret({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; create it where it is needed, with Credentials.from_env()")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(2)


@dataclass(frozen=True)
class Credentials:
    """Who we are towards the service, checked.

    Text is taken too, and becomes a `Secret`. A value that no HTTP header can carry is refused here, since the error of
    the HTTP library would quote it.

    Attributes
    ----------
    base_url
        Address of the service.
    token
        Bearer token, or a function without arguments that returns one: it is called before the first request and again
        after each 401.
    organization_id
        Sent as `X-Organization-ID`.
    session
        Sent as cookie `stytch_session`.

    Raises
    ------
    ConfigurationError
        If a value is empty, has blanks or control characters, or is not ASCII. The message never shows it.

    Examples
    --------
    >>> Credentials(token="s3cr3t").describe()
    {'token': 'set (from an argument)', 'organization_id': 'not set', 'session': 'not set'}
    """

    base_url: str = DEFAULT_BASE_URL
    token: Secret | str | Callable[[], str] | None = None
    organization_id: Secret | str | None = None
    session: Secret | str | None = None

    def __post_init__(self) -> None:
        for name, shape in (("token", _TOKEN), ("organization_id", _ORGANIZATION), ("session", _COOKIE)):
            value = as_secret(getattr(self, name))
            if value is not None and not (name == "token" and callable(value)):
                value = _checked(name, value, shape)
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls) -> Credentials:
        """Read the variables of the table above.

        Returns
        -------
        Credentials
            What is set; each value knows its variable.

        Raises
        ------
        ConfigurationError
            If a variable holds a value that cannot be sent; the message names the variable.
        """
        return cls(
            base_url=os.environ.get("MERCHANTOPS_API_URL") or DEFAULT_BASE_URL,
            token=_from_env("MERCHANTOPS_TOKEN") or _from_env("MERCHANTOPS_API_KEY"),
            organization_id=_from_env("MERCHANTOPS_ORGANIZATION_ID"),
            session=_from_env("MERCHANTOPS_SESSION"),
        )

    @property
    def fixed_token(self) -> Secret | None:
        """The token, None where there is none or a function gives it."""
        return self.token if isinstance(self.token, Secret) else None

    @property
    def secrets(self) -> list[Secret]:
        """The values that are set, those of a token function left out."""
        return [value for value in (self.token, self.organization_id, self.session) if isinstance(value, Secret)]

    def describe(self) -> dict[str, str]:
        """Say for each credential whether it is set and from where; never a value."""
        described = {}
        for name in ("token", "organization_id", "session"):
            value = getattr(self, name)
            if isinstance(value, Secret):
                described[name] = value.describe()
            else:
                described[name] = "not set" if value is None else "set (from a function)"
        return described


def as_secret(value: Any) -> Any:
    """Wrap text as a `Secret`; anything else comes back as it is."""
    return Secret(value) if isinstance(value, str) else value


def token_from(source: Callable[[], str]) -> Secret:
    """Ask a token function for its token.

    Parameters
    ----------
    source
        Function without arguments.

    Returns
    -------
    Secret
        What it returned, checked.

    Raises
    ------
    ConfigurationError
        If it raises, or returns what cannot be sent as a token.
    """
    try:
        value = as_secret(source())
    except Exception as error:  # noqa: BLE001  a stranger's function; its message may quote the credential
        failed = type(error).__name__
    else:
        return _checked("token", value, _TOKEN)
    raise ConfigurationError(f"token: the token function raised {failed}")


def _from_env(name: str) -> Secret | None:
    value = os.environ.get(name)
    return Secret(value, source=name) if value else None


def _checked(name: str, value: object, shape: re.Pattern[str]) -> Secret:
    if not isinstance(value, Secret):
        raise ConfigurationError(f"{name}: expected text or a Secret, got {type(value).__name__}")
    if not shape.fullmatch(value.reveal()):
        raise ConfigurationError(
            f"{name} (from {value.source}): expected printable ASCII without blanks at its ends; it {_flaw(value)}. "
            "The value is not shown; a line break from a file or the clipboard is the usual cause: .strip() cures it"
        )
    return value


def _flaw(secret: Secret) -> str:
    value = secret.reveal()
    if not value.strip():
        return "is empty"
    if value != value.strip():
        return "begins or ends with a blank or a line break"
    return "has a character that cannot be sent"


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Replace every trace of the secrets by a mask.

    A trace is any piece of 8 or more characters of a secret as it is, URL-encoded, HTML- or JSON-escaped, in base64 or
    in hex, upper or lower case; so a half token or a cut echo does not pass either. A secret shorter than that is
    masked where it stands as a word of its own.

    Parameters
    ----------
    text
        Any text.
    secrets
        The values to hide.

    Returns
    -------
    str
        The text without them.

    Examples
    --------
    >>> redact("bad token Bearer s3cr3t-t0ken, got s3cr3t-t0...", [Secret("s3cr3t-t0ken")])
    'bad token Bearer ********, got ********...'
    """
    forms = {form.casefold() for secret in secrets for form in _forms(secret.reveal())}
    pieces = {form[at : at + _PIECE] for form in forms for at in range(len(form) - _PIECE + 1)}
    for form in forms:
        if len(form) < _PIECE:
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", _MASK, text, flags=re.IGNORECASE)
    kept, end = [], 0
    at = 0
    while at <= len(text) - _PIECE:
        if text[at : at + _PIECE].casefold() not in pieces:
            at += 1
            continue
        kept.append(text[end:at])
        end = at + _PIECE
        while text[end - _PIECE + 1 : end + 1].casefold() in pieces:
            end += 1
        kept.append(_MASK)
        at = end
    return "".join([*kept, text[end:]])


def _forms(value: str) -> set[str]:
    # Of "Bearer abc", abc is the secret.
    secret = value.rpartition(" ")[2]
    data = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    forms = {quote(secret, safe=""), html.escape(secret), escaped, escaped.replace("/", r"\/"), data.hex()}
    # Three alignments: inside a longer encoded text, "user:secret" say, a secret starts anywhere in a group of 3.
    for lead in range(3):
        whole = base64.b64encode(b"\0" * lead + data).decode()
        inner = whole[lead + 1 if lead else 0 : (lead + len(data)) * 4 // 3]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    # What base64 leaves of a short secret is too little to tell from a word.
    return {secret} | {form for form in forms if len(form) >= _PIECE}


def proxy_for(base_url: str) -> Secret | None:
    """Return the proxy that the environment names for an address, None for none; only for `https://`.

    Parameters
    ----------
    base_url
        Address of the service.

    Returns
    -------
    Secret or None
        Address of the proxy: it may hold a password.

    Raises
    ------
    ConfigurationError
        If the proxy is of a kind that we do not speak, or its address is unusable.
    """
    # An http:// request would reach the proxy in clear text, credentials included.
    if urlsplit(base_url).scheme != "https":
        return None
    proxy = select_proxy(base_url, get_environ_proxies(base_url))
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "HTTPS_PROXY or ALL_PROXY (not shown, it may hold a password) is unusable: expected http://host:port. "
            "To go without a proxy, add the service's host to NO_PROXY"
        )
    return Secret(proxy, source="HTTPS_PROXY or ALL_PROXY")


def ca_bundle_path(ca_bundle: str | os.PathLike[str] | None = None) -> Path:
    """Return the certificates to trust: the argument, else the environment's, else certifi's.

    Parameters
    ----------
    ca_bundle
        A PEM file, or a folder as OpenSSL wants it.

    Returns
    -------
    Path
        An existing file or folder.

    Raises
    ------
    ConfigurationError
        If it does not exist; the message names its source.
    """
    sources = {"ca_bundle": os.fspath(ca_bundle) if ca_bundle is not None else None}
    sources |= {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")}
    for source, path in sources.items():
        if path and not Path(path).exists():
            raise ConfigurationError(f"{source}: no certificates at {path}; expected a PEM file or a folder of them")
        if path:
            return Path(path)
    return Path(certifi.where())

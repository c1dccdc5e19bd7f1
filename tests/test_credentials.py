"""Credentials: where they come from, what is refused, and that none of them shows itself."""

import base64
import copy
import dataclasses
import html
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import certifi
import pytest

from mops_analysis.credentials import (
    DEFAULT_BASE_URL,
    Credentials,
    Secret,
    ca_bundle_path,
    proxy_for,
    redact,
    token_from,
)
from mops_analysis.errors import ConfigurationError

CANARY = "canary/Tok3n+Value=77"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("MERCHANTOPS_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE")):
            monkeypatch.delenv(name)


def test_a_secret_shows_only_its_source() -> None:
    """repr, str, format, percent and JSON by str give the mask; reveal() alone gives the value."""
    secret = Secret(CANARY, source="a test")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "%s" % secret, repr([secret])]  # noqa: UP031
    shown += [json.dumps({"a": secret}, default=str), secret.describe(), repr(dir(secret))]
    assert "canary" not in "".join(shown)
    assert shown[0] == "Secret('********')"
    assert secret.reveal() == CANARY


def test_a_secret_is_not_serialised() -> None:
    """pickle, json and vars refuse a secret; copies are the object itself."""
    secret = Secret(CANARY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        secret.__getstate__()
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


def test_the_mask_does_not_tell_the_length() -> None:
    """Secrets of different length look the same."""
    assert repr(Secret("a")) == repr(Secret("a" * 100))


def test_a_secret_holds_text() -> None:
    """A variable that was not set, say, is no secret."""
    with pytest.raises(ConfigurationError, match="NoneType"):
        Secret(None)  # type: ignore[arg-type]


def test_credentials_show_no_value() -> None:
    """repr, asdict and describe of credentials show no value."""
    credentials = Credentials(token=CANARY, organization_id=CANARY, session="canary-cookie")
    shown = [repr(credentials), str(credentials), repr(dataclasses.asdict(credentials)), repr(credentials.describe())]
    assert "canary" not in "".join(shown)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credentials)


@pytest.mark.parametrize(
    ("variables", "token", "source"),
    [
        ({"MERCHANTOPS_TOKEN": "t", "MERCHANTOPS_API_KEY": "k"}, "t", "MERCHANTOPS_TOKEN"),
        ({"MERCHANTOPS_API_KEY": "k"}, "k", "MERCHANTOPS_API_KEY"),
        ({"MERCHANTOPS_TOKEN": "", "MERCHANTOPS_API_KEY": "k"}, "k", "MERCHANTOPS_API_KEY"),
    ],
)
def test_the_token_wins_over_the_key(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], token: str, source: str
) -> None:
    """MERCHANTOPS_TOKEN comes before MERCHANTOPS_API_KEY; an empty variable is not set."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    credentials = Credentials.from_env()
    assert credentials.fixed_token is not None
    assert (credentials.fixed_token.reveal(), credentials.fixed_token.source) == (token, source)
    assert credentials.describe()["token"] == f"set (from {source})"


def test_from_env_reads_all_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Organization, cookie and address have variables of their own; without any, the public address stands."""
    assert Credentials.from_env() == Credentials()
    assert Credentials.from_env().base_url == DEFAULT_BASE_URL == "https://api.merchantops.ai"
    monkeypatch.setenv("MERCHANTOPS_ORGANIZATION_ID", "org-1")
    monkeypatch.setenv("MERCHANTOPS_SESSION", "cookie-1")
    monkeypatch.setenv("MERCHANTOPS_API_URL", "https://qa.example")
    credentials = Credentials.from_env()
    assert [secret.reveal() for secret in credentials.secrets] == ["org-1", "cookie-1"]
    assert credentials.base_url == "https://qa.example"
    assert credentials.describe()["token"] == "not set"


BAD = [
    "", " ", "\t", CANARY + "\n", CANARY + "\r\nX: y", " " + CANARY, CANARY + " ", "a  b", "a b c", CANARY + "\0",
    "tökén-canary", "\u2028", "😀",
]  # fmt: skip


@pytest.mark.parametrize("name", ["token", "organization_id", "session"])
@pytest.mark.parametrize("value", [*BAD, 5, b"bytes"])
def test_values_that_cannot_be_sent(name: str, value: Any) -> None:
    """What no header can carry is refused, by name and without its value."""
    with pytest.raises(ConfigurationError, match=f"^{name}") as caught:
        Credentials(**{name: value})
    assert "canary" not in str(caught.value).lower()
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", ["a;b", "a,b", 'a"b', "a b", "a\\b"])
def test_values_that_no_cookie_holds(value: str) -> None:
    """A session that would end or split the Cookie header is refused."""
    with pytest.raises(ConfigurationError, match="^session"):
        Credentials(session=value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about a variable says which one, and not what is in it."""
    monkeypatch.setenv("MERCHANTOPS_API_KEY", CANARY + "\n")
    with pytest.raises(ConfigurationError, match="MERCHANTOPS_API_KEY.*line break") as caught:
        Credentials.from_env()
    assert "canary" not in str(caught.value)


def test_a_token_function() -> None:
    """A token function is taken as it is; what it gives is checked, and what it raises is not quoted."""

    def failing() -> str:
        raise KeyError(CANARY)

    assert Credentials(token=lambda: "t").describe()["token"] == "set (from a function)"
    assert token_from(lambda: "t").reveal() == "t"
    with pytest.raises(ConfigurationError, match="KeyError") as caught:
        token_from(failing)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None
    with pytest.raises(ConfigurationError, match="NoneType"):
        token_from(lambda: None)  # type: ignore[arg-type, return-value]


FORMS = {
    "raw": CANARY,
    "upper case": CANARY.upper(),
    "bearer": f"Bearer {CANARY}",
    "URL": quote(CANARY, safe=""),
    "URL, lower case": quote(CANARY, safe="").lower(),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64, shifted by 1": base64.b64encode(b"x" + CANARY.encode()).decode(),
    "base64, shifted by 2": base64.b64encode(b"xy" + CANARY.encode()).decode(),
    "base64, URL-safe": base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
    "hex": CANARY.encode().hex(),
    "hex, upper case": CANARY.encode().hex().upper(),
    "JSON": json.dumps(CANARY).replace("/", "\\/"),
    "HTML": html.escape(CANARY),
    "first half": CANARY[:11],
    "last half": CANARY[-11:],
    "twice": CANARY * 2,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_redact(form: str) -> None:
    """Each form of a secret goes, what stands around it stays, and no 8 characters of it are left."""
    shown = redact(f"before {form} after", [Secret("other-secret"), Secret(CANARY)])
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "********" in shown
    assert not [at for at in range(len(form) - 7) if form[at : at + 8] in shown]


def test_redact_inside_an_encoded_text() -> None:
    """Of a longer text in base64, the part that holds the secret goes."""
    encoded = base64.b64encode(b"user:" + CANARY.encode() + b":more").decode()
    assert re.fullmatch(r"dXNlcj\w?\*{8}\S{,12}", redact(encoded, [Secret(CANARY)]))


def test_redact_leaves_the_rest() -> None:
    """Text without a secret stays as it is; a short secret goes where it is a word of its own."""
    assert redact("nothing here", [Secret(CANARY)]) == "nothing here"
    assert redact("org 7: 17 of 70 items in 7", [Secret("7")]) == "org ********: 17 of 70 items in ********"
    assert redact("", [Secret(CANARY)]) == ""
    assert redact("text", []) == "text"


def test_redact_a_prefixed_token() -> None:
    """Of "Bearer xyz", the token alone is secret too."""
    assert redact("got s3cr3t-t0ken-1", [Secret("Bearer s3cr3t-t0ken-1")]) == "got ********"


@pytest.mark.parametrize(
    ("variables", "base_url", "proxy"),
    [
        ({}, "https://h.example", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://h.example", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://h.example", "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://h.example", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://h.example", None),
        (
            {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"},
            "http://h.example",
            None,
        ),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "h.example"}, "https://h.example", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "https://h.example", None),
    ],
)
def test_proxy(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], base_url: str, proxy: str | None) -> None:
    """Proxy variables count for https:// alone, unless NO_PROXY names the host."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(base_url)
    assert (found and found.reveal()) == proxy


@pytest.mark.parametrize(
    "value", ["socks5://u:canary@h:1", "http://u:canary@", "http://u:canary@h:x", "http://[canary"]
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A proxy of a kind that we do not speak is refused without showing it."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        proxy_for("https://h.example")
    assert "canary" not in str(caught.value)


def test_ca_bundle_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument wins over the variables, and those over certifi; a missing path is refused by its source."""
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    ours.touch()
    theirs.touch()
    assert ca_bundle_path() == Path(certifi.where())
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs))
    assert ca_bundle_path() == theirs
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ours))
    assert ca_bundle_path() == ours
    assert ca_bundle_path(theirs) == theirs
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        ca_bundle_path()

"""`mops doctor`: what is configured, and whether the service answers."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sqlite3
import time
from importlib import metadata
from urllib.parse import urlsplit

from mops_analysis.cli import OK, exit_code_of
from mops_analysis.client import JobStatusClient
from mops_analysis.errors import POLL_FAULTS, PollError

_NEEDED = ("numpy", "pandas", "requests", "urllib3", "matplotlib", "statsmodels", "rich", "jinja2", "psutil")
_EXTRAS = {
    "notebook": ("jupyterlab", "ipywidgets"),
    "picker": ("anywidget",),
    "voila": ("voila",),
    "simulator": ("fastapi", "uvicorn"),
    "parquet": ("pyarrow",),
    "excel": ("openpyxl",),
    "cluster": ("distributed",),
}

# No job has this name: "not found" says that the service answered and took the credential.
_NOBODYS_JOB = "mops-doctor-asks-for-no-job"


def run(_: argparse.Namespace) -> int:
    """Print one line per finding; the exit code is that of the one request it makes."""
    _line("mops_analysis", metadata.version("mops_analysis"))
    _line("Python", f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    _line("packages", ", ".join(_version(name) for name in _NEEDED))
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        cure = f'missing; pip install "mops_analysis[{extra}]"'
        _line(f"extra {extra}", cure if missing else ", ".join(_version(name) for name in names))
    with JobStatusClient.from_env() as client:
        for name, value in client.describe().items():
            _line(name.replace("_", " "), value)
        finding, code = _ask(client)
    _line("service", finding)
    return code


def _ask(client: JobStatusClient) -> tuple[str, int]:
    started = time.monotonic()
    try:
        client.fetch_status(_NOBODYS_JOB)
    except PollError as error:
        took = f"after {time.monotonic() - started:.2f} s"
        if error.kind == "not_found":
            has_credential = any(client.describe()[name] != "not set" for name in ("token", "session"))
            taken = (
                ", and does not refuse the credential"
                if has_credential
                else "; no credential was sent, and none asked for"
            )
            hint = "; if it says so of jobs that exist, look at the address" if urlsplit(client.base_url).path else ""
            return f"answers {took}{taken}: of a job that cannot be there it says {error.detail!r}{hint}", OK
        return f"{error.kind} {took}: {POLL_FAULTS[error.kind]}; {error.detail}", exit_code_of(error.kind)
    return f"answers after {time.monotonic() - started:.2f} s", OK


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} MISSING"


def _line(name: str, value: str) -> None:
    print(f"{name:<18}{value}")

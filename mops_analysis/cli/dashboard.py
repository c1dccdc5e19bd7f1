"""`mops dashboard`: the live view as a web page, served by Voilà on this computer alone."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from mops_analysis.cli import OK
from mops_analysis.errors import ConfigurationError

# Each visitor gets a kernel that runs this; exports are written where the command was given.
_BEGIN = "import os\nimport mops_analysis as mops\nos.chdir({folder!r})\n"
_STORE = "store, client, job_ids = mops.SampleStore({store!r}), None, []\n"
_SIMULATOR = """import tempfile
from mops_analysis.simulator import Simulator
simulator = Simulator(speed=60).start()
client, job_ids = mops.JobStatusClient(base_url=simulator.url, token="any"), simulator.job_ids
store = mops.SampleStore(tempfile.mkdtemp() + "/samples.db")
"""
_SHOW = """mops.dashboard(
    store, client, job_ids=job_ids, interval_s={interval_s}, window={window!r}, tz={tz!r}, theme={theme!r}
)"""


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until interrupted; Voilà prints its address, which has the token."""
    if importlib.util.find_spec("voila") is None:
        raise ConfigurationError('Voilà is not installed; install it with: pip install "mops_analysis[notebook,voila]"')
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "dashboard.ipynb"
        page.write_text(json.dumps(_notebook(code_of(arguments))), encoding="utf-8")
        options = ["--Voila.ip=127.0.0.1", "--token", f"--theme={arguments.theme}", f"--port={arguments.port}"]
        options += ["--no-browser"] if arguments.no_browser else []
        print("stop with Ctrl-C", file=sys.stderr)
        try:
            return subprocess.run([sys.executable, "-m", "voila", str(page), *options], check=False).returncode  # noqa: S603  no shell
        except KeyboardInterrupt:
            return OK


def code_of(arguments: argparse.Namespace) -> str:
    """Return the code of the page; ConfigurationError where there is no such store."""
    look = {"tz": arguments.tz, "theme": arguments.theme}
    begin = _BEGIN.format(folder=str(Path.cwd()))
    if arguments.simulate:
        return begin + _SIMULATOR + _SHOW.format(interval_s=0.5, window="4s", **look)
    store = Path(arguments.store).resolve()
    if not store.is_file():
        raise ConfigurationError(
            f"{store}: there is no such store; fill one with: mops watch JOB_ID --store {store.name}"
        )
    return begin + _STORE.format(store=str(store)) + _SHOW.format(interval_s=3.0, window=arguments.window, **look)


def _notebook(code: str) -> dict[str, object]:
    cell: dict[str, object] = {
        "cell_type": "code",
        "id": "dashboard",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": [{**cell, "source": code}],
        "metadata": {"kernelspec": kernel, "title": "MerchantOps jobs"},
        "nbformat": 4,
        "nbformat_minor": 5,
    }

"""`mops lab`: the notebooks in JupyterLab."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import mops_analysis
from mops_analysis.errors import ConfigurationError


def run(arguments: argparse.Namespace) -> int:
    """Copy the notebooks that are not there yet, and start JupyterLab on them."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise ConfigurationError('JupyterLab is not installed; install it with: pip install "mops_analysis[notebook]"')
    folder = Path(arguments.dir or "mops-notebooks")
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in notebooks():
        if not (folder / notebook.name).exists():  # an analyst's own changes stay
            shutil.copyfile(notebook, folder / notebook.name)
    first = folder / "01-quickstart.ipynb"
    options = ["--no-browser"] if arguments.no_browser else []
    print(f"notebooks in {folder.resolve()}; stop with Ctrl-C twice", file=sys.stderr)
    return subprocess.run([sys.executable, "-m", "jupyterlab", str(first), *options], check=False).returncode  # noqa: S603  no shell


def notebooks() -> list[Path]:
    """Find the notebooks: inside an installed package, beside the package in a checkout."""
    installed = Path(str(resources.files(mops_analysis))) / "notebooks"
    folder = installed if installed.is_dir() else installed.parent.parent / "notebooks"
    found = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise ConfigurationError("the notebooks are missing from this installation; install mops_analysis again")
    return found

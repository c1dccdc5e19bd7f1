"""A notebook as a report: run with other parameters, and written as one HTML file that needs nothing else."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import mops_analysis
from mops_analysis.errors import SchemaError
from mops_analysis.report.tables import require

_TIMEOUT_S = 600


def run_notebook(notebook: Path, path: Path, *, parameters: Mapping[str, Any], title: str | None = None) -> Path:
    """Run a notebook and write its prose and outputs as HTML, without its code.

    The parameters follow the cell with the tag "parameters", and win over it. Cells with the tag "interactive" are left
    out: a widget is no use on paper. Pictures keep their alt text, and the page fetches nothing.

    Raises
    ------
    ConfigurationError
        If the packages that run notebooks are not installed.
    SchemaError
        If a cell fails; the message has its error.
    """
    for package in ("nbclient", "nbconvert", "ipykernel"):
        require(package, "notebook")
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    nbformat: Any = importlib.import_module("nbformat")  # it has no types
    document = nbformat.read(notebook, as_version=4)
    document.cells = [cell for cell in document.cells if "interactive" not in cell.metadata.get("tags", ())]
    tagged = [n for n, cell in enumerate(document.cells) if "parameters" in cell.metadata.get("tags", ())]
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    document.cells.insert(tagged[0] + 1 if tagged else 0, nbformat.v4.new_code_cell(lines))
    try:
        NotebookClient(document, timeout=_TIMEOUT_S, kernel_name="python3").execute()
    except CellExecutionError as error:
        raise SchemaError(f"{notebook.name}: {error.ename}: {error.evalue}") from None
    path.write_text(_page(document, title), encoding="utf-8")
    return path


def _page(document: Any, title: str | None) -> str:
    nbconvert: Any = importlib.import_module("nbconvert")
    # The basic template is the body alone: no script, no style, no address.
    exporter = nbconvert.HTMLExporter(template_name="basic", exclude_input=True, exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(document)
    heading = next(re.finditer(r"^# (.+)$", document.cells[0].source, flags=re.MULTILINE), None)
    templates = jinja2.Environment(loader=jinja2.PackageLoader("mops_analysis.report", "."), autoescape=True)
    return templates.get_template("notebook.html.j2").render(
        title=title or (heading.group(1) if heading else "Report"),
        body=Markup(body),  # noqa: S704  our own notebook; nbconvert escapes texts, pandas and the charts their HTML
        version=mops_analysis.__version__,
    )

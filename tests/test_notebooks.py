"""The notebooks, run from top to bottom in a real kernel, in a temporary copy."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"

# Name, and how many pictures it must show at least, beside those inside widgets.
FIGURES = {
    "01-quickstart.ipynb": 3,
    "02-throughput.ipynb": 1,
    "03-eta.ipynb": 2,
    "04-failure-rates.ipynb": 1,
    "06-throughput-report.ipynb": 4,
    "05-dashboard.ipynb": 2,
    "07-fleet.ipynb": 1,
}

# First in the kernel: whatever our code warns of is an error there, too. IPython and its parts may warn.
STRICT = """
import warnings
warnings.filterwarnings("error", module=r"mops_analysis|__main__|ipykernel_\\d+|tmp")
"""


def notebook(name: str) -> Any:
    """The notebook as it is in the repository."""
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def outputs(document: Any) -> Iterator[Any]:
    """All outputs of all cells."""
    for cell in document.cells:
        yield from cell.get("outputs", [])


def test_all_notebooks_are_known() -> None:
    """A notebook that nobody runs does not stay right."""
    assert sorted(FIGURES) == sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", FIGURES)
def test_running_a_notebook(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs without an error or a warning; the charts and the job picker are there; nothing stays behind."""
    for place in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place.lower()))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    document = notebook(name)
    document.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    threads = (
        "import threading, mops_analysis\nprint([each.name for each in threading.enumerate() if 'mops' in each.name])"
    )
    document.cells.append(nbformat.v4.new_code_cell(threads))
    with warnings.catch_warnings():
        # nbclient and jupyter_client warn of their own use of event loops and ports.
        warnings.simplefilter("ignore")
        client = NotebookClient(
            document, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "work")}}
        )
        client.execute()
    found = list(outputs(document))
    assert [each.name + ": " + each.text for each in found[:-1] if each.output_type == "stream"] == []
    assert found[-1].text.strip() == "[]"
    pictures = [each for each in found if "image/png" in each.get("data", {})]
    assert len(pictures) >= FIGURES[name]
    assert all(re.search(r'<img alt="[^"]{20,}"', each.data["text/html"]) for each in pictures)
    assert any(WIDGET in each.get("data", {}) for each in found)
    models = list(client.widget_state.values())
    assert any("filter" in str(state.get("placeholder", "")) for state in models)
    assert any("<img alt=" in str(state.get("value", "")) for state in models)
    assert os.listdir(tmp_path / "work") == []
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_reads_as_a_document(name: str) -> None:
    """Title and question first, then imports, then all parameters; short cells; no outputs, no functions."""
    cells = notebook(name).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert cells[0].source.startswith("# ")
    for word in ("The question.", "Needed.", "Time to run."):
        assert f"**{word}**" in cells[0].source
    assert "import mops_analysis as mops" in code[0].source
    assert code[1].source.startswith("source = ")
    assert all(f'"{word}"' in code[1].source for word in ("example", "simulator", "service"))
    assert any(cell.source.startswith("## Limits") for cell in cells[-3:])
    assert len(cells) <= 30
    assert all(len(cell.source.splitlines()) <= 10 for cell in code)
    assert not any(re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE) for cell in code)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert sum(cell.cell_type == "markdown" for cell in cells) >= len(code) - 2

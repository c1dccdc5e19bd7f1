"""The project as a whole: layers, lazy imports, names, dependencies, docstrings, documents."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mops_analysis
from mops_analysis.cli import build_parser

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mops_analysis"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# What each room may import of the others: the way of the data, in one direction.
ALLOWED = {
    "errors": set(),
    "schema": {"errors"},
    "credentials": {"errors", "schema"},
    "client": {"errors", "schema", "credentials", "__version__"},
    "parquet": set(),
    "store": {"errors", "schema", "parquet"},
    "files": {"errors", "schema", "parquet", "store"},
    "metrics": {"errors", "schema"},
    "dataset": {"errors", "schema", "parquet", "store", "files", "metrics"},
    "charts": {"errors", "schema"},
    "simulator": {"errors", "schema"},
    "sampler": {"errors", "schema", "credentials", "client", "store"},
}
ALLOWED["report"] = set(ALLOWED) - {"simulator"} | {"__version__"}
ALLOWED["dashboard"] = ALLOWED["report"] | {"report"}
ALLOWED["cli"] = ALLOWED["dashboard"] | {"dashboard", "simulator"}
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = {path.stem for path in PACKAGE.iterdir()}  # all of them, lazily


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = node.module == "mops_analysis"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("mops_analysis.")}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    """No module imports a later stage, nor a stage beside it."""
    room = room_of(path)
    assert rooms_imported(path) - {room} <= ALLOWED[room]


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        (
            "import mops_analysis",
            {"numpy", "pandas", "matplotlib", "ipywidgets", "IPython", "fastapi", "requests", "rich"},
        ),
        (
            "import mops_analysis.cli; mops_analysis.cli.build_parser()",
            {"numpy", "pandas", "matplotlib", "requests", "rich"},
        ),
        ("from mops_analysis import throughput, failure_rate, eta, summary", {"matplotlib", "requests", "ipywidgets"}),
        ("from mops_analysis import plot_progress", {"requests", "ipywidgets", "fastapi"}),
        ("from mops_analysis import Sampler, SampleStore, JobStatusClient", {"pandas", "numpy", "matplotlib", "rich"}),
    ],
)
def test_an_import_loads_only_what_it_needs(statement, banned):
    """Importing is cheap: drawing, widgets and the web are loaded when they are used."""
    assert not loaded_by(statement) & banned


@pytest.mark.parametrize("name", [name for name in mops_analysis.__all__ if name != "__version__"])
def test_each_public_name_is_there_and_documented(name):
    """Every public name can be had from the package, and says what it is."""
    value = getattr(mops_analysis, name)
    assert inspect.getdoc(value)
    assert not inspect.ismodule(value)


FUNCTIONS = [
    value
    for name in mops_analysis.__all__
    if inspect.isfunction(value := getattr(mops_analysis, name))
    or (inspect.isclass(value) and not issubclass(value, Exception))
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_public_docstrings_follow_the_house_style(function):
    """A public function documents every parameter, and after the data everything is keyword-only."""
    text = inspect.getdoc(function)
    parameters = [name for name in inspect.signature(function).parameters if name not in ("args", "kwargs")]
    for name in parameters:
        assert re.search(rf"\b{name}\b", text), f"{function.__name__}: {name} is not documented"
    if parameters:
        assert "Parameters\n" in text or "Attributes\n" in text


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_public_docstrings_have_an_example(function):
    """Each public function and class shows an example, which is run as a test."""
    shown = inspect.getdoc(function) + "".join(inspect.getdoc(member) or "" for member in vars(function).values())
    assert ">>>" in shown


def test_type_checkers_see_the_same_names():
    """What is imported for type checkers is what the package gives at run time."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    assert {alias.asname for node in block.body for alias in node.names} | {"__version__"} == set(mops_analysis.__all__)


def test_a_function_is_not_hidden_by_its_module():
    """`mops.report` and `mops.dashboard` stay functions after their modules of the same name were imported."""
    for name in ("report", "dashboard"):
        importlib.import_module(f"mops_analysis.{name}")
        assert inspect.isfunction(getattr(mops_analysis, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mops_analysis.nothing  # noqa: B018


def requirement(text: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([A-Za-z0-9_.-]+)(>=[0-9.]+)?", text).groups()
    return name, bound or ""


def test_conda_and_pip_say_the_same():
    """environment.yml has the packages and lower bounds of pyproject.toml: the core, and the extras for analysts."""
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = dict(map(requirement, PROJECT["project"]["dependencies"]))
    for extra in ("notebook", "picker", "voila", "simulator", "parquet", "excel", "cluster"):
        wanted |= dict(map(requirement, extras[extra]))
    wanted["python"] = PROJECT["project"]["requires-python"]
    wanted["matplotlib-base"] = wanted.pop("matplotlib")  # conda-forge's name of matplotlib without a GUI toolkit
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(requirement(entry) for entry in listed if isinstance(entry, str))
    assert found.pop("pip") == ""
    assert found == wanted


def commands() -> dict:
    actions = build_parser()._subparsers._group_actions
    return actions[0].choices


@pytest.mark.parametrize("name", commands())
def test_each_command_has_help_and_stands_in_the_documents(name):
    """Every command explains itself, and the README or the command page names it."""
    assert commands()[name].description
    documents = (ROOT / "README.md").read_text() + (ROOT / "docs" / "commands.md").read_text()
    assert f"mops {name}" in documents


def test_the_readme_is_short():
    """Under a hundred lines; the rest is in notebooks and docs."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 100


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    """The README's Python example runs as it stands."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_panels_without_their_extra_name_it():
    """Who has not installed the notebook extra is told how, not which module is missing."""
    code = "import sys; sys.modules['ipywidgets'] = None; import mops_analysis as mops; mops.dashboard"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "mops_analysis[notebook]"' in done.stderr.splitlines()[-1]


MINE = """time,job,state,percent,done,total,errors,merchant
2026-10-25 01:59:00,imp-7,RUNNING,0,0,600,0,Acme
2026-10-25 02:10:00,imp-7,RUNNING,10,60,600,0,Acme
2026-10-25 03:02:00,imp-7,RUNNING,20,118,600,2,Acme
2026-10-25 03:03:00,imp-7,DONE,98.3,590,600,10,Acme
"""


def test_the_recipe_for_samples_from_elsewhere_runs(tmp_path, monkeypatch, capsys):
    """A file with names, words and wall clock of its own is measured as the page says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(MINE)
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "numbers.md").read_text(), flags=re.DOTALL)
    found = {}
    exec(compile(block, "numbers.md", "exec"), found)
    row = found["mops"].summary(found["samples"]).iloc[0]
    assert (row["job_id"], row["status"], row["label"], row["samples"]) == ("imp-7", "completed", "Acme", 3)
    assert str(row["ended_before"]) == "2026-10-25 02:03:00+00:00"
    assert row["finished_items"] == 600


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    """Every relative link and picture of a document is a file of the project."""
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    """No outputs, no execution counts."""
    cells = json.loads(path.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_every_test_states_its_fact():
    """Each test has a docstring of its own: the fact it states."""
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"

"""No credential leaves the machine: the main jobs are done with canaries, and everything they wrote is searched."""

import base64
import contextlib
import os
import re
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path
from urllib.parse import quote, quote_plus

import nbformat
import pytest
from faulty_server import FaultyServer, close, hang, raw, reply, sample
from IPython.core.ultratb import VerboseTB
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import mops_analysis as mops
from mops_analysis.cli import main

CANARIES = {
    "MERCHANTOPS_TOKEN": "canary-t0ken/8f3A+Zq91x",
    "MERCHANTOPS_ORGANIZATION_ID": "canary-org-55173",
    "MERCHANTOPS_SESSION": "canary-session-c00kie42",
}


def forms_of(canary):
    """A canary raw, URL-encoded, in base64 at each of its three offsets, and in hex; each of them cut at both ends."""
    data = canary.encode()
    coded = []
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + data).decode()
        coded.append(text[4 if offset else 0 : -4])  # the ends depend on what is beside it
    whole = [canary, quote(canary, safe=""), quote_plus(canary), data.hex(), *coded]
    coded += [base64.urlsafe_b64encode(data).decode()[:-4]]
    return {form for text in [*whole, *coded] for form in (text, text[:12], text[-12:])}


def leaks(data):
    """The forms of the canaries that occur in these bytes, whatever their case."""
    lowered = data.lower()
    return [form for canary in CANARIES.values() for form in forms_of(canary) if form.lower().encode() in lowered]


def everything_in(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    packed = [zipfile.ZipFile(path) for path in files if zipfile.is_zipfile(path)]  # .xlsx
    return b"\0".join(
        [*(path.read_bytes() for path in files), *(each.read(name) for each in packed for name in each.namelist())]
    )


def echo(exchange):
    """401 that repeats what it was sent, in every form."""
    sent = [exchange.request.headers.get(name, "") for name in ("authorization", "x-organization-id", "cookie")]
    forms = [form for canary in CANARIES.values() for form in sorted(forms_of(canary))]
    return reply(401, " ".join([*sent, *forms]).encode())(exchange)


JOBS = {
    "fine": [sample(), sample(processed_items=7), sample(status="completed", processed_items=10)],
    "broken": [sample(), close, close, reply(503), sample(status="failed")],
    "gone": [sample(), reply(404, b'{"detail": [{"loc": ["header"], "msg": "no", "input": "canary-org-55173"}]}')],
    "elsewhere": [reply(302, b"", "Location: https://canary-t0ken@elsewhere.example/"), sample(status="completed")],
    "babble": [raw(b"HTTP/1.1 200 OK\r\n bad\r\n\r\n"), sample(status="completed")],
}


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The environment of a user with all credentials set, whose every file lies in the test's folder."""
    for name in list(os.environ):
        if name.startswith("MERCHANTOPS_"):
            monkeypatch.delenv(name)
    for name, canary in CANARIES.items():
        monkeypatch.setenv(name, canary)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR", "TMPDIR"):
        monkeypatch.setenv(name, str(home))
    return monkeypatch


def test_the_search_finds_each_form():
    """The search itself: it finds a canary in each form, in the middle of other bytes, and nothing in plain text."""
    for canary in CANARIES.values():
        data = canary.encode()
        hidden = [data, quote(canary, safe="").encode(), data.hex().encode(), data.hex().upper().encode(), data[:12]]
        hidden += [base64.b64encode(b"x" * n + data + b"yz") for n in range(4)]
        assert all(leaks(b"some text " + each + b" more") for each in hidden)
    assert not leaks(b"canary job organization session token completed" * 10)


def test_the_command_line_writes_no_credential(environment, tmp_path, capfd):
    """Watch (faults, and a 401 that echoes), jobs, export, chart, report, doctor, store: screen, files, store bytes."""
    work = tmp_path / "work"
    work.mkdir()
    environment.chdir(work)
    with FaultyServer(JOBS | {"echo": [sample(), echo], "stuck": hang()}) as server:
        environment.setenv("MERCHANTOPS_API_URL", server.url)
        fast = ("--interval", "0.1", "--deadline", "0.5")
        assert main(["watch", *JOBS, *fast]) == 5
        assert main(["watch", "echo", "fine", *fast]) == 3
        assert main(["watch", "stuck", *fast, "--timeout", "1"]) == 7
        assert main(["watch", ".."]) == 8
        main(["doctor"])
        assert all(request.headers.get("authorization") for request in server.requests)
    for arguments in (
        ("jobs",),
        ("export", "--what", "polls", "--out", "polls.csv"),
        ("export", "--what", "summary", "--out", "summary.xlsx"),
        ("chart", "progress", "--out", "chart.svg"),
        ("report", "--out", "report.html"),
        ("store", "check", "samples.db"),
        ("store", "backup", "samples.db", "copy.db"),
    ):
        assert main(arguments) == 0, arguments
    shown = capfd.readouterr()
    assert "auth" in shown.err
    assert not leaks((shown.out + shown.err).encode())
    assert {path.name for path in work.iterdir()} >= {"samples.db", "polls.csv", "chart.svg", "report.html", "copy.db"}
    assert not leaks(everything_in(tmp_path))
    with mops.SampleStore(work / "samples.db") as store:
        assert store.read_polls("echo")["detail"].notna().any()


def test_a_killed_watch_leaves_no_credential(environment, tmp_path):
    """What lies beside the store of a killed watch, the log that was not moved into it yet, holds none either."""
    with FaultyServer({"a": [sample(), close, close, reply(500, b"x"), sample()]}) as server:
        environment.setenv("MERCHANTOPS_API_URL", server.url)
        arguments = [sys.executable, "-m", "mops_analysis", "watch", "a", "--interval", "0.05"]
        with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            while len(server.requests) < 8 and process.poll() is None:
                pass
            process.kill()
            out, err = process.communicate()
    assert (tmp_path / "samples.db-wal").stat().st_size > 0
    assert not leaks(everything_in(tmp_path) + out + err)


def test_the_library_shows_no_credential(environment, store, caplog):
    """Reprs, frames, outcomes, log lines at every level, tracebacks: as text, and in IPython's verbose mode."""
    caplog.set_level(0)
    shown = []
    with FaultyServer(JOBS | {"echo": echo}) as server:
        environment.setenv("MERCHANTOPS_API_URL", server.url)
        with mops.JobStatusClient.from_env(deadline_s=1.0) as client:
            sampler = mops.Sampler(client, store, interval_s=0.05)
            frame = sampler.watch([*JOBS, "echo"], timeout_s=10, progress=False)
            shown += [frame.to_string(), repr(sampler), repr(vars(sampler)), repr(client), repr(client.describe())]
            shown += [store.read_polls().to_string(), repr(sampler.outcomes())]
            for job_id in ("echo", "gone"):
                try:
                    client.fetch_status(job_id)
                except mops.PollError as error:
                    ours = error.__traceback__.tb_next  # this frame of the test holds the canaries
                    shown += ["".join(traceback.format_exception(error)), repr(error), str(error.args)]
                    shown += [VerboseTB(theme_name="nocolor", long_header=True).text(type(error), error, ours)]
    assert "fetch_status" in "".join(shown)
    assert not leaks("".join([*shown, caplog.text]).encode())
    assert not leaks(everything_in(store.path.parent))


INTERRUPT = "import os, signal, threading\nthreading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
CELLS = (
    "import logging\nlogging.basicConfig()\nlogging.getLogger('urllib3').setLevel('DEBUG')",
    "%xmode Verbose\nimport mops_analysis as mops\nclient = mops.JobStatusClient.from_env(deadline_s=1.0)\nclient",
    "store = mops.SampleStore('samples.db')\nsampler = mops.Sampler(client, store, interval_s=0.05)\nsampler",
    "sampler.watch(['fine', 'broken'], timeout_s=10)",
    "client.describe()",
    "store.read_polls()",
    "client.fetch_status('echo')",
    f"{INTERRUPT}client.fetch_status('stuck')",
    f"{INTERRUPT}sampler.watch('stuck', progress=False)",
    "sampler.watch(['', 'fine'])",
    "mops.JobStatusClient.from_env(base_url='http://service.example')",
)


def test_a_notebook_holds_no_credential(environment, tmp_path):
    """An executed notebook: displays, logs, verbose tracebacks of errors and interrupts; all that its kernel wrote."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with FaultyServer(JOBS | {"echo": echo, "stuck": hang()}) as server:
        environment.setenv("MERCHANTOPS_API_URL", server.url)
        runner = NotebookClient(
            notebook, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
        )
        with contextlib.suppress(CellExecutionError):
            runner.execute()
    written = nbformat.writes(notebook)
    (tmp_path / "run.ipynb").write_text(written)
    errors = [output.ename for cell in notebook.cells for output in cell.outputs if output.output_type == "error"]
    assert errors == ["ReplyError", *["KeyboardInterrupt"] * 2, *["ConfigurationError"] * 2]
    assert "urllib3.connectionpool" in written
    plain = re.sub(r"\\u001b\[[0-9;]*m", "", written)
    assert "fetch_status(self=JobStatusClient(" in plain  # as verbose as it was meant to be
    assert not leaks(everything_in(tmp_path))
    assert not leaks(plain.encode())


def test_the_repository_holds_no_canary():
    """No file of the package has a canary in it, so what is found above comes from a leak."""
    package = Path(mops.__file__).parent
    assert not leaks(b"".join(path.read_bytes() for path in package.rglob("*.py")))

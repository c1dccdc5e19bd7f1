"""`mops` in processes of its own, against the simulator."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import mops_analysis as mops
from mops_analysis.cli import TABLES, main, output, table
from mops_analysis.metrics import summary
from mops_analysis.simulator import STORIES, Simulator

CANARY = "canary-4f1d-token"


def run(*arguments, cwd, url="http://127.0.0.1:9", timeout=60, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MERCHANTOPS_")}
    return subprocess.run(
        [sys.executable, "-m", "mops_analysis", *arguments],
        cwd=cwd,
        env=kept | {"MERCHANTOPS_API_URL": url} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def simulator():
    with Simulator(speed=600, token=CANARY) as running:
        yield running


@pytest.fixture(scope="module")
def slow_simulator():
    with Simulator(speed=1) as running:
        yield running


def test_watch_ends_for_every_story(tmp_path, simulator):
    """Every story ends by itself, with the exit code of its end and its last state as JSON; all samples are kept."""
    job_ids = simulator.job_ids
    assert len(job_ids) == len(STORIES)
    done = run(
        "watch",
        *job_ids,
        "--interval",
        "0.3",
        "--timeout",
        "60",
        cwd=tmp_path,
        url=simulator.url,
        MERCHANTOPS_TOKEN=CANARY,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["job_id"] for line in lines] == job_ids
    assert {line["outcome"] for line in lines} == {"ended", "awaiting_review"}
    assert done.returncode == 5  # some of them ended badly
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
    samples = mops.read_samples(tmp_path / "samples.db")
    last = samples.groupby("job_id").tail(1).set_index("job_id")
    for line in lines:
        assert last.loc[line["job_id"], "processed_items"] == line["processed_items"]
        assert last.loc[line["job_id"], "status"] == line["status"].lower()


@pytest.mark.parametrize(
    ("job_id", "options", "code", "outcome"),
    [
        ("clean-import-1", (), 0, "ended"),
        ("partial-success-1", (), 5, "ended"),
        ("cancelled-1", (), 5, "ended"),
        ("stuck-in-review-1", (), 0, "awaiting_review"),
        ("stuck-in-review-1", ("--fail-on-review",), 5, "awaiting_review"),
        ("nobody", (), 5, "not_found"),
    ],
)
def test_the_exit_code_says_how_a_watch_ended(tmp_path, simulator, job_id, options, code, outcome):
    """The exit codes of the official command line: 0 well, 5 badly, 7 timeout."""
    time.sleep(max(0.0, 6.0 - (time.monotonic() - simulator_started)))  # by then the stories have ended
    done = run(
        "watch", job_id, "--interval", "0.2", *options, cwd=tmp_path, url=simulator.url, MERCHANTOPS_TOKEN=CANARY
    )
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["outcome"] == outcome


simulator_started = time.monotonic()


def test_a_job_that_runs_on_is_timed_out(tmp_path, slow_simulator):
    """The timeout exits with 7, with the last seen state as JSON."""
    done = run("watch", "clean-import-1", "--interval", "0.2", "--timeout", "1", cwd=tmp_path, url=slow_simulator.url)
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout)["outcome"] == "timed_out"
    assert json.loads(done.stdout)["total_items"] > 0
    assert done.stderr.endswith("the samples are in samples.db; the same command goes on; next: mops report\n")


def test_a_wrong_credential_is_told_apart(tmp_path, simulator):
    """401 exits with 3, and neither the credential nor a traceback is shown."""
    done = run("watch", "clean-import-1", cwd=tmp_path, url=simulator.url, MERCHANTOPS_TOKEN="wrong-canary")
    assert done.returncode == 3
    assert json.loads(done.stdout)["outcome"] == "auth"
    assert "clean-import-1  auth: Not authenticated" in done.stderr
    assert "clean-import-1: 401: the credential is missing, wrong or expired" in done.stderr
    assert "samples.db" not in done.stderr
    assert "wrong-canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "usage"),
        (("watch",), 2, "JOB_ID"),
        (("watch", "a", "--interval", "0"), 2, "number above zero"),
        (("watch", ".."), 8, "job id"),
        (("watch", "a", "--store", "nowhere/samples.db"), 8, "folder exists"),
        (("jobs", "--store", "missing.db"), 8, "no such file"),
        (("jobs", "--store", "."), 8, ". is a folder; expected a file"),
        (("store", "check"), 8, "samples.db: there is no such file"),
        (("store", "check", "."), 8, ". is a folder; expected a file"),
        (("chart", "progress", "--store", "missing.db", "--out", "a.png"), 8, "no such file"),
        (("chart", "pie", "--out", "a.png"), 2, "invalid choice"),
    ],
)
def test_local_faults_send_nothing_and_say_what_is_wrong(tmp_path, arguments, code, message):
    """Wrong usage exits with 2, a local fault with 8; one clear line, no traceback."""
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_service_that_is_away_is_waited_for_until_the_timeout(tmp_path):
    """Nobody listens: the polls fail, are kept, and the watch times out with 7."""
    done = run("watch", "a", "--interval", "0.2", "--timeout", "1", cwd=tmp_path)
    assert done.returncode == 7
    assert json.loads(done.stdout)["outcome"] == "timed_out"
    with mops.SampleStore(tmp_path / "samples.db") as store:
        assert set(store.read_polls()["outcome"]) == {"connection"}


def test_a_table_that_takes_long_is_shown_more_rarely(store, slow_simulator, monkeypatch):
    """Computing it takes a fifth of the time at most: the polls of the same process come first."""
    looks = []

    def slow(samples):
        looks.append(time.monotonic())
        time.sleep(0.2)
        return summary(samples)

    monkeypatch.setattr(table, "summary", slow)
    monkeypatch.setattr(table.LiveTable, "refresh_s", 0.01)
    with mops.JobStatusClient(base_url=slow_simulator.url) as client, mops.Sampler(client, store, 0.1) as sampler:
        sampler.start("clean-import-1")
        with table.LiveTable(sampler, store) as live:
            end = time.monotonic() + 30
            while len(looks) < 2 and time.monotonic() < end:
                live.show()
                time.sleep(0.01)
    assert looks[1] - looks[0] >= 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_watch_within_a_second(tmp_path, slow_simulator, number):
    """Out within a second, no traceback, what was seen is printed, the store is whole."""
    environment = os.environ | {"MERCHANTOPS_API_URL": slow_simulator.url}
    arguments = [sys.executable, "-m", "mops_analysis", "watch", "clean-import-1", "--interval", "0.2"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "clean-import-1" in process.stderr.readline()
        time.sleep(0.5)
        asked = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - asked < 1.5
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(out)["outcome"] == "stopped"
    with mops.SampleStore(tmp_path / "samples.db") as store:
        assert len(store.read_samples()) == json.loads(out)["polls"]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    path = tmp_path_factory.mktemp("example") / "example.csv"
    mops.export(mops.load_example(), path)
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_jobs_lists_a_line_each(here, example, capsys):
    """One line per job with status, share done and forecast; the forecast's record beside it."""
    assert main(["jobs", "--store", example]) == 0
    shown = capsys.readouterr()
    lines = shown.out.rstrip().splitlines()
    assert len(lines) == 1 + mops.load_example()["job_id"].nunique()
    assert re.search(r"completed .* 100%", shown.out)
    assert "80 % interval held" in shown.err


@pytest.mark.parametrize("width", [60, 72, 80, 116, 134, None])
def test_the_table_of_jobs_fits_its_terminal(width):
    """At every width each job has its name, its share and its forecast whole, and what went wrong beside it."""
    samples = mops.load_example()
    samples = samples[(samples["sampled_at"] < "2026-11-18T14:30:00Z") & (samples["job_id"].str.len() < 16)]
    notes = {"failure-burst-1": "rate_limited", "no-such-job": "not found"}
    shown = table.job_table(mops.summary(samples.drop(columns="label")), notes=notes, width=width, tz="Europe/Berlin")
    screen = Console(file=io.StringIO(), width=width or 240)
    screen.print(shown)
    lines = {line.split()[0]: line.rstrip() for line in screen.file.getvalue().splitlines()}
    assert set(lines) == {"job", "no-such-job", *samples["job_id"]}
    assert all(cell_len(line) <= screen.width for line in lines.values())
    assert re.search(r" 46% .*15:37–15:58\b", lines["clean-import-3"])
    assert lines["no-such-job"].endswith("not found")
    assert lines["failure-burst-1"].endswith("rate_limited")
    assert ("━" in lines["clean-import-3"]) == (width == 134)
    assert "+01:00" in lines["job"]


@pytest.mark.parametrize(
    "name",
    [
        *("progress.png", "progress.svg", "progress.pdf", "throughput.png", "eta.png", "failures.png"),
        *("comparison.png", "failures-by-job.svg", "timeline.png", "heatmap.png"),
        *("throughput-by.svg", "tear-sheet.pdf"),
    ],
)
def test_chart_writes_a_picture(here, example, name, capsys):
    """Each chart, and each format; the path is the one line on stdout."""
    kind, suffix = name.split(".")
    assert main(["chart", kind, "clean-import-1", "--store", example, "--out", name, "--tz", "Europe/Berlin"]) == 0
    assert capsys.readouterr().out.strip() == name
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (here / name).read_bytes().startswith(start)


def test_a_chart_about_one_job_compares_it_with_the_others(here, example, capsys):
    """Two jobs are refused; of none named, the one sampled last is taken, against all of the store."""
    assert main(["chart", "comparison", "clean-import-1", "cancelled-1", "--store", example, "--out", "c.svg"]) == 8
    assert "about one job, got 2" in capsys.readouterr().err
    assert main(["chart", "comparison", "--store", example, "--out", "c.svg"]) == 0
    samples = mops.load_example()
    axes = output.draw("comparison", samples, window="2min", tz="UTC", theme="light")
    newest = samples.loc[samples["sampled_at"].idxmax(), "label"]
    assert mops.alt_text(axes).startswith(f"Comparison: {newest}")
    assert "others took" in mops.alt_text(axes)


@pytest.mark.parametrize("what", TABLES)
def test_export_writes_a_table(here, example, what, store):
    """Each table comes with the columns that its function gives."""
    store.append_samples(mops.load_example())
    source = str(store.path) if what == "polls" else example
    assert main(["export", "clean-import-1", "--store", source, "--what", what, "--out", "t.csv"]) == 0
    header = (here / "t.csv").read_text().splitlines()[0]
    assert header.startswith("seq,job_id," if what == "polls" else "job_id,")


def test_polls_of_what_is_not_there(here, store, capsys):
    """A store that is missing is not made, and a job without polls is named, as for every other table."""
    assert main(["export", "--what", "polls", "--store", "missing.db", "--out", "t.csv"]) == 8
    assert "missing.db: there is no such file" in capsys.readouterr().err
    assert main(["export", "nobody", "--what", "polls", "--store", str(store.path), "--out", "t.csv"]) == 8
    assert "knows nothing of 'nobody'" in capsys.readouterr().err
    assert list(here.glob("[!s]*")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--out", "nowhere/t.csv"),
        ("export", "--out", "nowhere/t.parquet"),
        ("chart", "progress", "--out", "nowhere/c.png"),
        ("report", "--out", "nowhere/r.html"),
    ],
)
def test_a_folder_that_is_missing(here, example, arguments, capsys):
    """Where a file cannot be written, one line says which, and the exit code is that of a local fault."""
    assert main([*arguments, "--store", example]) == 8
    shown = capsys.readouterr()
    assert shown.err.startswith("mops: ")
    assert "nowhere" in shown.err
    assert shown.out == ""


def test_a_store_that_is_taken_for_a_job(here, example, capsys):
    """Whoever names the store where jobs are named is told how to name it."""
    (here / "samples.db").touch()
    assert main(["jobs", "samples.db", "--store", example]) == 8
    assert "see: mops jobs --store samples.db" in capsys.readouterr().err


def test_a_store_without_samples_has_no_table(store, capsys):
    """A table of nothing would say nothing."""
    assert main(["jobs", "--store", str(store.path)]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{store.path} has no samples yet\n")


@pytest.mark.parametrize(("window", "every_s"), [("2min", 60), ("20s", 60), ("4s", 5)])
def test_periods_of_a_short_run(window, every_s):
    """Half a minute is cut into periods as short as the window, not into two minutes; hours keep their minutes."""
    samples = mops.load_example()
    begin = samples["sampled_at"].min()
    quick = samples.assign(sampled_at=begin + (samples["sampled_at"] - begin) / 200)
    width = np.diff(output.draw("throughput-by", quick, window=window, tz="UTC", theme="light").get_xlim())
    assert round(float(width[0]) * 86_400) % every_s == 0
    assert (float(width[0]) * 86_400 < 60) == (every_s < 60)


def test_a_store_that_is_deleted_under_a_watch(tmp_path, slow_simulator):
    """What cannot be kept is not sampled on: the watch ends with 8, and says that the file is gone."""
    environment = os.environ | {"MERCHANTOPS_API_URL": slow_simulator.url}
    arguments = [sys.executable, "-m", "mops_analysis", "watch", "clean-import-1", "--interval", "0.2"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "clean-import-1" in process.stderr.readline()
        for path in tmp_path.glob("samples.db*"):
            path.unlink()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 8
    assert "samples.db was deleted, moved or replaced while it was open" in err
    assert "Traceback" not in err


def test_report_writes_one_file(here, example):
    """The report is one HTML file for the jobs that were asked for."""
    assert main(["report", "clean-import-1", "--store", example, "--out", "r.html"]) == 0
    assert "clean-import-1" in (here / "r.html").read_text()
    assert "failure-burst-1" not in (here / "r.html").read_text()


def test_doctor_asks_once_and_shows_no_secret(tmp_path, simulator):
    """The doctor says what is set, never its value, and whether the service refuses it."""
    done = run("doctor", cwd=tmp_path, url=simulator.url, MERCHANTOPS_TOKEN=CANARY)
    assert done.returncode == 0, done.stdout
    assert "does not refuse the credential" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert run("doctor", cwd=tmp_path, url=simulator.url).returncode == 3
    lost = run("doctor", cwd=tmp_path, url=f"{simulator.url}/api", MERCHANTOPS_TOKEN=CANARY)
    assert "it says 'Not Found'; if it says so of jobs that exist, look at the address" in lost.stdout
    away = run("doctor", cwd=tmp_path)
    assert away.returncode == 7
    assert "connection" in away.stdout


def test_simulate_serves_until_it_is_stopped(tmp_path):
    """The address is the one line on stdout; with --auth the token is asked for; SIGTERM ends it cleanly."""
    environment = os.environ | {"MERCHANTOPS_TOKEN": CANARY}
    arguments = [sys.executable, "-m", "mops_analysis", "simulate", "--auth", "--speed", "60"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        url = process.stdout.readline().strip()
        try:
            with mops.JobStatusClient(base_url=url, token=CANARY) as client:
                assert client.fetch_status("clean-import-1").job_id == "clean-import-1"
            with mops.JobStatusClient(base_url=url) as client, pytest.raises(mops.PollError, match="auth"):
                client.fetch_status("clean-import-1")
        finally:
            process.terminate()
            _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert CANARY not in err


def test_demo_goes_the_whole_way(tmp_path):
    """Six jobs from HTTP to a report in under a minute: store, tables, charts, report."""
    started = time.monotonic()
    done = run("demo", "--out", "out", "--speed", "300", cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()}
    tables = {f"{what}.csv" for what in ("summary", "samples", "throughput", "eta", "failures", "anomalies")}
    pictures = {
        f"{kind}.{suffix}" for kind in ("progress", "throughput", "eta", "failures") for suffix in ("png", "svg")
    }
    assert tables | pictures | {"report.html"} <= names
    [store] = folder.glob("samples-*.db")
    assert mops.read_samples(store)["job_id"].nunique() == 6
    assert "completed" in done.stderr
    assert "open report.html first" in done.stderr
    assert "no rate yet" not in (folder / "report.html").read_text()
    assert "no store was read" not in (folder / "report.html").read_text()
    assert done.stdout.strip() == str(folder)

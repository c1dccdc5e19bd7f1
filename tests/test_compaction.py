"""`SampleStore.compact`: samples move into Parquet files, and nothing else changes."""

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import mops_analysis as mops
from mops_analysis import parquet
from mops_analysis.cli import main
from mops_analysis.schema import JobStatus, Poll
from mops_analysis.store import SampleStore, compaction, frames

SECOND = 1_000_000_000
T0 = 1_763_474_400 * SECOND  # 2025-11-18 14:00 UTC
DONE = JobStatus("job b", "completed", 100.0, 10, 10, 0)


def some_polls(seed: int, count: int) -> list[Poll]:
    """Polls as they come, and some as they rarely do: faults, odd words and counts, times that fall or are the same."""
    rng = np.random.default_rng(seed)
    polls = []
    for number in range(count):
        job_id = f"job {rng.choice(['b', 'a', 'ü', 'B'])}"
        at_ns = T0 + int(rng.integers(0, 3) * SECOND * 1000 if rng.random() < 0.1 else number * SECOND + 123)
        latency_s = int(rng.integers(0, 10**6)) / 1e6
        if rng.random() < 0.2:
            polls.append(Poll(job_id, at_ns, latency_s, "timeout", None, f"no reply {number}"))
            continue
        word = str(rng.choice(["PENDING", "in_progress", " läuft ", "completed"]))
        status = JobStatus(job_id, word, float(rng.normal()), int(rng.integers(-5, 2**62)), number, -number)
        polls.append(Poll(job_id, at_ns, latency_s, "ok", 200 if rng.random() < 0.9 else None, None, status))
    return polls


@pytest.fixture
def small_parts(monkeypatch):
    """Slices, groups of rows, files, rounds and stretches of a few rows each."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 5)
    monkeypatch.setattr(compaction, "_SLICE", 7)
    monkeypatch.setattr(compaction, "_PER_FILE", 16)
    monkeypatch.setattr(compaction, "_AT_ONCE", 40)
    monkeypatch.setattr(frames, "_STRETCH", 6)


@pytest.fixture
def filled(store):
    """A store with 200 polls."""
    store.append(*some_polls(0, 200))
    return store


def files_of(store: SampleStore) -> list[Path]:
    return sorted(store.path.with_name(f"{store.path.name}.segments").glob("bucket=0/*"))


def said(store: SampleStore) -> list[pd.DataFrame]:
    """Everything that a store says."""
    bounds = {"since": pd.Timestamp(T0 + 40 * SECOND, tz="UTC"), "until": pd.Timestamp(T0 + 150 * SECOND, tz="UTC")}
    last = pd.DataFrame(store.last_sampled_at_ns().items(), columns=["job_id", "last_ns"]).sort_values("job_id")
    return [
        store.read_samples(),
        store.read_samples("job a"),
        store.read_samples(["job ü", "nobody", "job B"], **bounds),
        store.read_samples(since=bounds["since"]),
        store.read_samples(until=bounds["until"]),
        *(store.read_new_samples(after)[0] for after in (0, 50, 150, 10_000)),
        store.read_polls(),
        store.read_polls("job b", **bounds),
        store.jobs(),
        last.reset_index(drop=True),
    ]


def assert_same(found: list[pd.DataFrame], expected: list[pd.DataFrame]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("small_parts")
def test_a_compacted_store_says_what_it_said_before(tmp_path, seed):
    """Whatever is compacted when: all frames, by job, time and number, are those of a store that never was."""
    polls = some_polls(seed, 240)
    with SampleStore(tmp_path / "plain.db") as plain, SampleStore(tmp_path / "compacted.db") as store:
        for begin in range(0, len(polls), 60):
            plain.append(*polls[begin : begin + 60])
            store.append(*polls[begin : begin + 60])
            if begin != 120:
                moved = store.compact()
                assert moved > 0
            assert_same(said(store), said(plain))
        assert len(files_of(store)) > 5
        store.check()
    with SampleStore(tmp_path / "plain.db") as plain, SampleStore(tmp_path / "compacted.db") as store:
        assert_same(said(store), said(plain))


def test_faults_stay_and_samples_go(filled):
    """The SQLite file keeps the polls that gave no sample, and the last one, whose number the next poll follows."""
    filled.append(replace(some_polls(0, 1)[0], outcome="ok", http_status=200, detail=None, status=DONE))
    polls = filled.read_polls()
    moved = filled.compact()
    assert moved == ((polls["outcome"] == "ok") & (polls["http_status"] == 200)).sum()
    with sqlite3.connect(filled.path) as connection:
        assert connection.execute("SELECT count(*) FROM polls").fetchone()[0] <= len(polls) - moved + 1
    filled.append(*some_polls(1, 2))
    assert filled.read_polls()["seq"].tolist() == list(range(1, 204))
    assert filled.read_new_samples()[1] == 203


def test_compacting_an_empty_or_compacted_store_changes_nothing(store):
    """There is nothing to move: no file, no row."""
    assert store.compact() == 0
    store.append(*some_polls(0, 20))
    assert store.compact() > 0
    files = files_of(store)
    assert store.compact() == 0
    assert files_of(store) == files


def test_the_files_are_as_any_engine_reads_them(filled):
    """One folder of Parquet files, sorted by job and time, with the columns of the samples frame: also a dataset."""
    filled.compact()
    (file,) = files_of(filled)
    columns = ["job_id", "sampled_at", "status", "progress_percentage", "processed_items", "total_items"]
    table = pq.ParquetFile(file).read()
    assert table.column_names == [*columns, "failed_items", "latency_us", "seq", "served_status"]
    frame = table.to_pandas()
    assert frame[["job_id", "sampled_at"]].equals(frame[["job_id", "sampled_at"]].sort_values(["job_id", "sampled_at"]))
    samples = mops.read_samples(file)
    kept = filled.read_polls().query("outcome == 'ok' and http_status == 200")
    assert sorted(samples["seq"]) == kept["seq"].tolist()
    assert samples["latency_s"].sum() == pytest.approx(kept["latency_s"].sum())
    jobs = mops.summarize_dataset(file.parent.parent, progress=False)
    assert jobs["samples"].sum() == len(kept)


def test_the_file_shrinks(store, make_samples):
    """What moved is given back to the disk: a tenth of the file is left, and the files take less than a third of it."""
    store.append_samples(make_samples(list(range(5000))))
    store.close()
    before = store.path.stat().st_size
    store.compact()
    store.close()
    assert store.path.stat().st_size < before / 3
    assert sum(file.stat().st_size for file in files_of(store)) < before / 3


def test_samples_of_a_file_are_taken_once_also_where_they_are_compacted(store, make_samples):
    """append_samples knows the compacted ones."""
    samples = make_samples([0, 1, 2])
    store.append_samples(samples.iloc[:2])
    store.compact()
    assert store.append_samples(samples) == 1
    assert store.append_samples(samples.head(0)) == 0
    assert_frame_equal(store.read_samples(), samples)


def test_a_job_id_that_ends_in_nothing_is_not_another(store):
    """A character 0 at its end tells it from the job without one, also where both are in one file."""
    for job_id in ("a", "a\0", "a\0b"):
        store.append(Poll(job_id, T0, 0.1, "ok", 200, None, replace(DONE, job_id=job_id)))
    store.compact()
    for job_id in ("a", "a\0", "a\0b"):
        assert store.read_samples(job_id)["job_id"].tolist() == [job_id]


# ---------------------------------------------------------------- others at the same store


def test_a_reader_keeps_what_it_saw(filled):
    """A snapshot from before the compaction, and one from after it, read the same samples."""
    with filled._file.reading() as connection:
        seen = connection.execute("SELECT count(*) FROM polls").fetchone()
        filled.compact()
        assert connection.execute("SELECT count(*) FROM polls").fetchone() == seen
    assert len(filled.read_polls()) == seen[0]


def test_samplers_and_readers_go_on_meanwhile(filled, monkeypatch):
    """Compacted again and again while threads append and read: every poll is there once, and no number falls."""
    monkeypatch.setattr(compaction, "_SLICE", 20)
    stopping = threading.Event()
    problems = []

    def sample(name: str) -> int:
        count = 0
        while not stopping.is_set():
            filled.append(Poll(name, T0 + count, 0.1, "ok", 200, None, JobStatus(name, "x", 0.0, count, 1, 0)))
            count += 1
        if filled.read_samples(name)["processed_items"].tolist() != list(range(count)):
            problems.append(name)
        return count

    def read() -> None:
        seen = 0
        while not stopping.is_set():
            polls = filled.read_polls()
            if polls["seq"].tolist() != list(range(1, len(polls) + 1)) or len(polls) < seen:
                problems.append("reader")
            seen = len(polls)

    threads = [threading.Thread(target=sample, args=(f"new-{n}",)) for n in range(3)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    moved = [filled.compact() for _ in range(3)]
    stopping.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert min(moved) > 0


def test_a_second_compaction_at_the_same_time_is_refused(filled):
    """Two would move the same samples: the second one is told, and nothing is moved."""
    filled.compact()
    folder = files_of(filled)[0].parent.parent
    with sqlite3.connect(folder / ".lock", isolation_level=None) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(mops.StoreError, match="another compaction is under way"):
            filled.compact()
    lock.close()
    assert filled.compact() == 0


# ---------------------------------------------------------------- kills

KILLED = """
import os, signal, sys
import pyarrow.parquet
from mops_analysis.store import SampleStore, compaction, frames
compaction._SLICE, compaction._PER_FILE, compaction._AT_ONCE = 20, 50, 100
wanted, left = tuple(sys.argv[2:4]), int(sys.argv[4])
def profile(frame, event, _):
    global left
    if (frame.f_code.co_name, event) == wanted:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
store = SampleStore(sys.argv[1])
sys.setprofile(profile)
store.compact()
"""

POINTS = {
    "before anything": ("_sweep", "call", 1),
    "before the first file": ("put", "call", 1),
    "a temporary file is written": ("replace", "call", 1),
    "the first file has its name": ("replace", "return", 1),
    "both files of a round are there": ("_jobs", "return", 2),
    "a round is noted": ("_move", "return", 1),
    "a file of the second round is there": ("_jobs", "return", 3),
    "all is noted": ("_delete", "call", 1),
    "the first rows are deleted": ("through", "call", 5),
    "more rows are deleted": ("through", "call", 8),
    "all are deleted": ("_delete", "return", 1),
    "the file has shrunk": ("shrink", "return", 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing_and_doubles_nothing(filled, point):
    """SIGKILL at each step: the store says what it said, and the next compaction does the rest and clears away."""
    before = said(filled)
    filled.close()
    name, event, count = POINTS[point]
    done = subprocess.run([sys.executable, "-c", KILLED, str(filled.path), name, event, str(count)], check=False)
    assert done.returncode == -signal.SIGKILL
    with SampleStore(filled.path) as store:
        store.check()
        assert_same(said(store), before)
        store.append(*some_polls(9, 1))
        store.compact()
        assert len(store.read_polls()) == 201
        with sqlite3.connect(store.path) as connection:
            noted = sorted(name for (name,) in connection.execute("SELECT file FROM segments"))
            assert connection.execute("SELECT count(*) FROM polls").fetchone()[0] < 100
        assert [f"bucket=0/{file.name}" for file in files_of(store)] == noted


# ---------------------------------------------------------------- what is missing or damaged


def spoil(file: Path) -> None:
    """Flip one bit of the served percentages."""
    with pq.ParquetFile(file) as opened:
        column = opened.metadata.row_group(0).column(3)
    content = bytearray(file.read_bytes())
    content[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    file.write_bytes(content)


def test_a_store_whose_files_are_missing_or_cut_is_refused(filled):
    """Opening it names the file and the cure; the SQLite file stays as it is."""
    filled.compact()
    filled.close()
    (file,) = files_of(filled)
    content, store = file.read_bytes(), filled.path.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(mops.StoreError, match=r"00000001\.parquet is damaged: expected .* restore it from a backup"):
        SampleStore(filled.path)
    file.unlink()
    with pytest.raises(mops.StoreError, match=r"00000001\.parquet is missing, .* keep them together"):
        SampleStore(filled.path)
    assert filled.path.read_bytes() == store
    file.write_bytes(content)
    assert len(mops.read_samples(filled.path)) > 100


@pytest.mark.usefixtures("small_parts")
def test_a_flipped_bit_is_found_by_a_check_and_is_not_copied(filled, tmp_path):
    """The check reads every byte, a read what it needs; a backup does not pass damage on, and leaves nothing behind."""
    filled.compact()
    spoil(files_of(filled)[-1])
    with pytest.raises(mops.StoreError, match=r"\.parquet is damaged: .*(CRC|[Cc]hecksum)"):
        filled.read_samples()
    with pytest.raises(mops.StoreError, match="is damaged: its contents are not those that were written"):
        filled.check()
    with pytest.raises(mops.StoreError, match="is damaged"):
        filled.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))


def test_a_file_that_is_no_parquet_is_an_error_with_its_name(filled):
    """What pyarrow says of it is told as any other damage."""
    filled.compact()
    (file,) = files_of(filled)
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(mops.StoreError, match=r"00000001\.parquet is damaged: .*; restore it"):
        filled.read_samples()
    file.unlink()
    with pytest.raises(mops.StoreError, match=r"00000001\.parquet is missing"):
        filled.read_polls()


def test_a_backup_is_complete(filled, tmp_path):
    """The copy has its own files: it says the same where the store is gone."""
    filled.compact()
    filled.append(*some_polls(1, 10))
    before = said(filled)
    copy = filled.backup(tmp_path / "copy.db")
    filled.close()
    for file in files_of(filled):
        file.unlink()
    with SampleStore(copy) as copied:
        copied.check()
        assert_same(said(copied), before)
        copied.compact()
        assert len(files_of(copied)) == 2
    (tmp_path / "other.db.segments").mkdir()
    with SampleStore(copy) as copied, pytest.raises(mops.StoreError, match="exists already"):
        copied.backup(tmp_path / "other.db")


def test_a_folder_that_cannot_be_made_is_an_error(filled):
    """Something else has the folder's name: a store error, and all samples are where they were."""
    filled.path.with_name("samples.db.segments").write_text("mine")
    with pytest.raises(mops.StoreError, match=r"samples\.db\.segments: File exists"):
        filled.compact()
    assert len(filled.read_polls()) == 200


def test_a_lock_that_cannot_be_opened_is_an_error(filled):
    """The folder takes no file for the lock: a store error that does not speak of another compaction."""
    filled.path.with_name("samples.db.segments").mkdir()
    (filled.path.with_name("samples.db.segments") / ".lock").mkdir()
    with pytest.raises(mops.StoreError, match="unable to open database file; make the folder writable"):
        filled.compact()


WITHOUT = """
import sys
sys.modules["pyarrow"] = None
import mops_analysis as mops
from mops_analysis.cli import main
from mops_analysis.schema import JobStatus, Poll
with mops.SampleStore(sys.argv[1]) as store:
    store.append(Poll("a", 10**18, 0.1, "ok", 200, None, JobStatus("a", "x", 0.0, 1, 2, 0)))
    print(len(store.jobs()), store.last_sampled_at_ns()["a"])
    for call in (store.compact, store.read_samples, lambda: store.read_samples("nobody")):
        try:
            print(len(call()))
        except mops.StoreError as error:
            print(error)
"""


def test_without_pyarrow_a_compacted_store_samples_on_and_says_what_is_missing(filled):
    """Sampling and listing the jobs need none; compacting and reading what was compacted name the cure."""
    filled.compact()
    filled.close()
    done = subprocess.run([sys.executable, "-c", WITHOUT, str(filled.path)], capture_output=True, text=True, check=True)
    first, compact, read, nobody = done.stdout.splitlines()
    assert first == f"5 {10**18}"
    cure = 'compacted samples need pyarrow; install it with: pip install "mops_analysis[parquet]"'
    assert compact.endswith(cure)
    assert read.endswith(cure)
    assert nobody == "0"


def test_the_command_says_what_it_moved(filled, tmp_path, capsys):
    """`mops store compact`, here through a link: how many samples, where to, all bytes; a check counts them all."""
    samples = len(filled.read_samples())
    (tmp_path / "link.db").symlink_to(filled.path)
    assert main(["store", "compact", str(tmp_path / "link.db")]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf".*: \d+ samples moved to {filled.path}\.segments; \d+ kB in all\n", said)
    assert main(["store", "check", str(filled.path)]) == 0
    assert f"sound; 200 polls, {samples} samples, 4 jobs" in capsys.readouterr().out

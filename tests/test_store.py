"""SampleStore: a real SQLite file."""

import contextlib
import gzip
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import mops_analysis as mops
from mops_analysis.schema import POLL_DTYPES, SAMPLE_DTYPES, JobStatus, Poll
from mops_analysis.store import SampleStore, frames
from mops_analysis.store.file import _CREATE, MIGRATIONS, SCHEMA_VERSION, StoreFile
from mops_analysis.store.segments import Wanted

SECOND = 1_000_000_000
T0 = 1_763_474_400 * SECOND  # 2025-11-18 14:00 UTC


def sample(job_id: str, second: float, processed: int, *, status: str = "in_progress", total: int = 10) -> Poll:
    served = JobStatus(job_id, status, 100.0 * processed / total, processed, total, 0)
    return Poll(job_id, T0 + round(second * SECOND), 0.25, "ok", 200, None, served)


def fault(job_id: str, second: float, kind: str = "timeout") -> Poll:
    return Poll(job_id, T0 + round(second * SECOND), 1.5, kind, None, "no reply")


def test_samples_come_back_sorted_by_job_and_time(store):
    """Samples are read back in the order of job and time, with the dtypes of the samples frame."""
    store.append(sample("b", 2, 4), sample("a", 1, 1))
    store.append(sample("b", 0, 3, status="COMPLETED"))
    samples = store.read_samples()
    assert samples["job_id"].tolist() == ["a", "b", "b"]
    assert samples["processed_items"].tolist() == [1, 3, 4]
    assert samples["status"].tolist() == ["in_progress", "completed", "in_progress"]
    assert samples["latency_s"].tolist() == [0.25] * 3
    assert {name: str(dtype) for name, dtype in samples.dtypes.items()} == SAMPLE_DTYPES
    assert isinstance(samples.index, pd.RangeIndex)


@pytest.mark.parametrize("count", range(1, 8))
def test_one_sample_out_of_order_is_put_in_its_place(tmp_path, monkeypatch, count):
    """Wherever it is, also where one stretch of rows that are looked at together ends and the next begins."""
    monkeypatch.setattr(frames, "_STRETCH", 3)
    with SampleStore(tmp_path / "jobs.db") as jobs, SampleStore(tmp_path / "times.db") as times:
        jobs.append(*(sample("b", second, second) for second in range(count)), sample("a", 0, 0))
        times.append(*(sample("b", second, second) for second in range(1, count + 1)), sample("b", 0, 0))
        assert jobs.read_samples()["job_id"].tolist() == ["a", *"b" * count]
        assert times.read_samples()["processed_items"].tolist() == list(range(count + 1))


def test_polls_keep_the_order_of_commit_and_every_fault(store):
    """Every poll is one row, good or bad, with what was served exactly as served."""
    store.append(sample("a", 0, 1, status="PENDING"))
    store.append(fault("a", 3))
    store.append(sample("a", 1, 2))
    polls = store.read_polls()
    assert polls["seq"].tolist() == [1, 2, 3]
    assert polls["outcome"].tolist() == ["ok", "timeout", "ok"]
    assert polls["status"].tolist() == ["PENDING", pd.NA, "in_progress"]
    assert polls["processed_items"].tolist() == [1, pd.NA, 2]
    assert polls["detail"].tolist() == [pd.NA, "no reply", pd.NA]
    assert {name: str(dtype) for name, dtype in polls.dtypes.items()} == POLL_DTYPES


def test_an_empty_store_gives_empty_frames_of_the_same_dtypes(store):
    """No polls: frames without rows, columns and dtypes as ever."""
    assert {name: str(dtype) for name, dtype in store.read_samples().dtypes.items()} == SAMPLE_DTYPES
    assert {name: str(dtype) for name, dtype in store.read_polls().dtypes.items()} == POLL_DTYPES
    assert len(store.jobs()) == 0


def test_reading_a_part(store):
    """Jobs and times select; the end of the time range is open; unknown jobs give nothing."""
    store.append(*(sample(job, second, second) for second in range(4) for job in ("a", "b")))
    since, until = pd.Timestamp(T0 + SECOND, unit="ns", tz="UTC"), pd.Timestamp(T0 + 3 * SECOND, unit="ns", tz="UTC")
    assert store.read_samples("a", since=since, until=until)["processed_items"].tolist() == [1, 2]
    assert store.read_polls(["b", "nobody"], since=since.isoformat())["processed_items"].tolist() == [1, 2, 3]
    assert len(store.read_samples([])) == 0


def test_a_follower_reads_each_sample_once(store):
    """What came since the last look, in whatever order of their own times; a fault moves the number."""
    assert store.read_new_samples()[1] == 0
    store.append(sample("b", 5, 1), sample("a", 6, 2))
    first, last = store.read_new_samples()
    assert first["job_id"].tolist() == ["a", "b"]
    store.append(sample("b", 1, 3), fault("a", 9))
    new, now = store.read_new_samples(last)
    assert (new["processed_items"].tolist(), now) == ([3], 4)
    nothing, still = store.read_new_samples(now)
    assert (len(nothing), still) == (0, 4)
    assert {name: str(dtype) for name, dtype in nothing.dtypes.items()} == SAMPLE_DTYPES


def test_looking_for_what_is_new_scans_no_history(store):
    """The rows before are not visited: SQLite searches for the first new one by its number."""
    with store._file.reading() as connection:
        asked = []
        connection.set_trace_callback(asked.append)
        frames.samples(connection, store.path, Wanted(after=3))
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked if "FROM polls" in sql]
    assert plans
    assert all(row[3].startswith("SEARCH polls") for plan in plans for row in plan if "polls" in row[3])


@pytest.mark.parametrize("bad", ["2026-11-18T14:00", "yesterday-ish"])
def test_a_time_without_zone_is_refused(store, bad):
    """A bound without a zone would mean another time on another machine."""
    with pytest.raises(mops.SchemaError, match="since: expected a time"):
        store.read_samples(since=bad)


def test_jobs_lists_each_job_with_its_last_sample(store):
    """One row per job, the last sampled first; a job without a sample has no status."""
    store.append(sample("a", 0, 1), sample("a", 1, 5, status="Completed"), fault("b", 2))
    jobs = store.jobs()
    assert jobs["job_id"].tolist() == ["b", "a"]
    assert jobs["status"].tolist() == [pd.NA, "completed"]
    assert jobs["polls"].tolist() == [1, 2]
    assert jobs["samples"].tolist() == [0, 2]
    assert jobs["processed_items"].tolist() == [pd.NA, 5]


def test_a_store_is_closed_into_one_file_and_opened_again(tmp_path):
    """After closing, the one file holds everything."""
    path = tmp_path / "samples.db"
    with SampleStore(path) as store:
        store.append(sample("a", 0, 1))
        before = store.read_samples()
    assert [entry.name for entry in tmp_path.iterdir()] == ["samples.db"]
    with SampleStore(path) as store:
        assert_frame_equal(store.read_samples(), before)


@pytest.mark.parametrize("name", ["q?mode=memory.db", "a#b.db", "50%41.db", "file:x.db", "ünï cödé.db"])
def test_odd_file_names_are_just_names(tmp_path, name):
    """A path is never read as an SQLite URI."""
    with SampleStore(tmp_path / name) as store:
        store.append(sample("a", 0, 1))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_memory_is_refused():
    """':memory:' would lose the samples."""
    with pytest.raises(mops.StoreError, match="give a path"):
        SampleStore(":memory:")


def test_odd_values_are_kept_as_they_came(store):
    """Negative counts, 64-bit integers, NUL and markup in a status: stored verbatim."""
    odd = JobStatus("a", "<b>\0ÜBER 💥", -250.5, -1, 2**63 - 1, -(2**63))
    store.append(Poll("a", T0, 0.0, "ok", 200, None, odd))
    row = store.read_polls().iloc[0]
    assert row["status"] == odd.status
    assert (row["processed_items"], row["total_items"], row["failed_items"]) == (-1, 2**63 - 1, -(2**63))
    assert row["progress_percentage"] == -250.5


def damaged(data: bytes) -> bytes:
    return data[:4096] + b"\xff" * 2048 + data[6144:]


def newer(data: bytes) -> bytes:
    return data[:60] + (99).to_bytes(4, "big") + data[64:]


def foreign(data: bytes) -> bytes:
    return data[:68] + b"\0\0\0\0" + data[72:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "damaged"),
        (lambda data: data[:5000], "damaged|malformed"),
        (newer, "newer release"),
        (foreign, "not a sample store"),
        (lambda data: b"job_id,status\n" * 20, "not a sample store"),
    ],
)
def test_an_unsound_file_is_refused_and_left_as_it_is(tmp_path, spoil, message):
    """Damaged, truncated, newer and foreign files are refused, byte for byte untouched."""
    path = tmp_path / "samples.db"
    with SampleStore(path) as store:
        store.append(*(sample(f"job-{i}", i, 1) for i in range(200)))
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(mops.StoreError, match=message):
        SampleStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("spoil", [newer, foreign])
def test_a_file_of_others_is_not_even_opened(tmp_path, spoil):
    """A newer or foreign file is known by its first bytes: SQLite, which would put files beside it, is not asked."""
    path = tmp_path / "samples.db"
    with SampleStore(path) as store:
        store.append(sample("a", 0, 1))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(mops.StoreError):
        SampleStore(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["samples.db"]


def test_a_folder_that_is_missing_is_named(tmp_path):
    """The error says which file, and what to do."""
    with pytest.raises(mops.StoreError, match="check that the folder exists"):
        SampleStore(tmp_path / "nowhere" / "samples.db")


def test_many_threads_share_commits(store):
    """Polls of many threads are all kept, each once, each acknowledged after it is on the disk."""

    def work(name: str) -> None:
        for i in range(25):
            store.append(sample(name, i, i))

    threads = [threading.Thread(target=work, args=(f"job-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples = store.read_samples()
    assert len(samples) == 200
    assert samples.groupby("job_id")["processed_items"].apply(list).tolist() == [list(range(25))] * 8


def test_the_settings_that_make_acknowledged_mean_on_the_disk(store):
    """Write-ahead log and synchronous=FULL; the file says whose it is."""
    store.append(sample("a", 0, 1))
    connection = store._file._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    tables = dict(connection.execute("SELECT name, strict FROM pragma_table_list WHERE name NOT LIKE 'sqlite_%'"))
    assert set(tables.values()) == {1}
    assert connection.execute("PRAGMA application_id").fetchone() == (0x6D6F7073,)


def test_a_failed_write_is_an_error_and_the_store_goes_on(store):
    """A row that the store refuses fails its caller, leaves no trace, and later polls are kept."""
    store.append(sample("a", 0, 1))
    with pytest.raises(mops.StoreError, match="constraint"):
        store.append(Poll("new", T0, -1.0, "ok", 200, None, JobStatus("new", "new word", 0.0, 0, 0, 0)))
    store.append(sample("new", 1, 2, status="new word"))
    assert store.read_samples()["job_id"].tolist() == ["a", "new"]


WRITER = """
import sys
from mops_analysis.schema import JobStatus, Poll
from mops_analysis.store import SampleStore
store = SampleStore(sys.argv[1])
store.claim(["a"])
for i in range(10**9):
    store.append(Poll("a", i, 0.0, "ok", 200, None, JobStatus("a", "in_progress", 0.0, i, 10, 0)))
    print(i, flush=True)
"""


def test_kill_loses_no_acknowledged_poll_and_blocks_nobody(tmp_path):
    """SIGKILL at any moment: what was acknowledged is there, the job is free; another process reads meanwhile."""
    path = tmp_path / "samples.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
        with SampleStore(path) as reader:
            assert len(reader.read_samples()) >= 200
            with pytest.raises(mops.StoreError, match=f"by process {writer.pid} already"):
                reader.claim(["a"])
            reader.claim(["b"])
            reader.release(["b"])
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    with SampleStore(path) as store:
        assert store.read_samples()["processed_items"].tolist()[: len(acknowledged)] == acknowledged
        store.claim(["a"])
        store.release(["a"])


def test_a_job_is_held_as_soon_as_its_claim_is_written(store, monkeypatch):
    """Another thread that asks just then does not get it, too."""
    transaction = store._transaction

    @contextlib.contextmanager
    def then_ask(**options):
        with transaction(**options) as connection:
            yield connection
        with pytest.raises(mops.StoreError, match="by this process already"):
            other.claim(["a"])

    with SampleStore(store.path) as other:
        monkeypatch.setattr(store, "_transaction", then_ask)
        store.claim(["a"])
        monkeypatch.undo()
    store.release(["a"])


def test_a_job_is_held_until_its_release_is_written(store, monkeypatch):
    """Were it given away before, the release would then delete the note of the new claim."""
    transaction, asked = store._transaction, []

    def first_ask(**options):
        with pytest.raises(mops.StoreError, match="by this process already"):
            other.claim(["a"])
        asked.append(True)
        return transaction(**options)

    with SampleStore(store.path) as other:
        store.claim(["a"])
        monkeypatch.setattr(store, "_transaction", first_ask)
        store.release(["a"])
        monkeypatch.undo()
        assert asked
        other.claim(["a"])
        other.release(["a"])


def test_a_job_is_claimed_once_and_freed(store):
    """The same job is refused to a second sampler, all of its claim with it; after a release it is free."""
    store.claim(["a"])
    with pytest.raises(mops.StoreError, match="'a' is sampled into .* by this process already"):
        store.claim(["b", "a"])
    store.release(["a"])
    store.claim(["b", "a"])
    store.release(["a", "b"])


def test_append_samples_takes_each_job_and_time_once(store, make_samples):
    """Samples from a file are added once, however often they are read."""
    samples = make_samples([0, 1, 2])
    assert store.append_samples(samples.iloc[:2]) == 2
    assert store.append_samples(pd.concat([samples, samples])) == 1
    assert_frame_equal(store.read_samples(), samples)


@pytest.mark.parametrize("name", ["s.parquet", "s.csv", "s.csv.gz"])
def test_files_are_as_good_as_a_store(tmp_path, make_samples, name):
    """Samples come back from CSV and Parquet as they went, with a further column; ids stay text."""
    samples = make_samples([0, 1, 2], job_id="007", label="NA")
    mops.export(samples, tmp_path / name)
    labelled = {"label": "string"}
    assert_frame_equal(mops.read_samples(tmp_path / name).astype(labelled), samples.astype(labelled))


@pytest.mark.parametrize("job_id", ["=1+1", "-7", "@job", "'=job", "'job", "job'"])
def test_ids_that_look_like_formulas_come_back(tmp_path, make_samples, job_id):
    """The apostrophe that keeps a spreadsheet from computing them is not a part of the id."""
    samples = make_samples([0, 1, 2], job_id=job_id, label=job_id)
    content = mops.export(samples, tmp_path / "samples.csv").read_text()
    assert content.splitlines()[1].startswith(f"{job_id}," if job_id in ("'job", "job'") else f"'{job_id},")
    read = mops.read_samples(tmp_path / "samples.csv")
    assert read["job_id"].unique().tolist() == read["label"].unique().tolist() == [job_id]


def test_a_store_is_read_like_a_file(store, make_samples):
    """read_samples takes a store's path."""
    store.append_samples(make_samples([0, 1]))
    assert len(mops.read_samples(store.path)) == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("progress_percentage", np.nan),
        ("progress_percentage", np.inf),
        ("latency_s", np.nan),
        ("latency_s", np.inf),
        ("latency_s", -1.0),
    ],
)
def test_samples_with_impossible_numbers_are_not_written(store, make_samples, column, value):
    """The error names the column, and none of the samples is written."""
    samples = make_samples([0, 1, 2]).assign(**{column: [1.0, value, 1.0]})
    with pytest.raises(mops.SchemaError, match=f"column '{column}': expected .*, got others or missing ones"):
        store.append_samples(samples)
    assert store.read_samples().empty


@pytest.mark.parametrize("time", ["tomorrow", "3000-01-01T00:00Z", object(), pd.NaT])
def test_bounds_that_are_no_times(store, time):
    """The error names the bound."""
    with pytest.raises(mops.SchemaError, match="since: expected a time"):
        store.read_samples(since=time)


def test_job_ids_that_are_none(store):
    """What is neither an id nor several is refused as such."""
    with pytest.raises(mops.SchemaError, match="job_ids: expected one id or several, got 5"):
        store.read_polls(5)


def test_files_that_are_no_samples_are_refused(tmp_path):
    """The error names the file, or the column and the cure; a missing store is not created."""
    with pytest.raises(mops.StoreError, match="there is no such file"):
        mops.read_samples(tmp_path / "missing.db")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(mops.SchemaError, match="expected a file ending in"):
        mops.read_samples(tmp_path / "notes.txt")
    (tmp_path / "other.csv").write_text("job_id,when\na,1\n")
    with pytest.raises(mops.SchemaError, match="column 'sampled_at' is missing"):
        mops.read_samples(tmp_path / "other.csv")
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b"job_id,status\na,b\nc,d,e,f\n"),
        ("latin.csv", b"job_id,status\n\xe9,b\n"),
        ("plain.csv.gz", b"job_id,status\n"),
        ("cut.csv.gz", gzip.compress(b"job_id,status\n" * 99)[:30]),
        ("text.parquet", b"job_id,status\n"),
        ("empty.parquet", b""),
    ],
    ids=["empty", "ragged", "not UTF-8", "not gzip", "cut gzip", "not Parquet", "empty Parquet"],
)
def test_damaged_files_are_refused(tmp_path, name, content):
    """A file that its ending promises and that is none: the error names it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(mops.SchemaError, match=f"{name} cannot be read"):
        mops.read_samples(tmp_path / name)


def test_times_that_are_none(tmp_path, make_samples):
    """In a file: words and times beyond what nanoseconds can count are refused as such, not as times without a zone."""
    for words in ("yesterday", "3000-01-01T00:00:00Z"):
        samples = make_samples([0, 1]).assign(sampled_at=["2026-11-18T14:00:00Z", words])
        samples.to_csv(tmp_path / "samples.csv", index=False)
        with pytest.raises(mops.SchemaError, match="column 'sampled_at': expected times of the years 1678 to 2261"):
            mops.read_samples(tmp_path / "samples.csv")


@pytest.mark.parametrize("name", ["samples.csv", "samples.parquet"])
def test_unknown_numbers_come_back_from_files(tmp_path, make_samples, name):
    """A percentage or a latency that nobody knows is written as nothing and read as unknown."""
    samples = make_samples([0, 1, 2]).assign(progress_percentage=[0.0, np.nan, 2.0], latency_s=np.nan)
    mops.export(samples, tmp_path / name)
    assert_frame_equal(mops.read_samples(tmp_path / name), samples)


def test_naive_times_in_a_file_are_refused(tmp_path, make_samples):
    """A CSV file whose times have no offset is not guessed at."""
    samples = make_samples([0])
    samples.assign(sampled_at="2026-11-18 14:00:00").to_csv(tmp_path / "naive.csv", index=False)
    with pytest.raises(mops.SchemaError, match="expected times with a zone"):
        mops.read_samples(tmp_path / "naive.csv")


def test_a_read_only_store_is_read(tmp_path):
    """A store on read-only media can be read, and refuses a sampler before it asks anything."""
    folder = tmp_path / "media"
    folder.mkdir()
    with SampleStore(folder / "samples.db") as store:
        store.append(sample("a", 0, 1))
    connection = sqlite3.connect(f"{(folder / 'samples.db').as_uri()}?mode=ro&immutable=1", uri=True)
    connection.close()
    (folder / "samples.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        with SampleStore(folder / "samples.db") as store:
            assert len(store.read_samples()) == 1
            if os.geteuid() != 0:  # root may write anything
                with pytest.raises(mops.StoreError, match="writable"):
                    store.claim(["a"])
    finally:
        folder.chmod(0o755)


WITHOUT_RIGHTS = """
import sys
from mops_analysis import read_samples
print(len(read_samples(sys.argv[1])))
"""


@pytest.mark.parametrize("leftover", ["", "-wal"])
def test_a_store_on_read_only_media_is_read_beside_an_empty_log(tmp_path, leftover):
    """Whoever reads a closed store leaves an empty log beside it, which is then copied with it: it holds nothing up."""
    with SampleStore(tmp_path / "samples.db") as store:
        store.append(sample("a", 0, 1))
    assert len(mops.read_samples(store.path)) == 1
    media = tmp_path / "media"
    media.mkdir()
    for name in {"samples.db", f"samples.db{leftover}"}:
        shutil.copy(tmp_path / name, media)
        (media / name).chmod(0o444)
    media.chmod(0o555)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(media / "samples.db")]
    if os.geteuid() == 0 and shutil.which("setpriv"):  # who may write anything
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    try:
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    finally:
        media.chmod(0o755)


def test_a_file_that_is_held_by_others_is_not_read_past_its_lock(store, monkeypatch):
    """Another program has turned the log off and writes: an error, and not what is half written."""
    store.close()
    connect = StoreFile._connect
    monkeypatch.setattr(StoreFile, "_connect", lambda file, mode, timeout_s=0.1: connect(file, mode, timeout_s))
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(mops.StoreError, match="another process holds the file"):
            store.read_samples()


def test_a_store_whose_making_was_broken_off_is_made_again(tmp_path):
    """A kill between its first page and its last: what is left looks like a damaged store, but holds nothing yet."""
    path, whole = tmp_path / "samples.db", tmp_path / "whole.db"
    with contextlib.closing(sqlite3.connect(whole, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for statement in _CREATE:
            connection.execute(statement)
        # Its first 512 bytes say that the file had no page before; they are on the disk before any page is.
        journal = bytearray(Path(f"{whole}-journal").read_bytes()[:512])
        connection.execute("COMMIT")
    journal[:8] = bytes.fromhex("d9d505f920a163d7")
    Path(f"{path}-journal").write_bytes(journal)
    path.write_bytes(whole.read_bytes()[:8192])
    with SampleStore(path) as store:
        store.append(sample("a", 0, 1))
        assert len(store.read_samples()) == 1
        store.check()


def test_repr_names_the_file(store):
    """The repr is the call that opens it."""
    assert repr(store) == f"SampleStore({str(Path(store.path))!r})"


# ---------------------------------------------------------------- group commit


def wait_for(condition):
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def append_in_threads(store, *polls):
    """Start a thread for each poll; return the threads, and a dict of what `append` raised for each."""
    raised = {}

    def work(number, poll):
        try:
            store.append(poll)
        except Exception as error:  # noqa: BLE001  looked at by the test
            raised[number] = error

    threads = [threading.Thread(target=work, args=item) for item in enumerate(polls)]
    for thread in threads:
        thread.start()
    return threads, raised


@pytest.mark.parametrize("flaw", [{"latency_s": -1.0}, {"http_status": 2**63}, {"detail": "\ud800"}])
def test_one_bad_poll_takes_no_others_with_it(store, flaw):
    """Of callers that share a commit, the one whose poll cannot be written has the error; the others are written."""
    bad = replace(sample("bad", 0, 1), **flaw)
    with store._file.writing:  # so all of them come to wait
        threads, raised = append_in_threads(store, sample("a", 0, 1), bad, sample("b", 0, 1))
        wait_for(lambda: len(store._queue) == 3)
    for thread in threads:
        thread.join()
    assert list(raised) == [1]
    assert sorted(store.read_polls()["job_id"]) == ["a", "b"]


class Ending:
    """A poll whose writing ends its thread."""

    status = None

    @property
    def job_id(self):
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_while_it_writes_for_others_acknowledges_nothing(store):
    """The first to come writes for all, and ends: the others are told that theirs are not on the disk."""
    with store._file.writing:  # so all of them come to wait
        threads, raised = append_in_threads(store, sample("a", 0, 1), Ending(), sample("b", 0, 1))
        wait_for(lambda: len(store._queue) == 3)
    for thread in threads:
        thread.join()
    assert {number: str(error).split(": ")[-1] for number, error in raised.items()} == {
        1: "the commit was broken off",
        2: "the commit was broken off",
    }
    assert store.read_polls().empty
    store.append(sample("c", 0, 1))
    assert list(store.read_polls()["job_id"]) == ["c"]


class Interrupting:
    """A poll during whose writing Ctrl-C is pressed."""

    status = None

    @property
    def job_id(self):
        raise KeyboardInterrupt


def test_ctrl_c_while_writing_loses_no_poll_of_others(store):
    """An interrupt in the main thread, in the middle of its commit: what other threads append is kept all the same."""
    with store._file.writing:  # so all of them come to wait
        threads, raised = append_in_threads(store, sample("a", 0, 1), sample("b", 0, 1))
        wait_for(lambda: len(store._queue) == 2)
        with pytest.raises(KeyboardInterrupt):
            store.append(sample("own", 0, 1), Interrupting())
    for thread in threads:
        thread.join()
    assert not raised
    assert sorted(store.read_polls()["job_id"]) == ["a", "b"]


def test_who_is_written_does_not_wait_for_the_next_commit(store, monkeypatch):
    """Callers whose polls are on the disk go on while the polls that came meanwhile are being committed."""
    commit, batches, late, waiting = store._commit, [], [], []

    def slow(batch):
        batches.append(len(batch))
        if len(batches) == 1:  # one more comes while these are written
            late.extend(append_in_threads(store, sample("late", 0, 1))[0])
            wait_for(lambda: len(store._queue) == 1)
        else:
            ends_at = time.monotonic() + 3
            for thread in threads:
                thread.join(max(0.0, ends_at - time.monotonic()))
            waiting.extend(thread for thread in threads if thread.is_alive())
        commit(batch)

    monkeypatch.setattr(store, "_commit", slow)
    with store._file.writing:  # so all of them come to wait
        threads, raised = append_in_threads(store, *(sample(f"job-{n}", 0, 1) for n in range(20)))
        wait_for(lambda: len(store._queue) == 20)
    for thread in threads:
        thread.join()
    for thread in late:
        thread.join()
    assert batches == [20, 1]
    assert not waiting
    assert not raised
    assert len(store.read_polls()) == 21


def test_a_service_of_many_words_fills_no_memory(store, monkeypatch):
    """Long and ever new statuses are kept in the store, not in memory."""
    monkeypatch.setattr("mops_analysis.store._MOST_CODES", 4)
    words = [f"word {i}" for i in range(8)] + ["x" * 20_000]
    store.append(*(sample("a", i, i, status=word) for i, word in enumerate(words)))
    assert store.read_polls()["status"].tolist() == words
    assert len(store._codes) == 4
    assert max(len(text) for _, text in store._codes) < 20_000


# ---------------------------------------------------------------- others at the same file


def test_a_reader_with_a_long_transaction_disturbs_nobody(store):
    """While another connection reads, polls are written and the store is closed without waiting; it sees its moment."""
    store.append(sample("a", 0, 1))
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM polls").fetchone() == (1,)
    begun = time.monotonic()
    for second in range(1, 51):
        store.append(sample("a", second, second))
    store.close()
    assert time.monotonic() - begun < 2
    assert reader.execute("SELECT count(*) FROM polls").fetchone() == (1,)
    reader.close()
    with SampleStore(store.path) as again:
        assert len(again.read_samples()) == 51


@contextlib.contextmanager
def held(path):
    """Another program holds the file for writing."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        connection.close()


def test_a_file_that_another_program_holds_is_waited_for(store):
    """A write waits until the other one is done."""
    with held(store.path) as other:
        threads, raised = append_in_threads(store, sample("a", 0, 1), sample("b", 0, 1))
        time.sleep(0.3)
        other.execute("COMMIT")
    for thread in threads:
        thread.join(5)
    assert not raised
    assert len(store.read_samples()) == 2


def test_closing_ends_the_wait_for_another_program(store):
    """Closing a store does not wait for a program that holds the file; who waits to write is told."""
    with held(store.path):
        threads, raised = append_in_threads(store, sample("a", 0, 1))
        time.sleep(0.2)
        begun = time.monotonic()
        store.release(["a"])
        store.close()
        assert time.monotonic() - begun < 1
    for thread in threads:
        thread.join(1)
        assert not thread.is_alive()
    assert isinstance(raised[0], mops.StoreError)


def test_ctrl_c_ends_the_wait_for_another_program(store):
    """Ctrl-C is heard while the main thread waits for the file."""
    with held(store.path):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            store.claim(["a"])
        assert time.monotonic() - begun < 1
    store.claim(["a"])
    store.release(["a"])


# ---------------------------------------------------------------- check and backup


def test_a_backup_is_whole_and_stands_alone(store, tmp_path):
    """A copy made while another thread writes: one sound file with all that was acknowledged before, free to sample."""
    store.claim(["a"])
    store.append(*(sample("a", second, second) for second in range(500)))
    stopping = threading.Event()

    def work():
        second = 500
        while not stopping.is_set():
            store.append(sample("a", second, second))
            second += 1

    writer = threading.Thread(target=work)
    writer.start()
    try:
        copy = store.backup(tmp_path / "copy.db")
    finally:
        stopping.set()
        writer.join()
    assert {path.name for path in tmp_path.iterdir()} - {"samples.db-wal", "samples.db-shm"} == {
        "samples.db",
        "copy.db",
    }
    with SampleStore(copy) as copied:
        copied.check()
        kept = copied.read_samples()["processed_items"].tolist()
        assert kept == list(range(len(kept)))
        assert len(kept) >= 500
        with sqlite3.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM watches").fetchone() == (0,)
    with pytest.raises(mops.StoreError, match="exists already"):
        store.backup(copy)
    with pytest.raises(mops.StoreError, match="nowhere"):
        store.backup(tmp_path / "nowhere" / "copy.db")


def test_a_check_finds_what_opening_does_not(tmp_path):
    """A row that refers to nothing passes the quick look at the pages, and not the check."""
    path = tmp_path / "samples.db"
    with SampleStore(path) as store:
        store.append(sample("a", 0, 1))
        store.check()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM jobs")
        connection.commit()
    with SampleStore(path) as store, pytest.raises(mops.StoreError, match="is damaged: row 1 of polls refers to"):
        store.check()


def test_polls_for_a_file_that_is_gone_are_refused(tmp_path):
    """A deleted, moved or replaced file acknowledges nothing; put back, the same store goes on."""
    path, aside = tmp_path / "samples.db", tmp_path / "aside.db"
    with SampleStore(path) as store:
        store.append(fault("job-1", 0))
        path.rename(aside)
        with pytest.raises(mops.StoreError, match="deleted, moved or replaced"):
            store.append(fault("job-1", 1))
        path.write_bytes(aside.read_bytes())
        with pytest.raises(mops.StoreError, match="deleted, moved or replaced"):
            store.append(fault("job-1", 1))
        aside.replace(path)
        store.append(fault("job-1", 2))
        assert len(store.read_polls()) == 2


# ---------------------------------------------------------------- earlier releases

FIXTURES = sorted((Path(__file__).parent / "data").glob("store-version-*.db"))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_store_of_each_earlier_release_is_read_and_gone_on_with(tmp_path, fixture):
    """Every schema version ever released: its polls come back as they were, and a killed sampler's job is free."""
    path = tmp_path / "samples.db"
    path.write_bytes(fixture.read_bytes())
    if (moved := fixture.with_name(f"{fixture.name}.segments")).exists():
        shutil.copytree(moved, tmp_path / "samples.db.segments")
    with SampleStore(path) as store:
        store.check()
        polls = store.read_polls()
        assert polls["job_id"].tolist() == [f"job-{n}" for n in (1, 2, 1, 1, 2, 1, 2, 2)]
        assert polls["outcome"].tolist() == ["ok", "ok", "timeout", "ok", "server", "ok", "ok", "ok"]
        assert polls["status"].dropna().tolist() == [
            "PENDING", "in_progress", "in_progress", "completed", "läuft ✓", "completed",
        ]  # fmt: skip
        assert polls["http_status"].tolist() == [200, 200, pd.NA, 200, 503, 200, 200, 200]
        store.claim(["job-2"])
        store.append(sample("job-2", 99, 7))
        store.release(["job-2"])
        assert store.read_samples("job-2")["processed_items"].tolist() == [2, 3, 10, 7]


def test_there_is_a_fixture_of_each_schema_version():
    """A release that changes the tables leaves a store of the version before."""
    assert [path.stem for path in FIXTURES] == [f"store-version-{n}" for n in range(1, SCHEMA_VERSION + 1)]
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


# What a later release might do to this version.
LATER = {
    SCHEMA_VERSION: (
        "ALTER TABLE polls ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1",
        "CREATE TABLE notes (note INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
        "INSERT INTO notes (text) SELECT 'from the version before'",
    )
}


@pytest.fixture
def old_store(tmp_path):
    path = tmp_path / "samples.db"
    path.write_bytes(FIXTURES[0].read_bytes())
    return path


@pytest.fixture
def later_release(monkeypatch):
    """Be a release with the next store version."""
    with monkeypatch.context() as patched:
        patched.setattr("mops_analysis.store.file.SCHEMA_VERSION", SCHEMA_VERSION + 1)
        patched.setattr("mops_analysis.store.file.MIGRATIONS", MIGRATIONS | LATER)
        yield patched


def version_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        notes = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'notes'").fetchone()[0]
        columns = connection.execute("SELECT count(*) FROM pragma_table_info('polls')").fetchone()[0]
        return connection.execute("PRAGMA user_version").fetchone()[0], notes, columns


OLD, NEW = (1, 0, 12), (SCHEMA_VERSION + 1, 1, 13)


def test_an_old_store_is_brought_up_to_date(old_store, later_release):
    """Opened by a later release: the new tables, all polls, and a copy of the old store; once."""
    copy = old_store.with_name("samples.version-1.db")
    with SampleStore(old_store) as store:
        assert len(store.read_polls()) == 8
        store.append(sample("a", 0, 1))
    assert (version_of(old_store), version_of(copy)) == (NEW, OLD)
    copy.unlink()
    with SampleStore(old_store) as store:
        assert len(store.read_polls()) == 9
    assert not copy.exists()


def test_a_newer_store_is_refused_even_if_its_version_is_still_in_the_log(old_store, later_release):
    """Killed right after the change, the file's header still says version 1: it is newer all the same."""
    script = "import os, sys; from mops_analysis.store import SampleStore, file; "
    script += f"file.SCHEMA_VERSION += 1; file.MIGRATIONS |= {LATER!r}; s = SampleStore(sys.argv[1]); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, str(old_store)], check=True)
    assert old_store.read_bytes()[60:64] == b"\0\0\0\1"
    later_release.undo()
    before = old_store.read_bytes()
    with pytest.raises(mops.StoreError, match="made by a newer release"):
        SampleStore(old_store)
    assert old_store.read_bytes() == before


def test_a_change_that_fails_leaves_the_old_store(old_store, later_release):
    """An error in the last step undoes all of them, and the version."""
    later_release.setattr(
        "mops_analysis.store.file.MIGRATIONS",
        MIGRATIONS | {SCHEMA_VERSION: (*LATER[SCHEMA_VERSION], "INSERT INTO nowhere VALUES (1)")},
    )
    with pytest.raises(mops.StoreError, match="no such table: nowhere"):
        SampleStore(old_store)
    assert version_of(old_store) == OLD


KILLED = """
import os, signal, sys
from mops_analysis.store import SampleStore, file
file.SCHEMA_VERSION += 1
file.MIGRATIONS |= LATER
left = int(sys.argv[2])
def trace(frame, event, _):
    global left
    if frame.f_code.co_filename == file.__file__ and event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
SampleStore(sys.argv[1])
"""


def test_a_kill_during_the_change_leaves_the_old_store_or_the_new_one(tmp_path):
    """SIGKILL at every few lines of the change: the store is old or new and sound, and opens."""
    script = KILLED.replace("LATER", repr(LATER))
    runs = []
    for line in range(40, 180, 10):
        path = tmp_path / f"killed-{line}.db"
        path.write_bytes(FIXTURES[0].read_bytes())
        runs.append((path, subprocess.Popen([sys.executable, "-c", script, str(path), str(line)])))
    codes = [process.wait() for _, process in runs]
    assert set(codes) <= {0, -signal.SIGKILL}
    found = [version_of(path) for path, _ in runs]
    assert set(found) == {OLD, NEW}
    assert [version for version, code in zip(found, codes, strict=True) if code == -signal.SIGKILL].count(OLD) >= 3
    for (path, _), version in zip(runs, found, strict=True):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT count(*) FROM polls").fetchone() == (8,)
        copy = path.with_name(f"{path.stem}.version-1.db")
        assert version == OLD or version_of(copy) == OLD

"""Datasets: the layout on disk, and every metric over it, here and in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest
from frames import job, jobs, likely
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import mops_analysis as mops
from mops_analysis import dataset
from mops_analysis.dataset import METRICS, job_bucket
from mops_analysis.errors import SchemaError, StoreError


@pytest.fixture
def fleet(tmp_path) -> str:
    """A dataset of 24 jobs in 8 buckets."""
    mops.write_dataset(likely(7, count=24), tmp_path / "fleet", buckets=8)
    return str(tmp_path / "fleet")


def two_days(job_id: str) -> pd.DataFrame:
    return job([0, 10, 36_000, 36_010], [0, 5, 10, 15], job_id=job_id)  # 14:00, and 00:00 of the next day


# -- layout ----------------------------------------------------------------------------------------------------------


def test_layout(tmp_path):
    """A file for each bucket and day; a job is in the bucket CRC-32 of its id modulo their number."""
    samples = jobs(two_days("job-1"), two_days("job-2"))
    files = mops.write_dataset(samples, tmp_path / "fleet", buckets=16)
    folders = [Path(file).relative_to(tmp_path / "fleet").parent.as_posix() for file in files]
    assert folders == [
        "bucket=05/day=2026-11-18",  # zlib.crc32(b"job-2") % 16
        "bucket=05/day=2026-11-19",
        "bucket=15/day=2026-11-18",  # zlib.crc32(b"job-1") % 16
        "bucket=15/day=2026-11-19",
    ]
    assert (tmp_path / "fleet" / "_dataset.json").read_text() == '{"buckets": 16}'


def test_a_file_is_sorted_small_and_narrow(tmp_path):
    """Rows by job and time in groups of 65,536; times and counters as differences, all of it under zstd."""
    samples = jobs(*(job(np.arange(40_000) / 2, range(40_000), job_id=name) for name in ("job-b", "job-a")))
    (file,) = mops.write_dataset(samples, tmp_path / "fleet", buckets=1)
    metadata = pyarrow.parquet.ParquetFile(file).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [65_536, 14_464]
    columns = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)]
    by_name = {column.path_in_schema: column for column in columns}
    assert all(column.compression == "ZSTD" for column in columns)
    assert "DELTA_BINARY_PACKED" in by_name["sampled_at"].encodings
    assert "RLE_DICTIONARY" in by_name["job_id"].encodings
    assert by_name["job_id"].statistics.max == "job-b"
    table = pyarrow.parquet.read_table(file).to_pandas()
    assert_frame_equal(table, samples.sort_values(["job_id", "sampled_at"], ignore_index=True))
    assert os.stat(file).st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_any_engine_reads_it(fleet):
    """Hive partitioning, nothing else: bucket and day come from the folders, and the marker is no data."""
    table = pyarrow.dataset.dataset(fleet, partitioning="hive").to_table()
    assert {"bucket", "day", *dataset.schema.SAMPLE_DTYPES} == set(table.column_names)
    assert table.num_rows == len(likely(7, count=24))


def test_reading_back(fleet):
    """The dataset holds the samples, bit for bit, in their order."""
    assert_frame_equal(mops.read_dataset(fleet), likely(7, count=24), check_exact=True)


def test_further_columns_are_kept(tmp_path):
    """A label goes in and comes out, and a metric carries it."""
    samples = likely(3).assign(label=lambda frame: frame["job_id"].str.upper())
    mops.write_dataset(samples, tmp_path / "fleet")
    assert_frame_equal(mops.read_dataset(tmp_path / "fleet"), samples)
    assert mops.summarize_dataset(tmp_path / "fleet")["label"].tolist() == samples["label"].unique().tolist()


def test_some_jobs_are_read_from_their_buckets_alone(fleet):
    """Choosing jobs opens no file of another bucket; a job that is not there gives no rows."""
    bucket = f"bucket={job_bucket('job-005', 8):02d}"
    for file in Path(fleet).glob("bucket=*/*/*.parquet"):
        if bucket not in file.parts:
            file.write_bytes(b"no Parquet")
    samples = likely(7, count=24)
    expected = samples[samples["job_id"] == "job-005"].reset_index(drop=True)
    assert_frame_equal(mops.read_dataset(fleet, job_ids="job-005"), expected)
    with pytest.raises(StoreError, match="damaged"):
        mops.read_dataset(fleet)


def test_jobs_spread_evenly():
    """No bucket gets 5 % more of a thousand jobs each than its share."""
    counts = Counter(job_bucket(f"job-{number}", 16) for number in range(16_000))
    assert max(counts.values()) < 1050


# -- adding ----------------------------------------------------------------------------------------------------------


def test_writing_the_same_again_changes_nothing(tmp_path):
    """A call that is repeated, after a crash half-way, adds what is missing and doubles nothing."""
    samples = likely(1, count=10)
    files = mops.write_dataset(samples, tmp_path / "fleet")
    Path(files[0]).unlink()
    assert mops.write_dataset(samples, tmp_path / "fleet") == files
    assert_frame_equal(mops.read_dataset(tmp_path / "fleet"), samples)


def test_days_add_up(tmp_path):
    """Days written one by one, the last one first, are the jobs of both days."""
    samples = jobs(two_days("job-1"), two_days("job-2"))
    is_second = samples["sampled_at"] >= "2026-11-19T00:00:00Z"
    mops.write_dataset(samples[is_second], tmp_path / "fleet", buckets=4)
    mops.write_dataset(samples[~is_second], tmp_path / "fleet")
    assert_frame_equal(mops.summarize_dataset(tmp_path / "fleet"), mops.summary(samples))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    """Where a write fails, no half file is seen, and none stays behind under another name."""
    samples = likely(1, count=1)
    (file,) = mops.write_dataset(samples, tmp_path / "fleet")
    Path(file).unlink()
    Path(file).mkdir()  # what is there now cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        mops.write_dataset(samples, tmp_path / "fleet")
    assert [path.name for path in Path(file).parent.iterdir()] == [Path(file).name]


def test_the_number_of_buckets_is_for_good(fleet):
    """Another number would put a job into two buckets."""
    with pytest.raises(SchemaError, match="has 8 for good, got 16"):
        mops.write_dataset(likely(1), fleet, buckets=16)


@pytest.mark.parametrize("buckets", [0, -1, 2.5, True, "16"])
def test_odd_numbers_of_buckets(tmp_path, buckets):
    """A dataset has a whole number of buckets, and nothing is made for any other."""
    with pytest.raises(SchemaError, match="from 1 to 100,000"):
        mops.write_dataset(likely(1), tmp_path / "fleet", buckets=buckets)
    assert list(tmp_path.iterdir()) == []


def test_files_of_someone_else_are_left_alone(fleet):
    """Parquet folders without our note of the number of buckets are not added to."""
    (Path(fleet) / "_dataset.json").unlink()
    with pytest.raises(StoreError, match="someone else"):
        mops.write_dataset(likely(1), fleet)
    assert len(mops.summarize_dataset(fleet)) == 24  # but measured


@pytest.mark.parametrize("name", ["bucket", "day"])
def test_columns_named_like_a_folder(tmp_path, name):
    """Engines would find two columns of that name."""
    with pytest.raises(SchemaError, match=f"column '{name}'"):
        mops.write_dataset(likely(1).assign(**{name: 1}), tmp_path / "fleet")


# -- metrics ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 2**32 - 1), buckets=st.integers(1, 6))
@pytest.mark.parametrize("metric", METRICS)
def test_a_dataset_gives_the_numbers_of_the_frame(tmp_path_factory, metric, seed, buckets):
    """Each metric over the buckets is the metric over all samples, to the last bit, in the order of jobs."""
    samples = likely(seed, count=8, longest=30)
    path = tmp_path_factory.mktemp("fleet")
    mops.write_dataset(samples, path, buckets=buckets)
    assert_frame_equal(mops.summarize_dataset(path, metric=metric), METRICS[metric](samples), check_exact=True)


@pytest.mark.parametrize("buckets", [1, 8])
@pytest.mark.parametrize("metric", ["eta", "eta_backtest", "summary"])
def test_forecasts_do_not_depend_on_the_buckets(tmp_path, metric, buckets):
    """With labels, forecasts are those of each job alone, in one bucket as in eight; the labels are kept."""
    samples = likely(3, count=40).assign(
        label=lambda frame: frame["job_id"].str[-1].map(lambda digit: digit in "02468")
    )
    mops.write_dataset(samples, tmp_path / "fleet", buckets=buckets)
    found = mops.summarize_dataset(tmp_path / "fleet", metric=metric)
    alone = METRICS[metric](samples.drop(columns="label"))
    assert_frame_equal(found[alone.columns], alone, check_exact=True)
    if metric != "eta_backtest":
        first = samples.drop_duplicates("job_id")["label"]
        assert found["label"].tolist() == (samples["label"] if metric == "eta" else first).tolist()


@pytest.mark.parametrize("by", [None, "label"])
def test_periods_of_several_jobs_add_up(tmp_path, by):
    """Throughput of all jobs together, or by a column, adds up what the buckets have."""
    samples = likely(5, count=9).assign(label=lambda frame: frame["job_id"].str[-1].map({"1": "odd one"}))
    mops.write_dataset(samples, tmp_path / "fleet", buckets=4)
    options = {"by": by, "every": 60, "tz": "Europe/Berlin"}
    found = mops.summarize_dataset(tmp_path / "fleet", metric="throughput_by", **options)
    assert_frame_equal(found, mops.throughput_by(samples, **options), rtol=1e-12)


def test_votes_of_other_buckets_count(tmp_path):
    """A job without evidence is counted as the jobs in other buckets say, and `counting` names their number."""
    told = [job([0, 60], [0, 100], failed=[0, 5], total=100, status=["in_progress", "completed"], job_id="job-1")]
    told += [told[0].assign(job_id=pd.array(["job-3"] * 2, dtype="string"))]
    silent = job([0, 60, 120], [0, 50, 60], failed=[0, 5, 6], total=100, percentage=0, job_id="job-2")
    samples = jobs(*told, silent).sort_values(["job_id", "sampled_at"], ignore_index=True)
    assert len({job_bucket(job_id, 16) for job_id in ("job-1", "job-2", "job-3")}) == 3
    mops.write_dataset(samples, tmp_path / "fleet")
    assert mops.summarize_dataset(tmp_path / "fleet")["finished_items"].tolist() == [100, 60, 100]
    assert mops.summary(silent)["finished_items"].tolist() == [66]  # alone it would be taken as disjoint
    evidence = mops.summarize_dataset(tmp_path / "fleet", metric="counting")["evidence"]
    assert evidence[1] == "from the other jobs in the frame: inclusive in 2 of 2"
    disjoint = mops.summarize_dataset(tmp_path / "fleet", processed_includes_failed=False)
    assert disjoint["finished_items"].tolist() == [105, 66, 105]


@pytest.mark.parametrize("metric", METRICS)
def test_a_dataset_without_samples(tmp_path, metric):
    """No samples give no rows of the usual columns."""
    mops.write_dataset(likely(1).iloc[:0], tmp_path / "fleet")
    found = mops.summarize_dataset(tmp_path / "fleet", metric=metric)
    assert_frame_equal(found, METRICS[metric](likely(1).iloc[:0]), check_dtype=False, check_index_type=False)


def test_options_and_mistakes(fleet, tmp_path):
    """Options go to the metric; an unknown metric, option or path is named."""
    samples = likely(7, count=24)
    narrow = mops.summarize_dataset(fleet, metric="throughput", window="10s")
    assert_frame_equal(narrow, mops.throughput(samples, window="10s"))
    with pytest.raises(SchemaError, match="metric: expected one of anomalies, .*, got 'speed'"):
        mops.summarize_dataset(fleet, metric="speed")
    with pytest.raises(TypeError, match="windows"):
        mops.summarize_dataset(fleet, windows="10s")
    (tmp_path / "empty").mkdir()
    (tmp_path / "samples.csv").write_text("job_id\n")
    for name in ("elsewhere", "empty", "samples.csv"):  # none of them passes for a dataset without samples
        with pytest.raises(StoreError, match="no such dataset"):
            mops.summarize_dataset(tmp_path / name)
        with pytest.raises(StoreError, match="no such dataset"):
            mops.read_dataset(tmp_path / name)
    for address in ("nothing://fleet", "gs://no-package-for-it/fleet"):
        with pytest.raises(SchemaError, match="expected a folder, or an address that fsspec knows"):
            mops.read_dataset(address)


def test_damaged_datasets(fleet, tmp_path):
    """A marker that is none, and files that disagree about a column, are named."""
    mops.write_dataset(likely(1, count=1).assign(label="a"), fleet)
    mops.write_dataset(likely(2, count=1).assign(label=[["a"]] * len(likely(2, count=1))), fleet)
    with pytest.raises(SchemaError, match="other types in other files"):
        mops.read_dataset(fleet)
    (Path(fleet) / "_dataset.json").write_text("[]")
    with pytest.raises(StoreError, match=r"_dataset\.json is damaged"):
        mops.write_dataset(likely(1), fleet)
    with pytest.raises(SchemaError, match="a further column cannot be kept"):
        mops.write_dataset(
            likely(1, count=1).assign(label=lambda rows: [1, *["a"] * (len(rows) - 1)]), tmp_path / "new"
        )


def test_urls_pass_through():
    """A path may be any URL that fsspec knows."""
    samples = likely(2, count=6)
    url = "memory://test-urls-pass-through/fleet"
    files = mops.write_dataset(samples, url, buckets=3)
    try:
        assert all(fsspec.filesystem("memory").exists(file) for file in files)
        assert_frame_equal(mops.summarize_dataset(url), mops.summary(samples))
        assert mops.read_dataset(url, job_ids=["job-001"])["job_id"].unique().tolist() == ["job-001"]
    finally:
        fsspec.filesystem("memory").rm("/test-urls-pass-through", recursive=True)


# -- elsewhere -------------------------------------------------------------------------------------------------------


def test_processes_give_the_same(fleet):
    """A pool of two processes gives what this process gives, in the same order."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for metric in ("summary", "anomalies", "counting"):
            found = mops.summarize_dataset(fleet, metric=metric, executor=executor)
            assert_frame_equal(found, mops.summarize_dataset(fleet, metric=metric), check_exact=True)
        with pytest.raises(SchemaError, match="window"):
            mops.summarize_dataset(fleet, metric="throughput", window="soon", executor=executor)


def test_a_dask_cluster_gives_the_same(fleet, tmp_path):
    """A local Dask cluster of two workers gives what this process gives."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for metric in ("summary", "throughput", "counting"):
            found = mops.summarize_dataset(fleet, metric=metric, executor=client.get_executor())
            assert_frame_equal(found, mops.summarize_dataset(fleet, metric=metric), check_exact=True)


ALLOCATE = """
import resource, sys
import numpy as np
from mops_analysis import dataset
if sys.argv[1] == "cured":
    dataset._in_worker(len, "")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.ones(100_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's allocator")
def test_a_task_keeps_memory_under_dasks_settings():
    """Arrays of 800 kB made again and again are asked of the system once, not each time, as Dask's nanny has it."""
    nanny = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", ALLOCATE, how], env=nanny, capture_output=True, check=True).stdout
        )
        for how in ("as it is", "cured")
    }
    assert faults["as it is"] > 10_000  # 100 arrays of 195 pages
    assert faults["cured"] < 2000


def test_a_long_wait_shows_a_bar(fleet, monkeypatch, capsys):
    """What takes longer than two seconds (here: than nothing) shows how far it is; `progress=False` does not."""
    monkeypatch.setattr(dataset, "_SILENT_S", -1.0)
    mops.summarize_dataset(fleet, progress=False)
    assert capsys.readouterr().err == ""
    mops.summarize_dataset(fleet)
    assert "summary: buckets" in capsys.readouterr().err

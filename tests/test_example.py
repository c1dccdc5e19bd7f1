"""What `mops_analysis/data/README.md` says of the recorded example."""

from importlib import resources

import pandas as pd
import pytest

from mops_analysis import load_example

RUN = resources.files("mops_analysis").joinpath("data")


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    """The recorded run."""
    return load_example()


def test_table_of_jobs_is_the_recording(samples: pd.DataFrame) -> None:
    """The README's table has every job with its label and how it ended, and no other."""
    last = samples.groupby("job_id").last()
    rows = zip(last.index, last["label"], last["status"], strict=True)
    lines = [line for line in RUN.joinpath("README.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    told = [tuple(cell.strip("` ") for cell in line.strip("|").split("|"))[:3] for line in lines]
    assert sorted(told) == sorted(rows)


def test_recording_is_of_the_afternoon(samples: pd.DataFrame) -> None:
    """From 13:50 to 15:30 UTC on 18 November 2026."""
    assert samples["sampled_at"].min() >= pd.Timestamp("2026-11-18 13:50", tz="UTC")
    assert samples["sampled_at"].max() <= pd.Timestamp("2026-11-18 15:30:10", tz="UTC")


def test_recording_is_small() -> None:
    """1,500 rows and more in fewer than 80 kB."""
    assert len(RUN.joinpath("example.csv.gz").read_bytes()) < 80_000
    assert len(load_example()) >= 1500


@pytest.mark.parametrize(
    ("job_id", "begin", "end"),
    [
        ("slow-warm-up-1", "14:23:00", "14:27:30"),
        ("clean-import-3", "14:23:00", "14:27:30"),
        ("import-then-enrichment-1", "14:23:00", "14:27:30"),
        ("import-then-enrichment-1", "14:42:00", "14:45:30"),
    ],
)
def test_gaps_are_where_the_readme_says(samples: pd.DataFrame, job_id: str, begin: str, end: str) -> None:
    """No sample within the gap, samples within 20 s before and after it."""
    times = samples.loc[samples["job_id"] == job_id, "sampled_at"]
    begins, ends = (pd.Timestamp(f"2026-11-18 {at}", tz="UTC") for at in (begin, end))
    near = pd.Timedelta(seconds=20)
    assert not times.between(begins + near / 4, ends - near / 4).any()
    assert times.between(begins - near, begins + near / 4).any()
    assert times.between(ends - near / 4, ends + near).any()


def test_one_counter_falls(samples: pd.DataFrame) -> None:
    """Only the job of the reset has a counter that falls, once."""
    falls = samples.groupby("job_id")["processed_items"].diff() < 0
    assert list(samples.loc[falls, "job_id"]) == ["counter-reset-1"]

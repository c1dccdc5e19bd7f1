"""The samples frame at the door: what is taken, and what is refused with its cure."""

import re

import numpy as np
import pandas as pd
import pytest
from frames import likely
from pandas.testing import assert_frame_equal

import mops_analysis as mops
from mops_analysis.errors import SchemaError
from mops_analysis.schema import SAMPLE_DTYPES, to_frame, validate

SAMPLES = likely(5)
COUNTS = ["processed_items", "total_items", "failed_items"]


GOOD = {
    "as it is": SAMPLES,
    "microseconds": SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].dt.as_unit("us")),
    "another zone": SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].dt.tz_convert("America/New_York")),
    "objects": SAMPLES.astype({"job_id": object, "status": object}),
    "small integers": SAMPLES.astype(dict.fromkeys(COUNTS, "int32")),
    "whole floats": SAMPLES.astype(dict.fromkeys(COUNTS, "float64")),
    "nullable": SAMPLES.convert_dtypes(),
    "Arrow": SAMPLES.convert_dtypes(dtype_backend="pyarrow"),
    "unsorted": SAMPLES.sample(frac=1, random_state=3),
    "other order of columns": SAMPLES[SAMPLES.columns[::-1]],
}


@pytest.mark.parametrize("samples", GOOD.values(), ids=GOOD.keys())
def test_what_is_taken(samples):
    """Any dtype that can be converted without loss gives the samples frame; the input is not changed."""
    before = samples.copy(deep=True)
    checked = validate(samples)
    assert_frame_equal(checked.sort_index(), SAMPLES)
    assert_frame_equal(samples, before)
    assert_frame_equal(mops.throughput(samples).sort_index(), mops.throughput(SAMPLES))


BAD = {
    "no frame": (None, "expected a samples frame (pandas DataFrame), got NoneType"),
    "a missing column": (SAMPLES.drop(columns="status"), "column 'status' is missing"),
    "a column twice": (pd.concat([SAMPLES, SAMPLES["status"]], axis=1), "column 'status' is there twice"),
    "a further column twice": (pd.concat([SAMPLES.assign(label="a")] * 2, axis=1), "is there twice"),
    "naive times": (
        SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].dt.tz_localize(None)),
        "column 'sampled_at': expected times with a zone, got naive",
    ),
    "a missing time": (
        SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].where(SAMPLES.index != 3)),
        "column 'sampled_at': expected times with a zone, got naive or missing ones",
    ),
    "times as text": (
        SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].astype("string")),
        "column 'sampled_at': expected times with a zone, got string; make times of it: pandas.to_datetime(",
    ),
    "times as numbers": (
        SAMPLES.assign(sampled_at=SAMPLES["sampled_at"].astype("int64")),
        "column 'sampled_at': expected times with a zone, got int64",
    ),
    "far times": (
        SAMPLES.assign(sampled_at=pd.DatetimeIndex(["3000-01-01T00:00Z"] * len(SAMPLES)).as_unit("us")),
        "column 'sampled_at': expected times of the years 1678 to 2261",
    ),
    "ids as numbers": (SAMPLES.assign(job_id=1), "column 'job_id': expected text, got int64"),
    "a missing id": (SAMPLES.assign(job_id=SAMPLES["job_id"].where(SAMPLES.index != 2)), "column 'job_id'"),
    "a missing count": (SAMPLES.assign(total_items=np.nan), "column 'total_items': expected whole numbers"),
    "half items": (SAMPLES.assign(failed_items=0.5), "column 'failed_items': expected whole numbers"),
    "too many items": (SAMPLES.assign(total_items=np.uint64(2**63)), "column 'total_items': expected whole numbers"),
    "counts as text": (SAMPLES.astype({"total_items": "string"}), "column 'total_items': expected int64, got string"),
    "complex numbers": (SAMPLES.assign(total_items=1j), "column 'total_items': expected int64, got complex128"),
    "a truth": (SAMPLES.assign(processed_items=True), "column 'processed_items': expected int64, got bool"),
}


@pytest.mark.parametrize(("samples", "words"), BAD.values(), ids=BAD.keys())
def test_what_is_refused(samples, words):
    """The error names the column, what came, and the cure; each metric says the same."""
    for door in (validate, mops.summary, mops.eta, mops.fleet, mops.comparison):
        with pytest.raises(SchemaError, match=re.escape(words)):
            door(samples)


RECORD = {**dict.fromkeys(SAMPLE_DTYPES, 0), "job_id": "a", "status": "NEW", "sampled_at": "2026-11-18T14:00:00Z"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampled_at": "soon"}, "column 'sampled_at': expected times"),
        ({"sampled_at": "3000-01-01T00:00Z"}, "column 'sampled_at': expected times"),
        ({"sampled_at": None}, "column 'sampled_at': expected times with a zone"),
        ({"status": None}, "column 'status': expected text"),
        ({"status": 5}, "column 'status': expected text"),
        ({"total_items": "many"}, "column 'total_items': expected int64"),
    ],
)
def test_records_that_are_refused(change, words):
    """A value that does not fit is a SchemaError with the name of its column."""
    with pytest.raises(SchemaError, match=re.escape(words)):
        to_frame([RECORD, RECORD | change])


@pytest.mark.parametrize("records", [None, 5, [1, 2]])
def test_what_is_no_record(records):
    """Records are mappings."""
    with pytest.raises(SchemaError, match="expected records"):
        to_frame(records)


@pytest.mark.parametrize("other", [5, "samples", SAMPLES], ids=["a number", "words", "samples"])
def test_frames_of_another_kind(tmp_path, other):
    """Where a function takes what another one returned, anything else is refused by the name of its parameter."""
    doors = {
        "summary: expected what summary\\(samples\\) returned": (
            lambda: mops.fleet(SAMPLES, summary=other),
            lambda: mops.comparison(SAMPLES, summary=other),
        ),
        "backtest: expected what eta_backtest\\(samples\\) returned": (lambda: mops.backtest_summary(other),),
        "forecast: expected what eta\\(samples\\) returned": (
            lambda: mops.summary(SAMPLES, forecast=other),
            lambda: mops.eta_backtest(SAMPLES, forecast=other),
        ),
        "polls: expected what store.read_polls\\(\\) returned": (
            lambda: mops.report(SAMPLES, tmp_path / "report.md", polls=other),
        ),
    }
    for words, calls in doors.items():
        for call in calls:
            with pytest.raises(SchemaError, match=words):
                call()


def test_a_tear_sheet_of_what_is_no_frame():
    """Neither the samples nor the history may be anything else."""
    job_id = SAMPLES["job_id"].iloc[0]
    for samples, history in ((None, None), (None, SAMPLES), (SAMPLES, 5)):
        with pytest.raises(SchemaError, match="expected a samples frame"):
            mops.tear_sheet(samples, job_id, history=history)

"""Facts about the summary of jobs, with answers worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import START, job, jobs, likely

from mops_analysis import load_example
from mops_analysis.errors import SchemaError
from mops_analysis.metrics import anomalies, eta, failure_rate, summary, throughput

COLUMNS = {
    "job_id": "string",
    "status": "string",
    "terminal": "bool",
    "first_sampled_at": "datetime64[ns, UTC]",
    "last_sampled_at": "datetime64[ns, UTC]",
    "started_after": "datetime64[ns, UTC]",
    "started_before": "datetime64[ns, UTC]",
    "ended_after": "datetime64[ns, UTC]",
    "ended_before": "datetime64[ns, UTC]",
    "elapsed_s": "float64",
    "samples": "int64",
    "total_items": "int64",
    "finished_items": "int64",
    "failed_items": "int64",
    "share_done": "float64",
    "mean_items_per_s": "float64",
    "last_items_per_s": "float64",
    "failure_rate": "float64",
    "failure_rate_low": "float64",
    "failure_rate_high": "float64",
    "remaining_s": "float64",
    "remaining_low_s": "float64",
    "remaining_high_s": "float64",
    "eta": "datetime64[ns, UTC]",
    "eta_low": "datetime64[ns, UTC]",
    "eta_high": "datetime64[ns, UTC]",
    "anomalies": "int64",
}


def at(seconds: float) -> pd.Timestamp:
    return START + pd.Timedelta(seconds, unit="s")


def one(samples, **options) -> pd.Series:
    frame = summary(samples, **options)
    assert len(frame) == 1
    return frame.iloc[0]


@pytest.mark.parametrize("samples", [likely(1), job([], [])], ids=["jobs", "none"])
def test_columns_and_dtypes(samples):
    """The columns stand in their order, with their dtypes, also for no samples."""
    assert {name: str(dtype) for name, dtype in summary(samples).dtypes.items()} == COLUMNS
    assert list(summary(samples).columns) == list(COLUMNS)


def test_whole_life_of_a_job():
    """Pending, two minutes of work, completed: both bounds of start and end, and rates over the time between."""
    status = ["pending", "pending", "in_progress", "in_progress", "completed"]
    row = one(job([0, 50, 60, 120, 180], [0, 0, 0, 60, 190], failed=[0, 0, 0, 0, 10], total=200, status=status))
    assert (row["status"], row["terminal"], row["samples"]) == ("completed", True, 5)
    assert (row["first_sampled_at"], row["last_sampled_at"]) == (at(0), at(180))
    assert (row["started_after"], row["started_before"]) == (at(50), at(60))
    assert (row["ended_after"], row["ended_before"]) == (at(120), at(180))
    assert row["elapsed_s"] == 120
    assert (row["total_items"], row["finished_items"], row["failed_items"]) == (200, 200, 10)
    assert row["share_done"] == 1
    assert row["mean_items_per_s"] == row["last_items_per_s"] == 200 / 120
    assert row["failure_rate"] == 0.05
    assert row["failure_rate_low"] < 0.05 < row["failure_rate_high"]
    assert np.isnan(row["remaining_s"])
    assert row["eta"] is pd.NaT
    assert row["anomalies"] == 0


def test_attached_half_way():
    """The start lies before the first sample; counts are the service's, rates are of what was seen."""
    row = one(job([0, 60, 120], [500, 560, 620], total=1000))
    assert row["started_after"] is pd.NaT
    assert row["started_before"] == at(0)
    assert row["ended_after"] is pd.NaT
    assert row["ended_before"] is pd.NaT
    assert row["elapsed_s"] == 120
    assert (row["finished_items"], row["share_done"]) == (620, 0.62)
    assert row["mean_items_per_s"] == 1


def test_pending_job_has_not_started():
    """No bounds, no elapsed time, no rate."""
    row = one(job([0, 60], [0, 0], status="pending"), now=at(90))
    assert row["started_after"] is pd.NaT
    assert row["started_before"] is pd.NaT
    assert np.isnan(row["elapsed_s"])
    assert np.isnan(row["mean_items_per_s"])


def test_first_seen_when_over():
    """A job that had ended before the first sample ended by then, nobody knows when, nor how long it took."""
    row = one(job([0, 60], [9, 9], total=9, status="completed"))
    assert (row["started_before"], row["ended_before"]) == (at(0), at(0))
    assert row["ended_after"] is pd.NaT
    assert np.isnan(row["elapsed_s"])
    assert np.isnan(row["mean_items_per_s"])


def test_reopened_job_has_not_ended():
    """A job that runs again after "failed" ends at its last end."""
    status = ["in_progress", "failed", "in_progress", "completed", "completed"]
    row = one(job([0, 10, 20, 30, 40], [0, 1, 1, 9, 9], total=9, status=status))
    assert (row["ended_after"], row["ended_before"]) == (at(20), at(30))
    assert one(job([0, 10, 20], [0, 1, 1], status=status[:3]))["ended_before"] is pd.NaT


def test_now_lets_running_jobs_run_on():
    """Elapsed time runs until now, for jobs that have not ended, and never back."""
    running, over = job([0, 60], [0, 1]), job([0, 60], [0, 1], status=["in_progress", "failed"], job_id="job-2")
    assert summary(jobs(running, over), now=at(100))["elapsed_s"].tolist() == [100, 60]
    assert summary(running, now="2026-11-18T13:00:00Z")["elapsed_s"].tolist() == [60]
    with pytest.raises(SchemaError, match="now: expected a time with a zone"):
        summary(running, now="2026-11-18T13:00:00")


@pytest.mark.parametrize(
    ("status", "total", "share"),
    [
        ("in_progress", 0, np.nan),
        ("completed", 0, 1),
        ("failed", 0, np.nan),
        ("in_progress", 5, 1),
        ("completed", 40, 0.5),
    ],
)
def test_share_done(status, total, share):
    """20 finished of the total, within 0-1; unknown at a total of 0 unless the job completed."""
    assert one(job([0, 60], [0, 20], total=total, status=["in_progress", status]))["share_done"] == pytest.approx(
        share, nan_ok=True
    )


def test_mean_leaves_out_review():
    """60 items in a minute, an hour of review, 60 items in a minute."""
    status = ["in_progress", "in_progress", "awaiting_review", "in_progress", "in_progress"]
    assert one(job([0, 60, 60, 3660, 3720], [0, 60, 60, 60, 120], status=status))["mean_items_per_s"] == 1


def test_falls_show_in_counts_not_in_rates():
    """After a retry the counters are what the service says; the failure rate knows both tries."""
    row = one(job([0, 60, 120], [0, 80, 10], failed=[0, 20, 0], percentage=[0, 10, 1]), processed_includes_failed=False)
    assert (row["finished_items"], row["failed_items"], row["failure_rate"]) == (10, 0, 0.2)
    assert row["mean_items_per_s"] == 100 / 120


@pytest.mark.parametrize("seed", range(5))
def test_summary_is_the_last_row_of_the_other_metrics(seed):
    """Rates, forecast and anomalies are those that the other functions give."""
    samples = likely(seed, count=6)
    frame = summary(samples).set_index("job_id")
    last = samples.groupby("job_id").tail(1).index
    for function, columns in (
        (throughput, {"items_per_s": "last_items_per_s"}),
        (failure_rate, {name: name for name in ("failure_rate", "failure_rate_low", "failure_rate_high")}),
        (eta, {name: name for name in ("remaining_s", "remaining_high_s", "eta", "eta_low")}),
    ):
        rows = function(samples).loc[last].set_index("job_id")[list(columns)].rename(columns=columns)
        pd.testing.assert_frame_equal(frame[list(columns.values())], rows)
    counts = anomalies(samples)["job_id"].value_counts().reindex(frame.index, fill_value=0)
    assert frame["anomalies"].tolist() == counts.tolist()


def test_label_passes_through():
    """A job goes by the label of its first sample."""
    samples = jobs(job([0, 1], [0, 1], job_id="b"), job([0, 1], [0, 1], job_id="a")).assign(label=list("xxyz"))
    assert list(summary(samples).columns) == [*COLUMNS, "label"]
    assert summary(samples)["label"].tolist() == ["y", "x"]


def test_the_forecast_is_that_of_eta_also_where_jobs_teach_one_another():
    """With a label, forecasts learn from finished jobs: the summary's are the last ones of `eta`, to the digit."""
    samples = load_example()
    samples["label"] = samples["job_id"].str.startswith(("clean", "stall")).map({True: "import", False: pd.NA})
    last = eta(samples).groupby("job_id").tail(1).set_index("job_id")
    found = summary(samples).set_index("job_id")
    assert found["remaining_s"].notna().sum() == 1
    for name in ("remaining_s", "remaining_low_s", "remaining_high_s", "eta", "eta_low", "eta_high"):
        pd.testing.assert_series_equal(found[name], last[name], check_index_type=False)
    alone = summary(samples.drop(columns="label")).set_index("job_id")
    assert not alone["remaining_s"].equals(found["remaining_s"])


def test_a_forecast_at_hand_is_taken():
    """The summary says of a given forecast what it would have computed, whatever the order of the rows."""
    samples = likely(4, count=5).sample(frac=1, random_state=1)
    expected = summary(samples)
    pd.testing.assert_frame_equal(summary(samples, forecast=eta(samples)), expected, check_exact=True)
    doubled = eta(samples).assign(remaining_s=7.0)
    assert (summary(samples, forecast=doubled)["remaining_s"] == 7).all()


def test_a_forecast_of_other_samples_is_refused():
    """One row for each of the samples, or an error that says so."""
    samples = likely(4)
    with pytest.raises(SchemaError, match=r"what eta\(samples\) returned"):
        summary(samples, forecast=eta(samples.head(3)))
    one, other = job([0, 10, 20], [0, 10, 20]), job([0, 10, 20], [0, 1, 2], job_id="job-2")
    later = job([1, 11, 21], [0, 1, 2])
    for forecast in (eta(other), eta(later)):
        with pytest.raises(SchemaError, match="one row for each of these samples"):
            summary(one, forecast=forecast)
    with pytest.raises(SchemaError, match="column 'remaining_s' is missing"):
        eta(samples, known=throughput(samples))

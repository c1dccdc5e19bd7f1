"""Facts about anomalies, with answers worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import START, job, jobs

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import anomalies


def events(samples, **options) -> list[tuple[str, float, str]]:
    """Kind, seconds since the start, and detail."""
    frame = anomalies(samples, **options)
    seconds = (frame["sampled_at"] - START).dt.total_seconds()
    return list(zip(frame["kind"], seconds, frame["detail"], strict=True))


def kinds(samples, **options) -> list[tuple[str, float]]:
    return [event[:2] for event in events(samples, **options)]


STEADY = np.arange(0, 600, 10)


def test_quiet_job_has_none():
    """A steady job that ends well has no events; the frame has its columns."""
    status = ["pending", *["in_progress"] * 58, "completed"]
    frame = anomalies(job(STEADY, STEADY, total=590, status=status))
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "job_id": "string",
        "sampled_at": "datetime64[ns, UTC]",
        "kind": "string",
        "detail": "string",
    }
    assert len(frame) == 0


def test_counter_reset():
    """Each fall of processed or failed items is one."""
    samples = job([0, 10, 20, 30], [0, 1200, 10, 20], failed=[0, 4, 4, 1], total=2000, percentage=0)
    found = [event for event in events(samples) if event[0] == "counter_reset"]
    assert found == [
        ("counter_reset", 20, "processed_items fell from 1,200 to 10"),
        ("counter_reset", 30, "failed_items fell from 4 to 1"),
    ]


def test_total_changed():
    """Each change of the total is one, the announcement of a total included."""
    samples = job([0, 10, 20, 30], [0, 1, 2, 3], total=[0, 500, 500, 400])
    assert events(samples) == [
        ("total_changed", 10, "total_items went from 0 to 500"),
        ("total_changed", 30, "total_items went from 500 to 400"),
    ]


def test_gap():
    """A step of more than 2.5 median steps, at the first sample after it."""
    seconds = [0, 10, 20, 30, 56, 66, 91]
    assert events(job(seconds, seconds)) == [
        ("gap", 56, "no sample for 26 s since 14:00:30 UTC; the usual step is 10 s")
    ]


@pytest.mark.parametrize("status", ["awaiting_review", "completed"])
def test_no_gap_where_sampling_stops_by_design(status):
    """Nobody samples a job in review, or one that has ended."""
    samples = job([0, 10, 20, 5000], [0, 10, 20, 20], status=["in_progress"] * 2 + [status] * 2)
    assert kinds(samples) == []


def test_stall_is_one_event_at_the_sample_that_shows_it():
    """Moves every 10 s, then nothing from 100 s to 250 s: beyond 10 x 10 s at 210 s."""
    processed = np.minimum(STEADY, 100) + np.maximum(STEADY - 250, 0)
    assert events(job(STEADY, processed)) == [
        ("stalled", 210, "no counter moved for 2 m 30 s since 14:01:40 UTC; a stall is 1 m 40 s or more in this job")
    ]


def test_two_stalls_are_two_events():
    """A move between them ends the first."""
    seconds = np.arange(0, 1000, 10)
    processed = np.minimum(seconds, 200) + (seconds >= 400) + np.maximum(seconds - 700, 0)
    assert kinds(job(seconds, processed)) == [("stalled", 310), ("stalled", 510)]


def test_batches_are_no_stall():
    """A job that moves every 50 s by design is quiet for less than 10 times that."""
    seconds = np.arange(0, 600, 5)
    assert kinds(job(seconds, 25 * (seconds // 50))) == []


@pytest.mark.parametrize("status", ["pending", "awaiting_review", "completed"])
def test_waiting_is_no_stall(status):
    """Only a running job can stall."""
    assert kinds(job(STEADY, 7, status=status)) == []


def test_a_job_that_never_moves_stalls_after_five_minutes():
    """Without moves to compare with, a stall is ten half minutes."""
    assert kinds(job(STEADY, 0)) == [("stalled", 310)]


def test_failure_burst():
    """1 % for 1000 items, then 30 of 100 fail in a minute."""
    seconds = np.arange(0, 720, 60)
    finished = 100 * np.arange(12)
    failed = np.concatenate([np.arange(11), [40]])
    samples = job(seconds, finished - failed, failed=failed, total=5000, percentage=100 * finished / 5000)
    assert kinds(samples, window=60) == [("failure_burst", 660)]
    detail = events(samples, window=60)[0][2]
    assert detail.startswith(
        "30 of 100 items failed within 1 m 0 s (at least 19.7%); before that 10 of 1,000 (at most 2.2%)"
    )


def test_one_burst_over_many_samples_is_one_event():
    """Half of the items fail for two minutes, seen every 10 s."""
    seconds = np.arange(0, 900, 10)
    finished = 10 * np.arange(90)
    failed = np.clip(5 * (np.arange(90) - 40), 0, 60)
    samples = job(seconds, finished - failed, failed=failed, total=5000, percentage=100 * finished / 5000)
    assert [kind for kind, _ in kinds(samples)] == ["failure_burst"]


def test_a_steady_failure_rate_is_no_burst():
    """5 % for ever, drawn by chance, in 50 jobs."""
    rng = np.random.default_rng(1)
    samples = []
    for number in range(50):
        finished = np.cumsum(rng.integers(1, 60, 200))
        failed = np.cumsum(rng.binomial(np.diff(finished, prepend=0), 0.05))
        samples.append(
            job(
                np.arange(200) * 10,
                finished - failed,
                failed=failed,
                total=99999,
                percentage=100 * finished / 99999,
                job_id=f"job-{number}",
            )
        )
    assert len(anomalies(jobs(*samples))) <= 2


@pytest.mark.parametrize(("failures", "found"), [(4, []), (5, [("failure_burst", 120)])])
def test_a_burst_has_five_failures(failures, found):
    """Four of ten after a thousand good ones are too few to cry."""
    samples = job([0, 60, 120], [0, 1000, 1010 - failures], failed=[0, 0, failures], total=2000, percentage=[0, 50, 50])
    assert kinds(samples, window=60, processed_includes_failed=False) == found


def test_all_failures_at_the_start_are_no_burst():
    """There is nothing to compare them with."""
    samples = job([0, 10, 20], [0, 0, 100], failed=[0, 50, 50], total=150, percentage=[0, 33, 100])
    assert kinds(samples) == []


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        (
            {"processed": [0, -1], "percentage": 0},
            "a counter is negative: processed_items -1, total_items 1000, failed_items 0",
        ),
        (
            {"processed": [0, 2], "failed": [0, 12], "total": 10, "percentage": [0, 100]},
            "failed_items 12 > total_items 10",
        ),
        ({"processed": [0, 1200], "percentage": [0, 100]}, "finished items 1,200 > total_items 1,000"),
        ({"processed": [0, 50], "percentage": [0, 105]}, "progress_percentage 105 is outside 0-100"),
        (
            {"processed": [0, 500], "failed": [0, 20], "percentage": [0, 54]},
            "progress_percentage 54 fits neither 500 processed nor 20 more of 1,000",
        ),
    ],
)
def test_inconsistent_counts(columns, detail):
    """Counts that contradict each other, once for the job."""
    samples = job([0, 10], **columns)
    found = [event for event in events(samples, processed_includes_failed=False) if event[0] == "inconsistent_counts"]
    assert found == [("inconsistent_counts", 10, detail + " (in 1 sample)")]


def test_inconsistency_counts_its_samples():
    """One event for the job, however many samples show it."""
    samples = job([0, 10, 20, 30], [0, 400, 500, 600], percentage=[0, 4, 5, 60])
    assert events(samples) == [
        (
            "inconsistent_counts",
            10,
            "progress_percentage 4 fits neither 400 processed nor 0 more of 1,000 (in 2 samples)",
        )
    ]


def test_more_failed_than_finished():
    """Under the inclusive rule failures are among the processed items."""
    samples = job([0, 10], [0, 3], failed=[0, 12], percentage=0)
    assert kinds(samples, processed_includes_failed=True) == [("inconsistent_counts", 10)]
    assert kinds(samples, processed_includes_failed=False) == []


def test_total_of_zero_is_no_contradiction():
    """The service may not know the total."""
    assert kinds(job([0, 10], [0, 50], total=0, percentage=0)) == []


def test_rounded_percentage_is_no_contradiction():
    """A whole percent off is rounding."""
    assert kinds(job([0, 10], [0, 99], percentage=[0, 9])) == []


def test_unknown_status_once_per_word():
    """A word that the documents do not name; `canceled` is another spelling."""
    status = ["thinking", "in_progress", "thinking", "paused", "canceled"]
    assert events(job(range(5), range(5), status=status)) == [
        ("unknown_status", 0, "'thinking' is no documented status; taken as running on"),
        ("unknown_status", 3, "'paused' is no documented status; taken as running on"),
    ]


def test_events_are_sorted_and_labelled():
    """By job and time, with the job's label."""
    samples = jobs(
        job([0, 10, 20], [5, 3, 1], percentage=0, job_id="b").assign(label="Bee"),
        job([0, 10], [5, 3], percentage=0, job_id="a").assign(label="Ant"),
    )
    frame = anomalies(samples)
    assert list(frame.columns) == ["job_id", "sampled_at", "kind", "detail", "label"]
    assert frame["job_id"].tolist() == ["a", "b", "b"]
    assert frame["label"].tolist() == ["Ant", "Bee", "Bee"]
    assert (frame["sampled_at"] - START).dt.total_seconds().tolist() == [10, 10, 20]


def test_window_must_be_a_duration():
    """A message says what was expected."""
    with pytest.raises(SchemaError, match="window: expected seconds or a duration"):
        anomalies(job([0], [0]), window="often")
    assert isinstance(anomalies(job([], [])), pd.DataFrame)

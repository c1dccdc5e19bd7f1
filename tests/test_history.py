"""What jobs of a label learn from those that finished before them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_eta import job

from mops_analysis.metrics import eta, eta_backtest

SECONDS = ["remaining_s", "remaining_low_s", "remaining_high_s"]
HOUR = pd.Timedelta("1h")


def slowing(name: str, start: pd.Timedelta, *, end: str = "completed", bend: float = 2) -> pd.DataFrame:
    """A hundred items, each slower than the one before, t ~ n^bend: a mean pace is always too hopeful."""
    seconds = np.arange(0, 1001, 10)
    done = np.floor(100 * (seconds / 1000) ** (1 / bend)).astype("int64")
    samples = job(seconds, done, status=["in_progress"] * 100 + [end], job_id=name)
    return samples.assign(sampled_at=samples["sampled_at"] + start)


def nightly(jobs: int, **more) -> pd.DataFrame:
    """One such job an hour, under one label."""
    return pd.concat([slowing(f"job-{i:02d}", i * HOUR, **more) for i in range(jobs)], ignore_index=True).assign(
        label="nightly"
    )


def of(samples: pd.DataFrame, name: str, **options) -> np.ndarray:
    return eta(samples, **options).loc[samples["job_id"] == name, SECONDS].to_numpy()


def test_a_trend_that_all_jobs_of_a_label_share_is_learnt():
    """After ten like jobs the eleventh is foretold better than the first, which knew nothing of them."""
    samples = nightly(11)
    truth = 995 - np.arange(0, 1000, 10)
    first, last = (of(samples, name, correction=False)[:100, 0] for name in ("job-00", "job-10"))
    half = slice(20, 80)
    assert np.abs(np.log(last / truth)[half]).mean() < 0.5 * np.abs(np.log(first / truth)[half]).mean()


def upper_offset(answer: np.ndarray) -> np.ndarray:
    """Logarithm of high over median, as the interval is made: with the mean time between samples, 10 s, added."""
    return np.log((answer[:, 2] + 10) / (answer[:, 0] + 10))


def test_intervals_that_missed_are_widened():
    """The first job ran later than its interval in a quarter of the samples: the next one's reaches further up."""
    samples = nightly(2, bend=4)
    first, second = (of(samples, name, correction=False)[1:100] for name in ("job-00", "job-01"))
    late = (first[:, 2] < 995 - np.arange(10, 1000, 10)).mean()
    ratio = upper_offset(second) / upper_offset(first)
    assert late > 0.2
    assert ratio == pytest.approx(np.full(99, ratio[0]))
    assert 1.04 < ratio[0] < np.exp(0.5 * (1 - 0.1))


def test_intervals_that_always_held_are_narrowed():
    """No miss where one in ten was due on either side: the offsets shrink by exp(0.5 (0 - 0.1))."""
    steady = [
        job(range(0, 1001, 10), range(101), status=["in_progress"] * 100 + ["completed"], job_id=name)
        for name in ("job-00", "job-01")
    ]
    steady[1]["sampled_at"] += HOUR
    samples = pd.concat(steady, ignore_index=True).assign(label="nightly")
    ratio = upper_offset(of(samples, "job-01")[1:100]) / upper_offset(of(samples, "job-00")[1:100])
    assert ratio == pytest.approx(np.full(99, np.exp(-0.05)))


def test_the_first_job_of_a_label_is_on_its_own():
    """With nobody to learn from, a label changes nothing, to the last bit."""
    samples = nightly(3)
    np.testing.assert_array_equal(of(samples, "job-00"), of(samples.drop(columns="label"), "job-00"))


def test_nothing_is_learnt_from_a_job_that_has_not_finished_yet():
    """Jobs that run side by side teach each other nothing."""
    samples = pd.concat([slowing(f"job-{i}", i * pd.Timedelta("1min")) for i in range(5)], ignore_index=True)
    np.testing.assert_array_equal(
        eta(samples.assign(label="bulk"))[SECONDS].to_numpy(), eta(samples)[SECONDS].to_numpy()
    )


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_nothing_is_learnt_from_a_job_without_a_true_finish(end):
    """A job that failed or was cancelled says nothing about how long one takes."""
    samples = nightly(4, end=end)
    np.testing.assert_array_equal(eta(samples)[SECONDS], eta(samples.drop(columns="label"))[SECONDS])


def test_other_labels_and_missing_labels_teach_nothing():
    """Only the same label counts; a job without one neither teaches nor learns."""
    samples = nightly(4)
    other = samples["job_id"].map({"job-00": "a", "job-01": None, "job-02": None, "job-03": "b"}).astype("string")
    alone = eta(samples.drop(columns="label"))[SECONDS]
    np.testing.assert_array_equal(eta(samples.assign(label=other))[SECONDS], alone)


def test_later_rows_never_change_earlier_answers():
    """With lessons, too, an answer is what it was when it was given, to the last bit."""
    samples = nightly(6)
    whole = eta(samples)[SECONDS].to_numpy()
    by_time = samples["sampled_at"].sort_values()
    for cut in by_time.iloc[[150, 333, 480, 505]]:
        seen = samples["sampled_at"] <= cut
        np.testing.assert_array_equal(eta(samples[seen])[SECONDS].to_numpy(), whole[seen])


def test_order_of_rows_never_matters_to_lessons():
    """Rows in any order: the same answers to the last bit."""
    samples = nightly(6)
    shuffled = samples.sample(frac=1, random_state=1)
    np.testing.assert_array_equal(
        eta(shuffled)[SECONDS].to_numpy(), eta(samples)[SECONDS].to_numpy()[shuffled.index.to_numpy()]
    )


def test_the_label_stays_and_the_backtest_learns_alike():
    """The label is carried along; the replay says what `eta` said."""
    samples = nightly(4)
    answer = eta(samples)
    assert answer["label"].tolist() == ["nightly"] * len(samples)
    backtest = eta_backtest(samples)
    half_way = backtest.query("job_id == 'job-03' and method == 'mops' and share_done == 0.5")
    done = samples[(samples["job_id"] == "job-03") & (samples["processed_items"] >= 50)].index[0]
    assert half_way["remaining_s"].item() == answer.loc[done, "remaining_s"]


def test_a_wider_interval_still_contains_a_narrower_one():
    """Lessons move both, and leave one inside the other."""
    samples = nightly(6)
    narrow, wide = of(samples, "job-05", interval=0.5)[1:100], of(samples, "job-05", interval=0.95)[1:100]
    np.testing.assert_array_equal(narrow[:, 0], wide[:, 0])
    assert (wide[:, 1] <= narrow[:, 1]).all()
    assert (wide[:, 2] >= narrow[:, 2]).all()

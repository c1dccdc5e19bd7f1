"""Facts about `eta_backtest` and its summary, with answers worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_eta import job

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import backtest_summary, eta, eta_backtest


def finished(seconds, processed, *, end="completed", **more) -> pd.DataFrame:
    """A job whose last sample is its end."""
    return job(seconds, processed, status=["in_progress"] * (len(seconds) - 1) + [end], **more)


STEADY = finished(np.arange(0, 101, 5), np.arange(0, 101, 5))


def said(backtest: pd.DataFrame, method: str, column: str) -> list[float]:
    return backtest.loc[backtest["method"] == method, column].tolist()


def test_one_row_per_job_method_and_share_done():
    """Each finished job is replayed at five shares by four methods."""
    backtest = eta_backtest(pd.concat([STEADY, STEADY.assign(job_id="job-0")]))
    assert list(backtest.columns) == [
        "job_id",
        "method",
        "share_done",
        "remaining_s",
        "remaining_low_s",
        "remaining_high_s",
        "true_remaining_s",
        "log_error",
        "covered",
    ]
    keys = [
        (name, method, share)
        for name in ("job-0", "job-1")
        for method in ("mops", "mean", "tqdm", "window")
        for share in (0.1, 0.25, 0.5, 0.75, 0.9)
    ]
    assert list(backtest[["job_id", "method", "share_done"]].itertuples(index=False, name=None)) == keys


@pytest.mark.parametrize("method", ["mops", "mean", "tqdm", "window"])
def test_steady_jobs_are_foretold_by_all(method):
    """At an item a second, 90, 75, 50, 25 and 10 are left; the end was seen between 95 s and 100 s."""
    backtest = eta_backtest(STEADY)
    assert said(backtest, method, "remaining_s") == pytest.approx([90, 75, 50, 25, 10])
    assert said(backtest, method, "true_remaining_s") == [87.5, 72.5, 47.5, 22.5, 7.5]
    assert said(backtest, method, "log_error")[-1] == pytest.approx(np.log(15 / 12.5))


def test_ours_is_what_eta_said():
    """The replay says what `eta` says at that sample, interval and all."""
    row = eta(STEADY, interval=0.5).iloc[10]
    backtest = eta_backtest(STEADY, interval=0.5)
    half_way = backtest[(backtest["method"] == "mops") & (backtest["share_done"] == 0.5)].iloc[0]
    for name in ("remaining_s", "remaining_low_s", "remaining_high_s"):
        assert half_way[name] == row[name]
    assert half_way["covered"]


def test_a_forecast_at_hand_is_taken():
    """The record of a given forecast is that of the same forecast computed here, whatever the order of the rows."""
    samples = pd.concat([STEADY, STEADY.assign(job_id="job-2")]).sample(frac=1, random_state=1)
    expected = eta_backtest(samples, interval=0.5)
    given = eta_backtest(samples, interval=0.5, forecast=eta(samples, interval=0.5))
    pd.testing.assert_frame_equal(given, expected, check_exact=True)
    doubled = eta_backtest(samples, forecast=eta(samples).assign(remaining_s=7.0))
    assert (doubled.loc[doubled["method"] == "mops", "remaining_s"] == 7).all()


def test_a_forecast_of_other_samples_is_refused():
    """One row for each of the samples, or an error that says so."""
    with pytest.raises(SchemaError, match=r"what eta\(samples\) returned"):
        eta_backtest(STEADY, forecast=eta(STEADY.head(3)))
    with pytest.raises(SchemaError, match="one row for each of these samples"):
        eta_backtest(STEADY, forecast=eta(STEADY.assign(job_id="job-2")))


def test_the_usual_formulas():
    """Ten items in 10 s, then twenty in 10 s, then none: each formula has its own memory of it."""
    samples = finished([0, 10, 20, 30, 40], [0, 10, 30, 30, 100])
    backtest = eta_backtest(samples)
    # First sample with a quarter done: 30 items after 20 s, 70 left.
    assert said(backtest, "mean", "remaining_s")[1] == pytest.approx(70 * 20 / 30)
    assert said(backtest, "window", "remaining_s")[1] == pytest.approx(70 * 20 / 30)
    # tqdm: EMA of the advances 0.7 x 3 + 0.3 x 20 = 8.1, of the times 0.7 x 3 + 0.3 x 10 = 5.1.
    assert said(backtest, "tqdm", "remaining_s")[1] == pytest.approx(70 * 5.1 / 8.1)


def test_the_window_forgets():
    """An item a step for twenty steps, then three a step for ten: the window of ten steps knows the latter alone."""
    processed = [*range(20), *range(20, 51, 3), 100]
    backtest = eta_backtest(finished(range(0, 10 * len(processed), 10), processed))
    assert said(backtest, "window", "remaining_s")[2] == pytest.approx(50 / 0.3)
    assert said(backtest, "mean", "remaining_s")[2] == pytest.approx(50 / (50 / 300))


def test_missing_the_truth_by_half_a_poll_is_no_miss():
    """The samples know the end to half an interval only."""
    backtest = eta_backtest(STEADY, interval=1e-9)
    assert said(backtest, "mops", "covered") == [True] * 5
    far = finished([*range(0, 100, 5), 300], [*range(0, 100, 5), 100])
    assert said(eta_backtest(far, interval=1e-9), "mops", "covered") == [False] * 5


def test_peers_have_no_interval():
    """A progress bar says no interval: low and high are NaN, covered is NA."""
    backtest = eta_backtest(STEADY)
    peers = backtest[backtest["method"] != "mops"]
    assert peers[["remaining_low_s", "remaining_high_s", "covered"]].isna().all(axis=None)


@pytest.mark.parametrize("end", ["failed", "cancelled", "in_progress", "awaiting_review"])
def test_only_jobs_that_went_through_their_items_count(end):
    """A job that failed, was cancelled or goes on has no true finish."""
    assert eta_backtest(finished([0, 10, 20], [0, 50, 100], end=end)).empty


@pytest.mark.parametrize("end", ["completed", "completed_with_warnings", "partial_success"])
def test_jobs_that_went_through_their_items_count(end):
    """However many items failed, all of them were worked on."""
    assert not eta_backtest(finished([0, 10, 20], [0, 50, 100], end=end)).empty


def test_shares_done_before_the_first_sample_are_left_out():
    """Whoever attached at 40 % has no forecast for 25 %."""
    backtest = eta_backtest(finished([0, 10, 20, 30], [40, 60, 80, 100]))
    assert said(backtest, "mops", "share_done") == [0.5, 0.75]


def test_jobs_that_were_never_seen_running():
    """A job known only by its end, and no jobs at all: no rows, all columns."""
    for samples in (finished([0], [100]), finished([0], [100]).iloc[:0]):
        backtest = eta_backtest(samples)
        assert backtest.empty
        assert backtest.shape[1] == 9


def test_summary_counts_jobs_alike():
    """Each job has the same say in how often the interval held, however many of its moments were replayed."""
    backtest = pd.DataFrame(
        {
            "job_id": ["a", "a", "a", "a", "b", "b"],
            "method": ["mops", "mops", "mops", "mops", "mops", "mean"],
            "share_done": [0.1, 0.25, 0.5, 0.75, 0.5, 0.5],
            "log_error": [0.5, 0.5, np.log(1.1), 0.5, np.log(1.3), 9],
            "covered": [True, True, True, True, False, pd.NA],
        }
    )
    # The median of the logarithms 0.0953 and 0.2624 is 0.1788: 20 %.
    assert backtest_summary(backtest) == "80 % interval held 50 % over your last 2 jobs; median error at half-way 20 %"


def test_summary_of_one_job():
    """One job is one job."""
    line = backtest_summary(eta_backtest(STEADY, interval=0.95), interval=0.95)
    assert line == "95 % interval held 100 % over your last 1 job; median error at half-way 5 %"


def test_summary_of_nothing():
    """Before the first finished job there is no track record, and it says so."""
    assert backtest_summary(eta_backtest(STEADY.iloc[:-1])) == "no finished job yet: this forecast has no track record"

"""Jobs against those before them, weeks against the week before."""

import numpy as np
import pandas as pd
import pytest
from frames import START, job, jobs

from mops_analysis.metrics.comparison import baseline, comparable, comparison, usual_duration, week_on_week


def ended(job_id, hour, took, *, failed=0, status="completed", items=100, label=None):
    """Build a job of two samples that began so many hours after the start and took so many seconds."""
    start = START + pd.Timedelta(hours=hour)
    words = ["in_progress", status]
    frame = job([0, took], [0, items], failed=[0, failed], total=items, status=words, job_id=job_id, start=start)
    return frame if label is None else frame.assign(label=pd.array([label] * 2, dtype="string"))


def row(table, job_id, measure):
    return table[(table["job_id"] == job_id) & (table["measure"] == measure)].iloc[0]


HISTORY = [ended(f"old-{i}", i, took) for i, took in enumerate([100, 110, 120, 130, 140])]


def test_a_job_is_held_against_the_median_of_those_before_it():
    """Five jobs of 100 to 140 s, then one of 240 s: twice the median, beyond 90 %; later jobs do not count."""
    samples = jobs(*HISTORY, ended("new", 9, 240, failed=3), ended("later", 10, 999))
    table = comparison(samples)
    duration = row(table, "new", "elapsed_s")
    assert (duration["value"], duration["jobs_before"], duration["median"]) == (240, 5, 120)
    assert (duration["low"], duration["high"], duration["change"]) == pytest.approx((104, 136, 1.0))
    assert duration["unusual"]
    assert row(table, "new", "mean_items_per_s")["change"] == pytest.approx(-0.5)
    assert np.isnan(row(table, "new", "failure_rate")["change"])  # the median is 0
    assert row(table, "new", "failure_rate")["unusual"]
    assert row(table, "old-0", "elapsed_s")["jobs_before"] == 0


@pytest.mark.parametrize(
    "other",
    [
        ended("other", 8, 9999, status="cancelled"),
        ended("other", 8, 9999, status="in_progress"),
        ended("other", 8, 9999).assign(progress_percentage=[50.0, 100.0]),
    ],
    ids=["cancelled", "running", "joined half-way"],
)
def test_only_jobs_that_ended_and_were_seen_whole_are_compared_with(other):
    """The others would make every job look quick; of themselves they have no duration unless they ended."""
    table = comparison(jobs(*HISTORY, other, ended("new", 9, 240)))
    assert row(table, "new", "elapsed_s")["jobs_before"] == 5
    if other["status"].iloc[-1] != "cancelled":
        assert np.isnan(row(table, "other", "elapsed_s")["value"])


@pytest.mark.parametrize(("count", "same", "median"), [(5, True, 10), (4, False, 100)])
def test_five_jobs_of_the_same_label_stand_alone(count, same, median):
    """Fewer are too few: then all jobs before count."""
    like = [ended(f"like-{i}", i, 10, label="import") for i in range(count)]
    others = [ended(f"else-{i}", i, 100, label="export") for i in range(6)]
    found = row(comparison(jobs(*like, *others, ended("new", 9, 50, label="import"))), "new", "elapsed_s")
    assert (found["same_label"], found["median"]) == (same, median)


def test_four_jobs_make_no_usual_range():
    """Nothing is called unusual before there are five."""
    assert not comparison(jobs(*HISTORY[:4], ended("new", 9, 9999)))["unusual"].any()


def test_only_the_jobs_asked_for_are_compared_and_no_input_is_changed():
    """The others stay what is usual."""
    samples = jobs(*HISTORY, ended("new", 9, 240))
    before = samples.copy(deep=True)
    assert comparison(samples, job_ids=["new"])["job_id"].unique().tolist() == ["new"]
    assert comparison(samples, job_ids=["new"])["jobs_before"].tolist() == [5, 5, 5]
    pd.testing.assert_frame_equal(samples, before)
    assert comparison(samples.iloc[:0]).empty


def test_one_job_may_be_asked_for_by_its_id_alone():
    """It is that job, and none whose id is a part of it."""
    samples = jobs(*(ended(f"job-{i}", i, 60) for i in (1, 2, 12)))
    assert comparison(samples, job_ids="job-12")["job_id"].unique().tolist() == ["job-12"]


def test_the_jobs_to_compare_with_come_after_the_job_itself():
    """Also those after it, the newest last, at most thirty."""
    many = [ended(f"job-{i:02d}", i, 60) for i in range(40)]
    found = comparable(jobs(*many), "job-05")["job_id"].tolist()
    assert found == ["job-05", *(f"job-{i}" for i in range(10, 40))]


def test_the_baseline_is_that_of_the_other_ended_jobs():
    """Five or more of them; the job itself and what still runs do not count."""
    jobs = pd.DataFrame({"job_id": list("abcdefg"), "terminal": [True] * 6 + [False]})
    jobs["failure_rate"] = [0.9, 0.01, 0.02, 0.03, 0.04, 0.05, 0.9]
    assert baseline(jobs, "a") == pytest.approx((0.03, 0.014, 0.046))
    assert baseline(jobs.iloc[:5], "a") is None


def test_the_usual_duration_is_that_of_the_others():
    """Of 60, 60 and 240 s beside the job's own 9,999 s the median is 60 s; of no others it is unknown."""
    samples = jobs(*(ended(f"job-{n}", n, seconds) for n, seconds in enumerate([60, 60, 240, 9999])))
    assert usual_duration(comparable(samples, "job-3"), "job-3") == (3, 60.0)
    alone = comparable(samples.query("job_id == 'job-3'"), "job-3")
    assert usual_duration(alone, "job-3") == (0, pytest.approx(np.nan, nan_ok=True))


def day(date, items, job_id):
    """Build a job that finished so many items in ten minutes of a day."""
    return ended(job_id, (pd.Timestamp(date, tz="UTC") - START) / pd.Timedelta(hours=1), 600, items=items)


def test_a_week_is_compared_on_the_days_that_both_have():
    """Monday and Tuesday against Monday and Tuesday: 300 against 200; days of one week alone are left out."""
    days = [("2026-11-09T10:00", 100), ("2026-11-10T10:00", 100), ("2026-11-11T10:00", 500)]
    days += [("2026-11-16T10:00", 150), ("2026-11-17T10:00", 150), ("2026-11-19T10:00", 900)]
    table = week_on_week(jobs(*(day(date, items, f"job-{n}") for n, (date, items) in enumerate(days))), tz="UTC")
    assert table["week_start"].dt.strftime("%a %d").tolist() == ["Mon 09", "Mon 16"]
    assert table["days"].tolist() == [3, 3]
    assert table["finished_items"].tolist() == [700, 1200]
    assert table["change"].tolist() == pytest.approx([np.nan, 0.5], nan_ok=True)


def test_weeks_are_those_of_the_zone():
    """Sunday 23:30 UTC is Monday in Berlin."""
    samples = day("2026-11-15T23:30", 100, "late")
    assert week_on_week(samples, tz="UTC")["week_start"].dt.strftime("%d").tolist() == ["09"]
    berlin = week_on_week(samples, tz="Europe/Berlin")["week_start"]
    assert [moment.isoformat() for moment in berlin] == ["2026-11-16T00:00:00+01:00"]
    assert week_on_week(samples.iloc[:0]).empty

"""The row about all jobs together; the expected numbers are worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.metrics import fleet, summary

START = pd.Timestamp("2026-11-18T14:00:00Z")

Make = Callable[..., pd.DataFrame]


def row(samples: pd.DataFrame, **options: Any) -> dict[str, Any]:
    """The one row."""
    [found] = fleet(samples, **options).to_dict("records")
    return {str(name): value for name, value in found.items()}


def test_rates_of_running_jobs(make_samples: Make) -> None:
    """Rates are added up; the slowest job is the one that fell most below its own median."""
    samples = pd.concat(
        [
            # Ten seconds apart, window of ten seconds: 1, 1, 2, then 0.5 items/s; the median is 1.
            make_samples([0, 10, 20, 40, 45], job_id="slowed"),
            # 0.1 items/s all the time: the lowest rate, and as usual.
            make_samples([0, 1, 2, 3, 4], job_id="slow"),
            # 2 items/s, ended: it counts for nothing here.
            make_samples([0, 50, 100], job_id="done", status=["in_progress", "in_progress", "completed"]),
        ]
    )
    found = row(samples, window=10)
    assert (found["running"], found["pending"]) == (2, 0)
    assert found["items_per_s"] == pytest.approx(0.6)
    assert found["slowest_job_id"] == "slowed"
    assert found["slowest_share"] == pytest.approx(0.5)
    assert found["slowest_items_per_s"] == pytest.approx(0.5)


def test_failures_of_the_last_half_hour(make_samples: Make) -> None:
    """Only what finished in the window counts; what is usual is the median of at least five ended jobs."""
    end = ["in_progress", "completed"]
    ended = [
        make_samples([0, 100], job_id=f"ended-{failed}", failed=[0, failed], status=end, times=[0, 60])
        for failed in (1, 2, 3, 4, 10)
    ]
    running = make_samples([0, 100, 200], failed=[0, 50, 56], total=1000, times=[0, 3600, 7200])
    found = row(pd.concat([*ended, running]), processed_includes_failed=True)
    # In the last half of its last hour the running job finished 50 items, and 3 of them failed.
    assert found["failure_rate"] == pytest.approx(0.06)
    assert found["failure_rate_low"] < 0.06 < found["failure_rate_high"]
    assert found["failure_rate_usual"] == pytest.approx(0.03)
    assert found["failures_per_usual"] == pytest.approx(2.0)
    few = row(pd.concat([*ended[:4], running]), processed_includes_failed=True)
    assert np.isnan(few["failure_rate_usual"])
    assert np.isnan(few["failures_per_usual"])


def test_the_failure_window_ends_now(make_samples: Make) -> None:
    """A job that ended half an hour ago does not count with what failed long before that; nor does what comes later."""
    samples = make_samples(
        [0, 500, 500, 1000], failed=[0, 0, 500, 500], total=1500, status=["in_progress"] * 3 + ["failed"],
        times=[0, 600, 1200, 2400],
    )  # fmt: skip
    counts = {"processed_includes_failed": False, "failure_window": "30min"}
    # Of the last 30 minutes the job ran for 10: 250 of its last 500 items, none of which failed.
    assert row(samples, now=START + pd.Timedelta("60min"), **counts)["failure_rate"] == 0.0
    # Half of the failures came within the last 35 minutes, with 500 good items after them.
    late = row(samples, now=START + pd.Timedelta("50min"), processed_includes_failed=False, failure_window="35min")
    assert late["failure_rate"] == pytest.approx(250 / 750)
    # At 15 minutes 250 had failed, after 500 good ones.
    early = row(samples, now=START + pd.Timedelta("15min"), **counts)
    assert early["failure_rate"] == pytest.approx(250 / 750)


def test_the_finish_of_the_last_job(make_samples: Make) -> None:
    """The latest forecast, and the latest of both its ends; a job without a forecast is counted."""
    samples = pd.concat(
        [
            make_samples(list(range(0, 300, 10)), job_id="soon", total=400),
            make_samples(list(range(0, 300, 10)), job_id="late", total=4000),
            make_samples([0], job_id="new"),
        ]
    )
    found, jobs = row(samples), summary(samples).set_index("job_id")
    assert found["all_done_by"] == jobs.loc["late", "eta"]
    assert found["all_done_by_low"] == jobs["eta_low"].max()
    assert found["all_done_by_high"] == jobs["eta_high"].max()
    assert found["unforecast"] == 1


def test_what_ended_today(make_samples: Make) -> None:
    """Today begins at midnight of the zone, and `now` says which day it is."""
    samples = pd.concat(
        [
            make_samples([0, 100], job_id=f"{status}-{hours}", status=["in_progress", status], times=[0, hours * 3600])
            for status, hours in [
                ("completed", 1),  # 15:00 UTC on the 18th
                ("partial_success", 9),  # 23:00 UTC, midnight in Berlin
                ("failed", 10),  # the 19th
                ("completed", 10),
            ]
        ]
    )
    names = ("ended_today", "ended_well_today", "ended_partly_today", "ended_badly_today")
    in_utc, in_berlin = row(samples), row(samples, tz="Europe/Berlin")
    assert [in_utc[name] for name in names] == [2, 1, 0, 1]
    assert [in_berlin[name] for name in names] == [3, 1, 1, 1]
    assert row(samples, now="2026-11-20T12:00Z")["ended_today"] == 0


def test_no_jobs() -> None:
    """Of nothing, the counts are 0 and the rest is unknown."""
    found = row(schema.to_frame([]))
    assert (found["running"], found["ended_today"]) == (0, 0)
    assert all(pd.isna(found[name]) for name in ("all_done_by", "items_per_s", "failure_rate", "slowest_job_id"))


def test_a_summary_at_hand(make_samples: Make) -> None:
    """Who has the summary already gets the same row without computing it again; neither frame is changed."""
    samples = make_samples(list(range(0, 300, 10)), total=400)
    at_hand = summary(samples)
    before = at_hand.copy(deep=True), samples.copy(deep=True)
    pd.testing.assert_frame_equal(fleet(samples, summary=at_hand), fleet(samples))
    pd.testing.assert_frame_equal(at_hand, before[0])
    pd.testing.assert_frame_equal(samples, before[1])


def test_jobs_that_ended_long_ago_say_how_the_service_counts(make_samples: Make) -> None:
    """A job that does not tell takes the word of all others, also of those that count for nothing else here."""
    ended = make_samples(
        [0, 50, 100], failed=[0, 5, 10], job_id="ended", status=["in_progress", "in_progress", "completed"]
    )
    running = make_samples(
        [0, 60, 120], failed=[0, 30, 60], total=1000, progress_percentage=0, times=[7200, 7260, 7320], job_id="running"
    )
    samples = pd.concat([ended, running])
    found, jobs = row(samples), summary(samples).set_index("job_id")
    # Processed includes the failed: 60 items a minute, half of them failed.
    assert found["items_per_s"] == jobs.loc["running", "last_items_per_s"] == pytest.approx(1.0)
    assert found["failure_rate"] == jobs.loc["running", "failure_rate"] == pytest.approx(0.5)


def test_a_present_without_a_zone(make_samples: Make) -> None:
    """It is refused with the cure, as are words and years that are none."""
    for now in ("2026-11-18T14:00", "soon", "3000-01-01T00:00Z", pd.NaT, object()):
        with pytest.raises(SchemaError, match=r"now: expected a time with a zone"):
            fleet(make_samples([0, 10]), now=now)
        with pytest.raises(SchemaError, match=r"now: expected a time with a zone"):
            summary(make_samples([0, 10]), now=now)


def test_a_zone_that_is_none(make_samples: Make) -> None:
    """It is refused as by the other metrics."""
    with pytest.raises(SchemaError, match="tz: expected a time zone"):
        fleet(make_samples([0, 10]), tz="Nowhere/City")


def test_windows_in_seconds(make_samples: Make) -> None:
    """A number of seconds is as good as an offset string, and what is neither is refused by its name."""
    samples = make_samples([0, 100, 200], failed=[0, 50, 56], total=1000, times=[0, 3600, 7200])
    in_words = fleet(samples, window="10min", failure_window="30min")
    pd.testing.assert_frame_equal(fleet(samples, window=600, failure_window=1800), in_words)
    pd.testing.assert_frame_equal(fleet(samples, window=600, failure_window=1800.0, summary=summary(samples)), in_words)
    with pytest.raises(SchemaError, match="failure_window: expected seconds or a duration"):
        fleet(samples, failure_window="bananas")


def test_jobs_seen_within_a_window_in_seconds(make_samples: Make) -> None:
    """An ended job that was last seen ten minutes before the newest sample counts in a window of 1800 s."""
    samples = pd.concat(
        [
            make_samples([0, 100], job_id="ended", failed=[0, 10], status=["in_progress", "failed"], times=[0, 600]),
            make_samples([0, 0], job_id="waits", status="pending", times=[0, 1200]),
        ]
    )
    assert row(samples, failure_window=1800, processed_includes_failed=True)["failure_rate"] == pytest.approx(0.1)


def test_what_is_no_samples_frame(make_samples: Make) -> None:
    """It is refused as everywhere, also where the summary is at hand."""
    samples = make_samples([0, 10])
    with pytest.raises(SchemaError, match="column 'job_id' is missing"):
        fleet(samples.drop(columns="job_id"), summary=summary(samples))
    with pytest.raises(SchemaError, match="expected a samples frame"):
        fleet([1, 2], summary=summary(samples))

"""Facts about throughput, with answers worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import START, job, jobs
from hypothesis import given, settings
from hypothesis import strategies as st

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import throughput, throughput_by

NAN = float("nan")


def rates(samples, **options) -> list[float]:
    return throughput(samples, **options)["items_per_s"].tolist()


def intervals(samples) -> list[float]:
    return throughput(samples)["interval_items_per_s"].tolist()


def same(values, expected) -> bool:
    return np.allclose(values, expected, rtol=1e-12, atol=0, equal_nan=True)


def test_rate_is_items_over_the_window():
    """At 90 s, a window of 60 s reaches back to 30 s, where 30 of 60 items were done: (120 - 30) / 60."""
    assert same(rates(job([0, 60, 90], [0, 60, 120]), window=60), [NAN, 1.0, 1.5])


def test_window_is_cut_at_the_start_and_silent_below_half():
    """A window of 2 min says nothing at 30 s; at 60 s it has 60 s, at 130 s all 120."""
    samples = job([0, 30, 60, 130], [0, 30, 90, 90])
    assert same(rates(samples, window="2min"), [NAN, NAN, 1.5, 80 / 120])


def test_interval_is_the_rate_since_the_previous_sample():
    """It needs no window, and its first value is NaN."""
    assert same(intervals(job([0, 30, 40], [0, 30, 50])), [NAN, 1.0, 2.0])


def test_fall_is_no_work_and_no_negative_rate():
    """50, a fall to 10, then 40: 30 items of work after the fall."""
    frame = throughput(job([0, 60, 120, 180], [0, 50, 10, 40]), window=180)
    assert frame["finished_items"].tolist() == [0, 50, 50, 80]
    assert same(frame["interval_items_per_s"], [NAN, 50 / 60, 0, 0.5])
    assert same(frame["items_per_s"], [NAN, NAN, 50 / 120, 80 / 180])


def test_first_sample_is_an_offset():
    """A job that was at 500 when sampling began has finished nothing yet."""
    assert throughput(job([0, 60], [500, 560]))["finished_items"].tolist() == [0, 60]
    assert same(rates(job([0, 60], [500, 560])), [NAN, 1.0])


def test_pending_time_does_not_count():
    """The clock starts at the first in_progress sample: 60 items in the minute after it."""
    samples = job([0, 300, 600, 660], [0, 0, 0, 60], status=["pending"] * 2 + ["in_progress"] * 2)
    assert same(intervals(samples), [NAN, NAN, NAN, 1.0])
    assert same(rates(samples), [NAN, NAN, NAN, 1.0])


def test_first_increment_starts_the_clock_too():
    """A service that keeps saying "pending" is believed less than its counter."""
    samples = job([0, 300, 360], [0, 20, 80], status="pending")
    assert same(rates(samples), [NAN, NAN, 1.0])


def test_review_time_does_not_exist():
    """1 item/s before and after an hour of review: the window joins both sides."""
    status = ["in_progress"] * 2 + ["awaiting_review"] * 2 + ["in_progress"] * 2
    samples = job([0, 60, 70, 3670, 3680, 3740], [0, 60, 70, 70, 70, 130], status=status)
    assert same(rates(samples, window=120), [NAN, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert same(intervals(samples), [NAN, 1, 1, NAN, NAN, 1])


def test_work_while_the_clock_stands_counts_as_finished_alone():
    """What was decided in review is finished, but nobody knows in what time."""
    status = ["in_progress", "in_progress", "awaiting_review", "in_progress", "in_progress"]
    frame = throughput(job([0, 60, 61, 4000, 4060], [0, 60, 60, 160, 220], status=status), window=60)
    assert frame["finished_items"].tolist() == [0, 60, 60, 160, 220]
    assert same(frame["items_per_s"].iloc[-1:], [1.0])


def test_rate_is_silent_in_a_gap():
    """After 100 s without samples a window of 60 s lies in the gap; 40 s later a third of it does."""
    samples = job([0, 10, 20, 30, 130, 140, 150, 160, 170], 10 * np.arange(9))
    assert same(rates(samples, window=60)[4:], [NAN, NAN, NAN, 30 / 60 + 10 * 30 / 100 / 60, 40 / 60 + 2 / 60])


def test_equal_times_divide_by_nothing():
    """Two samples of one instant: no interval rate, and the items count."""
    samples = job([0, 60, 60, 120], [0, 60, 70, 130])
    assert same(intervals(samples), [NAN, 1.0, NAN, 1.0])
    assert same(rates(samples, window=120), [NAN, 1.0, 70 / 60, 130 / 120])


def test_one_row_and_a_job_that_never_ran():
    """Nothing to say is NaN."""
    assert same(rates(job([0], [5])), [NAN])
    assert same(rates(job([0, 60, 120], [9, 9, 9], status="completed")), [NAN] * 3)


@pytest.mark.parametrize("window", [0, -5, "soon", None, True, float("nan"), float("inf")])
def test_window_must_be_a_duration(window):
    """A message says what was expected."""
    with pytest.raises(SchemaError, match="window: expected seconds or a duration such as '2min'"):
        throughput(job([0], [0]), window=window)


def test_periods_share_out_what_was_finished_between_samples():
    """100 items from 14:05 to 14:15 are 50 before and 50 after 14:10."""
    frame = throughput_by(job([300, 900, 1200], [0, 100, 160], failed=[0, 0, 4]), every="10min")
    assert list(frame.columns) == ["job_id", "period_start", "finished_items", "failed_items", "items_per_s"]
    assert frame["period_start"].tolist() == [START, START + pd.Timedelta("10min")]
    assert frame["finished_items"].tolist() == [50 + 0, 50 + 64]
    assert frame["failed_items"].tolist() == [0, 4]
    assert same(frame["items_per_s"], [50 / 600, 114 / 600])


def test_a_sample_on_an_edge_ends_the_period_before_it():
    """A job sampled from 14:00 to 14:10 sharp has one period."""
    frame = throughput_by(job([0, 600], [0, 100]), every="10min")
    assert frame["finished_items"].tolist() == [100]


def test_a_long_step_fills_every_period_it_spans():
    """90 items in three hours are 30 an hour."""
    assert throughput_by(job([0, 3 * 3600], [0, 90]), every="1h")["finished_items"].tolist() == [30, 30, 30]


def test_one_sample_is_one_empty_period():
    """A job seen once has a row, with nothing in it."""
    assert throughput_by(job([5], [70]), every="1min")["finished_items"].tolist() == [0]


def test_groups_add_up_their_jobs():
    """Two jobs of one merchant, one of another; all together."""
    samples = jobs(
        job([0, 60], [0, 10], job_id="a").assign(label="Acme"),
        job([0, 120], [0, 40], job_id="b").assign(label="Acme"),
        job([60, 120], [5, 6], job_id="c").assign(label="Bolt"),
    )
    merchants = throughput_by(samples, every=60, by="label")
    assert list(merchants.columns) == ["label", "period_start", "finished_items", "failed_items", "items_per_s"]
    assert merchants["label"].tolist() == ["Acme", "Acme", "Bolt"]
    assert merchants["finished_items"].tolist() == [30, 20, 1]
    everything = throughput_by(samples, every=60, by=None)
    assert list(everything.columns) == ["period_start", "finished_items", "failed_items", "items_per_s"]
    assert everything["finished_items"].tolist() == [30, 21]
    assert throughput_by(samples, every=60)["label"].tolist() == ["Acme"] * 3 + ["Bolt"]


def test_days_follow_the_clock_on_the_wall():
    """Berlin, autumn 2026: the day of the change has 25 hours; 1 item/s all the time."""
    start = pd.Timestamp("2026-10-24T00:00", tz="Europe/Berlin")
    hours = np.arange(0, 24 + 25 + 24 + 1, 1)
    frame = throughput_by(
        job(hours * 3600, hours * 3600, start=start.tz_convert("UTC")), every="1D", tz="Europe/Berlin"
    )
    assert [str(day) for day in frame["period_start"]] == [
        "2026-10-24 00:00:00+02:00",
        "2026-10-25 00:00:00+02:00",
        "2026-10-26 00:00:00+01:00",
    ]
    assert frame["finished_items"].tolist() == [24 * 3600, 25 * 3600, 24 * 3600]
    assert frame["items_per_s"].tolist() == [1, 1, 1]


def test_an_hour_shown_twice_is_two_periods_of_an_hour():
    """02:00 comes twice in Berlin on that night, and 02:00 never comes in spring."""
    start = pd.Timestamp("2026-10-25T00:00Z")
    autumn = throughput_by(job([0, 7200], [0, 7200], start=start), every="1h", tz="Europe/Berlin")
    assert [str(hour) for hour in autumn["period_start"]] == ["2026-10-25 02:00:00+02:00", "2026-10-25 02:00:00+01:00"]
    spring = throughput_by(
        job([0, 7200], [0, 7200], start=pd.Timestamp("2026-03-29T00:00Z")), every="1h", tz="Europe/Berlin"
    )
    assert [str(hour) for hour in spring["period_start"]] == ["2026-03-29 01:00:00+01:00", "2026-03-29 03:00:00+02:00"]
    assert autumn["items_per_s"].tolist() == spring["items_per_s"].tolist() == [1, 1]


def test_periods_follow_a_zone_of_odd_offset():
    """Kathmandu is 5:45 ahead: its hours begin at a quarter past ours."""
    frame = throughput_by(job([0, 1800], [0, 30]), every="1h", tz="Asia/Kathmandu")
    assert [str(hour) for hour in frame["period_start"]] == ["2026-11-18 19:00:00+05:45", "2026-11-18 20:00:00+05:45"]
    assert frame["finished_items"].tolist() == [15, 15]


def test_no_samples_no_periods():
    """The columns stand, with their dtypes."""
    frame = throughput_by(job([], []), tz="Europe/Berlin")
    assert len(frame) == 0
    assert str(frame["period_start"].dtype) == "datetime64[ns, Europe/Berlin]"
    assert len(throughput_by(job([], []), by=None)) == 0


def test_unknown_zone_and_column_are_named():
    """A message says what was expected."""
    with pytest.raises(SchemaError, match="tz: expected a time zone such as 'UTC' or 'Europe/Berlin', got 'Berlin'"):
        throughput_by(job([0], [0]), tz="Berlin")
    with pytest.raises(SchemaError, match="by: expected 'job', None or a column of the samples, got \\['label'\\]"):
        throughput_by(job([0, 10], [0, 1]), by=["label"])
    with pytest.raises(SchemaError, match="by: expected 'job', None or a column of the samples, got 'merchant'"):
        throughput_by(job([0], [0]), by="merchant")


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300_000)), min_size=1, max_size=25),
    st.sampled_from([7, 61, 600, 86_400, "1h"]),
    st.sampled_from(["job", None, "status"]),
)
def test_periods_add_up_exactly(steps, every, by):
    """The sum over all periods is the total increment, to the last bit."""
    seconds = np.cumsum([step / 10 for step, _ in steps])
    samples = job(seconds, np.cumsum([items for _, items in steps]), failed=np.arange(len(steps)) // 2)
    samples = jobs(samples, samples.assign(job_id="job-2", processed_items=samples["processed_items"] // 3))
    total = throughput(samples).groupby("job_id")["finished_items"].last().sum()
    frame = throughput_by(samples, every=every, by=by)
    assert frame["finished_items"].sum() == total
    assert sum(frame["finished_items"]) == total
    assert frame["failed_items"].sum() == 2 * ((len(steps) - 1) // 2)
    assert frame["finished_items"].min() >= 0

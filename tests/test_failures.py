"""Facts about failure rates, with answers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from frames import job

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import failure_rate
from mops_analysis.metrics.failures import per_usual

NAN = float("nan")
DISJOINT = {"processed_includes_failed": False}


def same(values, expected) -> bool:
    return np.allclose(values, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_cumulative_rate_is_failed_over_finished():
    """2 failed and 18 processed are 2 of 20."""
    frame = failure_rate(job([0, 60, 120], [0, 10, 18], failed=[0, 0, 2]), **DISJOINT)
    assert frame["failed"].tolist() == [0, 0, 2]
    assert frame["finished"].tolist() == [0, 10, 20]
    assert same(frame["failure_rate"], [NAN, 0, 0.1])


def test_the_rule_decides_the_denominator():
    """2 failed of 18 processed, or of 20."""
    samples = job([0, 60], [0, 18], failed=[0, 2])
    assert same(failure_rate(samples, processed_includes_failed=True)["failure_rate"], [NAN, 2 / 18])


def test_cumulative_counts_begin_with_the_job():
    """Attached half-way: what the service counted before the first sample belongs to the rate."""
    frame = failure_rate(job([0, 60], [90, 180], failed=[10, 20]), **DISJOINT)
    assert same(frame["failure_rate"], [0.1, 0.1])
    assert frame["finished"].tolist() == [100, 200]


def test_window_counts_run_straight_from_sample_to_sample():
    """In the last 60 s before 90 s: half of the first minute's 60 items with 6 failures, and all of the rest."""
    frame = failure_rate(job([0, 60, 90], [0, 54, 80], failed=[0, 6, 10]), window=60, **DISJOINT)
    assert same(frame["failed"], [0, 6, 7])
    assert same(frame["finished"], [0, 60, 60])
    assert same(frame["failure_rate"], [NAN, 0.1, 7 / 60])


def test_window_forgets_what_came_before():
    """A bad start is in the cumulative rate for ever, in the window for its width."""
    samples = job([0, 60, 120, 180], [0, 0, 50, 100], failed=[0, 10, 10, 10])
    assert same(failure_rate(samples, window="1min", **DISJOINT)["failure_rate"], [NAN, 1, 0, 0])
    assert same(failure_rate(samples, **DISJOINT)["failure_rate"], [NAN, 1, 10 / 60, 10 / 110])


def test_wilson_interval_of_ten_in_a_hundred():
    """Wilson 1927 by hand, z = 1.959964: centre (0.1 + z²/200) / (1 + z²/100), half width as in the paper."""
    frame = failure_rate(job([0, 60], [0, 90], failed=[0, 10]), **DISJOINT)
    z = 1.959963984540054
    centre = (0.1 + z**2 / 200) / (1 + z**2 / 100)
    half = z * np.sqrt(0.1 * 0.9 / 100 + z**2 / 40_000) / (1 + z**2 / 100)
    assert same(frame["failure_rate_low"], [NAN, centre - half])
    assert same(frame["failure_rate_high"], [NAN, centre + half])
    assert round(centre - half, 4) == 0.0552


def test_confidence_widens_the_interval():
    """99 % holds more than 50 %."""
    samples = job([0, 60], [0, 90], failed=[0, 10])
    narrow, wide = (failure_rate(samples, confidence=confidence).iloc[1] for confidence in (0.5, 0.99))
    assert wide["failure_rate_low"] < narrow["failure_rate_low"] < 0.1
    assert 0.1 < narrow["failure_rate_high"] < wide["failure_rate_high"]


def test_bounds_stay_within_0_and_1():
    """Nothing failed: low is 0; all failed: high is 1."""
    none, every = (failure_rate(job([0, 60], [0, 10 - n], failed=[0, n]), **DISJOINT).iloc[1] for n in (0, 10))
    assert none["failure_rate_low"] == 0 == none["failure_rate"]
    assert every["failure_rate_high"] == 1 == every["failure_rate"]


def test_falls_take_nothing_back():
    """A retry that starts both counters again adds to what was counted: 100 + 50 items, 10 + 1 failures."""
    samples = job([0, 60, 120, 180], [0, 90, 0, 49], failed=[0, 10, 0, 1])
    frame = failure_rate(samples, **DISJOINT)
    assert frame["finished"].tolist() == [0, 100, 100, 150]
    assert frame["failed"].tolist() == [0, 10, 10, 11]


def test_more_failed_than_finished_has_no_rate():
    """Counts that contradict each other give no number, and the counts stay visible."""
    frame = failure_rate(job([0, 60], [0, 3], failed=[0, 12]), processed_includes_failed=True)
    assert frame["failed"].tolist() == [0, 12]
    assert same(frame["failure_rate"], [NAN, NAN])


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, True, "95%", float("nan")])
def test_confidence_must_be_a_share(confidence):
    """A message says what was expected."""
    with pytest.raises(SchemaError, match=r"confidence: expected a share between 0 and 1 such as 0.95"):
        failure_rate(job([0], [0]), confidence=confidence)


def test_window_must_be_a_duration():
    """A message says what was expected."""
    with pytest.raises(SchemaError, match="window: expected seconds or a duration"):
        failure_rate(job([0], [0]), window=-1)


def test_a_multiple_of_the_usual_rate():
    """Six percent are twice three percent; of nothing, and of what is unknown, there is no multiple."""
    assert per_usual(0.06, 0.03) == 2
    assert np.isnan([per_usual(0.06, 0), per_usual(0.06, NAN), per_usual(NAN, 0.03)]).all()

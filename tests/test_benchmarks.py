"""The drivers of the goals: they measure the right thing, and say whether the goal is reached."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the drivers are no part of the package

from benchmarks import sharded_schedule  # noqa: E402  found through the line above
from benchmarks.driver import Figure, ratio  # noqa: E402

DRIVERS = sorted(path.stem for path in (ROOT / "benchmarks").glob("p[0-9][0-9].py"))


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_finds_equal_results(name):
    """The small variant compares both ways, and gives figures of its own goal, each with a bound."""
    figures = importlib.import_module(f"benchmarks.{name}").measure(small=True)
    assert figures
    assert {figure.goal for figure in figures} == {name.upper().replace("P0", "P")}
    assert all(np.isfinite(figure.value) for figure in figures)
    assert all(figure.at_most is not None or figure.at_least is not None for figure in figures)


def test_a_figure_says_whether_its_goal_is_reached():
    """A bound itself is reached; what lies beyond is missed."""
    assert str(Figure("P18", "a / b", 1.5, at_most=1.5)).endswith("1.5 x  (goal: at most 1.5 x; reached)")
    assert "MISSED" in str(Figure("P12", "a / b", 29.0, at_least=30))


def test_a_ratio_is_the_median_of_the_rounds():
    """Each round is compared with itself: 2, 3 and 10 give 3."""
    assert ratio({"new": [2.0, 3.0, 10.0], "old": [1.0, 1.0, 1.0]}, "new", "old") == 3.0


def test_drivers_run_from_the_command_line():
    """`--help` of a driver says what it measures."""
    command = [sys.executable, "-m", "benchmarks.sharded_schedule", "--small"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "1,000 jobs on 10 samplers" in told.stdout
    assert told.stderr == ""


# -- the sharded schedule --------------------------------------------------------------------------------------------


def test_a_sampler_is_on_time_until_its_core_is_busy():
    """3 s hold 6,666 polls of 0.45 ms: 2,000 jobs are on time, 7,000 cannot be."""
    assert np.quantile(sharded_schedule.lateness(2000, 9.0), 0.99) < 0.001
    assert np.quantile(sharded_schedule.lateness(7000, 9.0), 0.5) > 0.05


def test_shards_lose_no_job_and_spread_their_requests():
    """Every job has one sampler, and the service's busiest tenth of a second is like any other."""
    sizes = sharded_schedule.shards([f"job-{number}" for number in range(20_000)], 10)
    assert sizes.sum() == 20_000
    counts = sharded_schedule.arrivals(sizes)
    assert counts.sum() == 20_000
    assert counts.max() < 1.05 * counts.mean()


def test_cost_falls_with_the_jobs_of_a_sampler():
    """Twice the jobs on a core, half the price of cores; 2,000 jobs: 0.04 $ / 2.4 million samples an hour."""
    assert sharded_schedule.cost(2000).cores == pytest.approx(0.04 / 2.4)
    assert sharded_schedule.cost(4000).cores == pytest.approx(0.02 / 2.4)

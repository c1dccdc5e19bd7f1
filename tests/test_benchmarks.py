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
from benchmarks.driver import Figure, in_turns, ratio  # noqa: E402
from benchmarks.polling import lateness  # noqa: E402
from benchmarks.service import Log  # noqa: E402

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


def test_uneven_rounds_are_measured_once_more():
    """Two rounds of 1 s are enough; where the best ones take 1 s and 2 s, two more are measured, and no third time."""
    times = iter([0, 1, 1, 2])
    assert in_turns({"a": int}, 2, clock=lambda: next(times)) == {"a": [1, 1]}
    times = iter([0, 1, 1, 3, 3, 6, 6, 10])
    assert in_turns({"a": int}, 2, clock=lambda: next(times)) == {"a": [1, 2, 3, 4]}


def test_lateness_is_counted_from_the_grid_of_each_job():
    """Every 3 s from 100 and from 101.4: one request 0.1 s late, the first one at that; one never came."""
    log = Log(requests=[(100.0, 0), (101.5, 1), (103.0, 0), (104.4, 1), (106.05, 0)])
    late, _, job, missed = lateness(log, 3.0, 108.0, has_hung=False, has_a_tick=False)
    assert late.tolist() == pytest.approx([0.0, 0.1, 0.0, 0.0, 0.05])
    assert job.tolist() == [0, 1, 0, 1, 0]
    assert missed == 1  # 107.4


def test_lateness_is_counted_from_a_common_tick():
    """Where all jobs are asked at each tick, they are late from the first request of any; hung ones do not count."""
    log = Log(requests=[(100.0, 1), (100.5, 20), (101.0, 2), (103.2, 1), (105.5, 2)])
    late, _, job, missed = lateness(log, 3.0, 105.0, has_hung=True, has_a_tick=True)
    assert late.tolist() == pytest.approx([0.0, 1.0, 0.2, 2.5])
    assert job.tolist() == [1, 2, 1, 2]
    assert missed == 0


# -- the sharded schedule --------------------------------------------------------------------------------------------


def test_a_sampler_is_on_time_until_its_core_is_busy():
    """3 s hold 4,285 polls of 0.7 ms: 2,000 jobs are on time, 4,500 cannot be."""
    assert np.quantile(sharded_schedule.lateness(2000, 9.0), 0.99) < 0.001
    assert np.quantile(sharded_schedule.lateness(4500, 9.0), 0.5) > 0.05


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

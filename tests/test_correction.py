"""Facts about the learned correction: its inputs, its arithmetic, its data, and what it may never do."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from test_eta import job
from test_eta_properties import likely_jobs

from mops_analysis.metrics import eta
from mops_analysis.metrics.arrays import Arrays
from mops_analysis.metrics.correction import _network, correct, features
from mops_analysis.metrics.pace import estimate_remaining
from mops_analysis.metrics.running import Running, count_work

WEIGHTS = files("mops_analysis").joinpath("data/eta_network.npz")


def counted(samples) -> Running:
    return count_work(Arrays.of(samples), np.full(len(samples), True))


def inputs(samples) -> np.ndarray:
    running = counted(samples)
    return features(running, estimate_remaining(running))


def test_the_weights_are_a_small_file_of_numbers():
    """Tens of kilobytes, read without pickle, all finite."""
    assert len(WEIGHTS.read_bytes()) < 64_000
    with WEIGHTS.open("rb") as file, np.load(file, allow_pickle=False) as data:
        assert all(np.isfinite(data[name]).all() for name in data.files)
        assert data["weights1"].shape == (40, 64)
        assert data["weights3"].shape == (48, 5)


def test_the_network_is_its_formula():
    """tanh(tanh(x W + b) W + b) W + b on standardised inputs, in plain floating point."""
    x = inputs(likely_jobs(7))
    with WEIGHTS.open("rb") as file, np.load(file, allow_pickle=False) as data:
        layer = np.clip((x.T - data["mean"]) / data["deviation"], -5, 5)
        for number in (1, 2):
            layer = np.tanh(layer @ data[f"weights{number}"] + data[f"bias{number}"])
        expected = layer @ data["weights3"] + data["bias3"]
    assert pytest.approx(expected, abs=1e-3) == _network(x).T


def test_each_row_goes_through_alone():
    """A row's answer is the same to the last bit, whichever rows go through the network with it."""
    x = inputs(likely_jobs(8))
    together = _network(x)
    alone = np.hstack([_network(x[:, i : i + 1]) for i in range(x.shape[1])])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[:, 5:], _network(x[:, 5:]))


def test_inputs_of_a_constant_job():
    """An item a second of 100, polled each 10 s, after 50 s: nothing was ever wrong, nothing grew, half is done."""
    seconds = np.arange(0, 60, 10)
    x = inputs(job(seconds, seconds))[:, -1]
    assert x.shape == (40,)
    # Past errors, windows that differ, spreads, growth, falls.
    assert x[[*range(14), *range(16, 22), 35, 36, 37]] == pytest.approx(0, abs=1e-9)
    assert x[14] == 1  # regular
    assert x[15] == pytest.approx(np.log(1 / 5))  # longest gap, of the time so far
    assert x[25] == 0.5  # share done
    assert x[27] == pytest.approx(0)  # as much time ahead as behind
    assert x[29] == x[30] == pytest.approx(np.log(6))  # ticks, polls
    assert x[33] == x[34] == 1  # each poll a tick
    assert x[38] == pytest.approx(np.log(20 / 60))  # lead time
    assert x[39] == -7  # nothing done before the first sample


def test_inputs_of_a_job_with_a_past():
    """Attached at 40 of 100, back to 20 after 30 s, its total raised to 200 after 40 s."""
    samples = job(range(0, 60, 10), [40, 50, 60, 20, 30, 40], total=[100, 100, 100, 100, 200, 200])
    x = inputs(samples)[:, -1]
    assert x[16] == 2  # the total grew by 100 in 40 items, which counts as 2
    assert x[20] == pytest.approx(np.log((10 + 10) / (50 + 10)))  # 10 s ago
    assert x[21] == pytest.approx(np.log(2) - np.log(6))  # once in five polls
    assert x[35] == 1  # one fall
    assert x[36] == pytest.approx(np.log((20 + 10) / (50 + 10)))  # 20 s ago
    assert x[37] == 3  # 40 items worked, none of them gained


def test_one_error_counts_as_no_more_than_eight():
    """After five items within 4 ms the sixth takes a day: one error of 17 among four, 8 as an input."""
    running = counted(job([0, 1e-3, 2e-3, 3e-3, 4e-3, 1e5], range(6), total=20))
    estimate = estimate_remaining(running)
    x = features(running, estimate)
    assert estimate.errors[0][-1] > 16 / 4
    assert x[:4, -1] == pytest.approx([8 / 4, -8 / 4, 8 / 4, -8 / 4])
    assert x[0, :-1].tolist() == estimate.errors[0][:-1].tolist()


def test_a_steady_job_keeps_its_estimate():
    """Where no past forecast was ever wrong, there is nothing to correct."""
    seconds = np.arange(0, 300, 10)
    running = counted(job(seconds, seconds, total=400))
    shift, low, high = correct(running, estimate_remaining(running))
    assert shift[1:] == pytest.approx(0, abs=1e-9)
    assert (low > 0).all()
    assert (high > 0).all()


def test_a_total_that_has_fallen_is_not_corrected():
    """The training jobs have no such total, so the plain estimate stands; once it has grown again, it is corrected."""
    seconds = np.arange(0, 60, 10)
    done = seconds**2 // 50
    for total, is_corrected in (([100, 100, 99, 98, 97, 96], False), ([100, 100, 99, 98, 97, 120], True)):
        running = counted(job(seconds, done, total=total))
        shift, low, high = correct(running, estimate_remaining(running))
        assert (shift[-1] != 0) == is_corrected
        assert low[-1] > 0
        assert high[-1] > 0


def test_a_trend_is_seen():
    """Each item takes longer than the one before, t ~ n^2: the correction halves the error of the plain estimate."""
    done = np.arange(0, 60)
    samples = job(done**2 / 10.0, done, total=100)
    truth = (100**2 - 59**2) / 10
    plain, corrected = (eta(samples, correction=on)["remaining_s"].iloc[-1] for on in (False, True))
    assert plain < 0.8 * truth
    assert abs(np.log(corrected / truth)) < abs(np.log(plain / truth)) / 2


def test_without_correction_the_estimate_is_pace_times_work_left():
    """Twice as fast in the newer half, and the plain estimate between both paces; the columns are the same."""
    samples = job(range(0, 200, 10), [*range(0, 100, 10), *range(110, 310, 20)], total=1000)
    plain, corrected = (eta(samples, correction=on) for on in (False, True))
    assert list(plain.columns) == list(corrected.columns)
    assert 700 / 2 <= plain["remaining_s"].iloc[-1] <= 700 / 1
    assert plain["remaining_s"].iloc[-1] != corrected["remaining_s"].iloc[-1]

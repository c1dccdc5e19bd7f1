"""The pace of `eta` beside its definition, written out slowly: event by event, window by window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_eta import job

from mops_analysis.metrics.arrays import Arrays
from mops_analysis.metrics.pace import find_pace
from mops_analysis.metrics.running import count_work


def window_starts(m: int) -> dict[str, int]:
    """First event of each window that ends at event m."""
    starts = {"all": 0} | {f"last {k}": max(m - k, 0) for k in (3, 6, 12, 24, 48)}
    starts |= {f"last 1/{q}": max(m - max(math.ceil(m / q), 2), 0) for q in (2, 4, 8, 16)}
    return starts | ({"without lead": 1} if m >= 2 else {})


def log_pace(tau, work, j: int, m: int) -> float:
    return math.log((tau[m] - tau[j]) / (work[m] - work[j]))


def origin(work, m: int, share: float) -> int | None:
    """Newest event with at most this share of the work of event m, if there is one after the first."""
    fitting = [o for o in range(m) if work[o] <= share * work[m]]
    return fitting[-1] if fitting and fitting[-1] >= 1 else None


def mean_error(tau, work, m: int, share: float, foretold) -> float | None:
    """Mean of |foretold - come true| over the newest ceil(m / 2) + 1 events; `foretold(o)` may be None."""
    errors = []
    for proof in range(m - math.ceil(m / 2), m + 1):
        o = origin(work, proof, share)
        said = None if o is None else foretold(o)
        if said is not None:
            errors.append(abs(said - log_pace(tau, work, o, proof)))
    return sum(errors) / len(errors) if errors else None


def slow_pace(tau, work, m: int) -> float:
    """Mean of the windows' log paces, weighted by (error + 0.02)^-4; equally while no forecast was ever proved."""
    shares = (0.5, 0.8)
    untried = all(
        origin(work, proof, share) is None for share in shares for proof in range(m - math.ceil(m / 2), m + 1)
    )
    total = weights = 0.0
    for name, start in window_starts(m).items():

        def foretold(o: int, name: str = name) -> float | None:
            starts = window_starts(o)
            return log_pace(tau, work, starts[name], o) if name in starts else None

        errors = [mean_error(tau, work, m, share, foretold) for share in shares]
        known = [error for error in errors if error is not None]
        if untried:
            weight = 1.0
        elif known:
            weight = (sum(known) / len(known) + 0.02) ** -4
        else:
            weight = 0.0
        total += weight * log_pace(tau, work, start, m)
        weights += weight
    return total / weights


@pytest.mark.parametrize("seed", range(6))
def test_pace_is_its_definition(seed):
    """Uneven polls, batches and changes of pace: at every event the same pace as the slow definition."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.uniform(1, 20, 120))
    pace = rng.choice([0.2, 1, 4], 4).repeat(30)
    work = np.cumsum(rng.poisson(pace) * rng.integers(1, 10))
    samples = job(seconds, work, total=int(work[-1]) + 50)
    arrays = Arrays.of(samples)
    events = count_work(arrays, np.full(120, True)).events
    found = find_pace(events)
    tau, done = events.tau.tolist(), events.work.tolist()
    assert found.log_pace[1:] == pytest.approx([slow_pace(tau, done, m) for m in range(1, len(tau))], abs=1e-6)
    half = [mean_error(tau, done, m, 0.5, lambda o: slow_pace(tau, done, o)) for m in (len(tau) // 2, len(tau) - 1)]
    assert found.errors[0][[len(tau) // 2, len(tau) - 1]] == pytest.approx(half, abs=1e-6)


def test_ticks_lie_between_their_polls():
    """Every fourth poll finds a move: it happened anywhere since the poll before, on average a bit before half-way."""
    seconds = np.arange(0, 90, 10)
    events = count_work(Arrays.of(job(seconds, [0, 0, 0, 0, 8, 8, 8, 8, 16])), np.full(9, True)).events
    assert events.number.tolist() == [0, 1, 2]
    assert events.newest.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert events.tau.tolist() == [0, 40 - 10 * 0.75 / 2, 80 - 10 * 0.75 / 2]

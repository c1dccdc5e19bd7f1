"""What progress bars would say, from their published formulas, on the same honest counter and running clock.

`mean`, `tqdm` and `window` are those of `eta_backtest`. Here: the moving window of rich, and Prometheus' regression.
Where a peer says nothing it is given the mean, so that all are scored on the same samples.
"""

from __future__ import annotations

import numpy as np

from mops_analysis.metrics.backtest import FORMULAS
from mops_analysis.metrics.running import Running

WINDOW_S, LINE_POLLS = 30.0, 20


def rich(running: Running) -> np.ndarray:
    """Advances of the last 30 s per span of these samples; needs two in the window."""
    first = running.head.copy()
    for start, end in jobs(running):
        t = running.t[start:end]
        first[start:end] = start + np.searchsorted(t, t - WINDOW_S)
    # rich drops the oldest advance: it belongs to the time before the window.
    return _at(running, running.t - running.t[first], running.u - running.done(first))


def predict_linear(running: Running) -> np.ndarray:
    """Least squares over the newest 20 polls, run on until the work is done."""
    slope = np.full(len(running.t), np.nan)
    level = slope.copy()
    done = running.u
    for start, end in jobs(running):
        for i in range(start + 1, end):
            window = slice(max(start, i - LINE_POLLS + 1), i + 1)
            t, u = running.t[window] - running.t[i], done[window].astype(float)
            spread = ((t - t.mean()) ** 2).sum()
            slope[i] = ((t - t.mean()) * u).sum() / spread if spread > 0 else np.nan
            level[i] = done[i] - (u.mean() - slope[i] * t.mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.maximum((running.size - running.work + level) / slope, 0)
    return np.where(np.isfinite(left) & (slope > 0), left, np.nan)


def jobs(running: Running) -> list[tuple[int, int]]:
    starts = np.unique(running.head)
    return list(zip(starts, np.append(starts[1:], len(running.head)), strict=True))


def _at(running: Running, took: np.ndarray, done: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(done > 0, (running.size - running.work) * took / done, np.nan)


def foretell(running: Running) -> dict[str, np.ndarray]:
    """Remaining seconds by every peer."""
    formulas = {**FORMULAS, "rich": rich, "predict_linear": predict_linear}
    answers = {name: formula(running) for name, formula in formulas.items()}
    return {name: np.where(np.isnan(answer), answers["mean"], answer) for name, answer in answers.items()}

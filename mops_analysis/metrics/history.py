"""What finished jobs of a label teach the forecasts of the next one.

Source: the widths follow adaptive conformal inference (Gibbs and Candès, "Adaptive conformal inference under
distribution shift", 2021), across jobs instead of within one, where the truth comes too late. What is learnt, and how
much it helped on jobs that took no part in its design, stands in ``docs/eta.md``.

Conventions: a job learns from the jobs of the same `label` that had finished before its own first running sample, and
only from them; all its rows use the same lessons. Errors are logarithms of truth over forecast.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mops_analysis.metrics.arrays import NS, Arrays, Bools, Floats, Ints
from mops_analysis.metrics.running import finish_ns, finished_rows

#: The error is learnt at so many shares done, and believed as `_Lessons.shift` says.
_SHARES, _DOUBT, _DOUBT_SPREAD = 10, 5, 4
#: One error counts as no more than this; the interval grows and shrinks within these bounds (logarithms).
_MOST_ERROR, _NARROWEST, _WIDEST = 2.0, -2.5, 1.5
#: Share of truths that are to lie on either side of the interval; what a job that missed by more teaches.
_MISSES, _STEP = 0.1, 0.5


@dataclass(frozen=True)
class Outlook:
    """What the own samples of a job say at each running row, r rows.

    Attributes
    ----------
    row
        Number of the row among all sorted samples.
    t
        Running time [s].
    share_done
        Work done, as a share of all work known.
    remaining
        The estimate [s].
    delta
        Mean time between the polls so far [s].
    low, high
        How far the truth may lie below and above, for the fitted interval [logarithms].
    says
        Whether anything can be said.
    """

    row: Ints
    t: Floats
    share_done: Floats
    remaining: Floats
    delta: Floats
    low: Floats
    high: Floats
    says: Bools


class _Lessons:
    """What the jobs of one label have taught so far."""

    def __init__(self) -> None:
        self.jobs, self.errors, self.squares = np.zeros((3, _SHARES))
        self.widen_low = self.widen_high = 0.0

    def shift(self, share_done: Floats) -> Floats:
        """By how much to correct: the mean error at this share done, the less the fewer jobs and the wider the spread.

        Of n jobs with mean error m and variance v around it, m n / (n + 5 + 4 v / m^2) is believed.
        """
        jobs = np.maximum(self.jobs, 1)
        mean = self.errors / jobs
        spread = np.maximum(self.squares / jobs - mean * mean, 0) / np.maximum(mean * mean, 1e-9)
        believed = self.errors / (self.jobs + _DOUBT + _DOUBT_SPREAD * spread)
        return np.interp(share_done, (np.arange(_SHARES) + 0.5) / _SHARES, believed)

    def add(self, share_done: Floats, error: Floats, below: float, above: float) -> None:
        """One job more: its errors by share done, and the shares of truths below and above its interval."""
        place = np.minimum((share_done * _SHARES).astype(np.int64), _SHARES - 1)
        rows = np.bincount(place, minlength=_SHARES)
        clipped = np.clip(error, -_MOST_ERROR, _MOST_ERROR)
        self.jobs += rows > 0
        self.errors += np.bincount(place, clipped, minlength=_SHARES) / np.maximum(rows, 1)
        self.squares += np.bincount(place, clipped * clipped, minlength=_SHARES) / np.maximum(rows, 1)
        self.widen_low = min(max(self.widen_low + _STEP * (below - _MISSES), _NARROWEST), _WIDEST)
        self.widen_high = min(max(self.widen_high + _STEP * (above - _MISSES), _NARROWEST), _WIDEST)


def learn(arrays: Arrays, outlook: Outlook) -> Outlook:
    """Correct the outlook of each labelled job by what finished jobs of its label have taught."""
    taught = replace(outlook, **{name: getattr(outlook, name).copy() for name in ("remaining", "low", "high")})
    edges = np.searchsorted(outlook.row, arrays.edges)
    ends, finish = finished_rows(arrays), finish_ns(arrays)
    for jobs in _by_label(arrays, outlook, edges):
        lessons = _Lessons()
        finished: list[tuple[int, int]] = []
        for job in jobs:
            rows = slice(int(edges[job]), int(edges[job + 1]))
            while finished and finished[0][0] <= arrays.time_ns[outlook.row[rows.start]]:
                earlier = heapq.heappop(finished)[1]
                over = slice(int(edges[earlier]), int(np.searchsorted(outlook.row, ends[earlier])))
                truth = (finish[earlier] - arrays.time_ns[outlook.row[over]]) / NS
                _add(lessons, outlook, taught, over, truth)
            _apply(lessons, outlook, taught, rows)
            if ends[job] >= 0:
                heapq.heappush(finished, (int(arrays.time_ns[ends[job]]), int(job)))
    return taught


def _by_label(arrays: Arrays, outlook: Outlook, edges: Ints) -> Iterator[Ints]:
    """The running jobs of each label, in the order of their first running samples."""
    jobs = np.flatnonzero(np.diff(edges) > 0)
    jobs = jobs[np.argsort(arrays.time_ns[outlook.row[edges[jobs]]], kind="stable")]
    label = pd.factorize(arrays.label()["label"])[0][jobs]
    order = np.argsort(label, kind="stable")
    groups = np.split(jobs[order], np.flatnonzero(np.diff(label[order])) + 1)
    return (group for group, name in zip(groups, np.unique(label), strict=False) if name >= 0)


def _apply(lessons: _Lessons, outlook: Outlook, taught: Outlook, rows: slice) -> None:
    delta = outlook.delta[rows]
    ahead = (outlook.remaining[rows] + delta) * np.exp(lessons.shift(outlook.share_done[rows]))
    taught.remaining[rows] = np.maximum(ahead - delta, 0)
    taught.low[rows] *= np.exp(lessons.widen_low)
    taught.high[rows] *= np.exp(lessons.widen_high)


def _add(lessons: _Lessons, outlook: Outlook, taught: Outlook, rows: slice, truth: Floats) -> None:
    """What one finished job teaches: the errors of its own outlook, and the misses of the interval it was given."""
    said = outlook.says[rows]
    if not said.any():
        return
    delta, truth = outlook.delta[rows][said], truth[said]
    ahead = taught.remaining[rows][said] + delta
    below = (truth < ahead * np.exp(-taught.low[rows][said]) - 1.5 * delta).mean()
    above = (truth > ahead * np.exp(taught.high[rows][said]) - 0.5 * delta).mean()
    error = np.log((truth + delta) / (outlook.remaining[rows][said] + delta))
    lessons.add(outlook.share_done[rows][said], error, float(below), float(above))

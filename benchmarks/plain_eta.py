"""The forecast's definitions for one job, in plain loops: pace times work left, its interval and its hold.

Without the learned correction, for a job with a total, by the disjoint rule. Logarithms are rounded where `eta` sums
them as integers.
"""

from __future__ import annotations

import bisect
import math
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from mops_analysis.metrics.eta import _HIGH, _HOLD, _LOW
from mops_analysis.metrics.running import _NOT_AT_WORK

SHARES = (0.5, 0.8)


class Outlook(NamedTuple):
    """Seconds ahead, mean seconds between polls, and how far the truth may lie below and above (logarithms)."""

    ahead: float
    delta: float
    low: float
    high: float


class Forecast:
    """One job's forecasts, one for each of its running samples."""

    def __init__(self, rows: pd.DataFrame) -> None:
        steps = rows["sampled_at"].astype("int64").diff().fillna(0).astype("int64")
        clock = steps.where(~rows["status"].shift(fill_value="pending").isin(_NOT_AT_WORK), 0).cumsum().tolist()
        self.at = np.flatnonzero(rows["status"] == "in_progress").tolist()
        self.t = [(clock[i] - clock[self.at[0]]) / 1e9 for i in self.at]
        done = (rows["processed_items"] + rows["failed_items"]).iloc[self.at].tolist()
        self.size = [max(pair) for pair in zip(rows["total_items"].iloc[self.at], done, strict=True)]
        self.left = [size - work for size, work in zip(self.size, done, strict=True)]
        self.u = np.cumsum([0, *(max(after - before, 0) for before, after in pairwise(done))])
        self.grown = [size - self.size[0] for size in self.size]
        self.changed = np.cumsum([False, *(np.diff(self.size) != 0)]) > 0
        self.find_events()

    def find_events(self) -> None:
        """The first running sample and the ticks."""
        self.ticks = [0] * len(self.at)
        self.work, self.tau = [0], [0.0]
        for i in range(1, len(self.at)):
            if self.u[i] > self.u[i - 1]:
                self.work.append(int(self.u[i]))
                density = (len(self.work) - 1) / i
                self.tau.append(self.t[i] - (self.t[i] - self.t[i - 1]) * (1 - density) / 2)
            self.ticks[i] = len(self.work) - 1

    def pace(self, start: int, end: int) -> float:
        """Logarithm of the seconds per item from event to event."""
        done = self.work[end] - self.work[start]
        return math.log(max(self.tau[end] - self.tau[start], 1e-6) / done) if done > 0 else 0.0

    def origin(self, m: int, share: float) -> int | None:
        """The newest event by which that share of the work was done: there, today's pace might have been foretold."""
        bound = self.work[m] // 2 if share == 0.5 else self.work[m] * 4 // 5
        found = bisect.bisect_right(self.work, bound, 0, m + 1) - 1
        return found if found >= 1 and self.work[found] < self.work[m] else None

    def starts(self, m: int) -> list[int | None]:
        """Where the windows begin."""
        lasts = [m - min(ticks, m) for ticks in (3, 6, 12, 24, 48)]
        return [0, 1 if m > 1 else None, *lasts, *(m - min(max(-(-m // part), 2), m) for part in (2, 4, 8, 16))]

    def errors(self, paces: list[list[float | None]], share: float) -> np.ndarray:
        """How far each window's pace was off, at each event that proves it; NaN where it proves nothing."""
        errors = np.full((len(paces), len(paces[0])), np.nan)
        for m in range(1, len(paces)):
            if (at := self.origin(m, share)) is not None:
                truth = self.pace(at, m)
                errors[m] = [math.nan if pace is None else abs(pace - truth) for pace in paces[at]]
        return np.rint(errors * 2.0**32) / 2.0**32

    @staticmethod
    def recent(errors: np.ndarray, m: int) -> np.ndarray:
        """Mean over the newer half of the events; NaN where there is none."""
        newest = errors[m - -(-m // 2) : m + 1]
        known = ~np.isnan(newest)
        return np.where(known.any(axis=0), np.nansum(newest, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)

    @cached_property
    def paces(self) -> tuple[list[float], np.ndarray]:
        """The weighted pace at each event, and how far it was off as a forecast, per share."""
        windows = [
            [None if s is None or m == 0 else self.pace(s, m) for s in self.starts(m)] for m in range(len(self.tau))
        ]
        tried = [self.errors(windows, share) for share in SHARES]
        pace = [0.0]
        for m in range(1, len(self.tau)):
            means = np.array([self.recent(errors, m) for errors in tried])
            known = ~np.isnan(means)
            weight = np.where(
                known.any(axis=0), (np.nansum(means, axis=0) / np.maximum(known.sum(axis=0), 1) + 0.02) ** -4, 0
            )
            if not known.any():
                weight = np.ones(len(weight))
            has = [k for k, value in enumerate(windows[m]) if value is not None]
            pace.append(sum(weight[k] * windows[m][k] for k in has) / sum(weight[k] for k in has))
        own: list[list[float | None]] = [[None], *([value] for value in pace[1:])]
        off = [self.errors(own, share) for share in SHARES]
        errors = np.array([[self.recent(each, m)[0] for each in off] for m in range(len(self.tau))])
        return pace, np.where(np.isnan(errors), 0.3, errors)

    def newest_error(self, pace: list[float], m: int) -> float:
        """How far the pace at half of the work was off, with its sign; 0 where there was none."""
        at = self.origin(m, SHARES[0])
        return 0.0 if at is None else min(max(pace[at] - self.pace(at, m), -2), 2)

    def regularity(self, m: int) -> float:
        """1 for ticks at equal distances, 0 where their logarithm spreads by 0.5 or more."""
        if m == 0:
            return 0.0
        gaps = [max(after - before, 1e-6) for before, after in pairwise(self.tau)]
        newest = gaps[m - min(max(-(-m // 2), 4), m) : m]
        logs = [round(min(max(math.log(gap / gaps[0]), -30), 30) * 2**16) / 2**16 for gap in newest]
        return min(max(1 - max(np.mean(np.square(logs)) - np.mean(logs) ** 2, 0) / 0.25, 0), 1)

    def growth(self, i: int) -> float:
        """How much the total grew per work done, over the newest eighth of the polls."""
        before = i - -(-i // 8)
        grown, done = self.grown[i] - self.grown[before], self.u[i] - self.u[before]
        return float(np.clip(grown / done if done > 0 else np.sign(grown), -1, 2))

    def outlooks(self) -> list[Outlook | None]:
        """What is foretold at each running sample; None before the first tick."""
        pace, errors = self.paces
        found: list[Outlook | None] = []
        for i, m in enumerate(self.ticks):
            if m == 0:
                found.append(None)
                continue
            ticks = min(m, 8)
            advance = (self.work[m] - self.work[m - ticks]) / ticks
            gap, age = math.exp(pace[m]) * advance, self.t[i] - self.tau[m]
            credit = self.regularity(m) * min(age, gap)
            growth = min(self.growth(i), 1)
            work_left = self.left[i] * (1 + growth) if growth > 0 else self.left[i] / (1 - growth)
            ahead = max(math.exp(pace[m]) * work_left - credit, 0) + max(age - 2 * gap, 0)
            delta = max(self.t[i] / i, 1e-3)
            doubt = [
                1.0,
                math.log(0.02 + errors[m, 0]),
                math.log(0.02 + errors[m, 1]),
                math.log(1 + (ahead + delta) / (self.t[i] + delta)),
                math.log(1 + m),
                min(math.log(1 + self.left[i] / max(advance, 1e-9)), 9),
                float(self.changed[i]),
                min(max(self.pace(0, m) - pace[m], -4), 4),
                self.newest_error(pace, m),
            ]
            low, high = (float(np.logaddexp(0, np.dot(weights, doubt))) for weights in (_LOW, _HIGH))
            found.append(Outlook(ahead, delta, low, high))
        return found

    def seconds(self, outlooks: list[Outlook | None] | None = None) -> np.ndarray:
        """Median, low and high at each running sample, held unless there is news; NaN before the first tick (r x 3)."""
        answers, shown = [], None
        for t, outlook in zip(self.t, self.outlooks() if outlooks is None else outlooks, strict=True):
            if outlook is None:
                answers.append([math.nan] * 3)
                continue
            ahead, delta, low, high = outlook
            slack = _HOLD * (ahead + delta) * (low + high)
            newest = t + ahead
            shown = newest if shown is None else min(max(shown, newest - slack), newest + slack)
            median = max(shown - t, 0.0)
            shown = t + median
            lowest, highest = ((median + delta) * math.exp(off) - delta for off in (-low, high))
            answers.append([median, min(max(lowest, 0), median), max(highest, median)])
        return np.array(answers)


def job_forecast(rows: pd.DataFrame) -> pd.DataFrame:
    """`eta(rows, correction=False)` of one job: its three columns of seconds."""
    forecast = Forecast(rows) if (rows["status"] == "in_progress").any() else None
    seconds = np.full((len(rows), 3), np.nan)
    if forecast is not None:
        seconds[forecast.at] = forecast.seconds()
    return pd.DataFrame(seconds, index=rows.index, columns=["remaining_s", "remaining_low_s", "remaining_high_s"])

"""The metrics' definitions once more, in slow and obvious loops over one job: what the fast ones must equal."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

TERMINAL = {"completed", "completed_with_warnings", "partial_success", "failed", "cancelled", "canceled"}
IDLE = TERMINAL | {"awaiting_review"}


class Job:
    """One job's samples as lists, with what every metric needs of them."""

    def __init__(self, rows: pd.DataFrame, includes_failed: bool) -> None:
        self.t = [time.value for time in rows["sampled_at"]]
        self.status = rows["status"].tolist()
        processed, self.failed_served = rows["processed_items"].tolist(), rows["failed_items"].tolist()
        self.served = [p if includes_failed else p + f for p, f in zip(processed, self.failed_served, strict=True)]
        self.n = len(self.t)
        self.step = [0] + [self.t[i] - self.t[i - 1] for i in range(1, self.n)]
        self.rise = self._rises(self.served)
        self.fail = self._rises(self.failed_served)
        moving = sorted(step for step in self.step[1:] if step > 0)
        median = np.median(moving) if moving else math.inf
        self.is_gap = [step > 2.5 * median for step in self.step]
        self.runs = [False] * self.n
        started = False
        for i in range(self.n):
            self.runs[i] = i > 0 and started and self.status[i - 1] not in IDLE
            started = started or self.status[i] == "in_progress" or self.rise[i] > 0

    def _rises(self, counter: list[int]) -> list[int]:
        return [0] + [max(counter[i] - counter[i - 1], 0) for i in range(1, self.n)]

    def up_to(self, i: int, values: list[int], where: list[bool] | None = None) -> int:
        return sum(values[j] for j in range(i + 1) if where is None or where[j])


def value_at(axis: list[int], values: list[int], place: float) -> float:
    """The values run straight along the axis; of equal places the last counts, before its start the first."""
    if place < 0:
        return values[0]
    left = max(j for j in range(len(axis)) if axis[j] <= place)
    if left + 1 == len(axis) or place == axis[left]:
        return values[left]
    share = (place - axis[left]) / (axis[left + 1] - axis[left])
    return values[left] + share * (values[left + 1] - values[left])


def throughput(job: Job, window_s: float) -> list[tuple[int, float, float]]:
    axis = [job.up_to(i, job.step, job.runs) for i in range(job.n)]
    done = [job.up_to(i, job.rise, job.runs) for i in range(job.n)]
    gap = [job.up_to(i, job.step, [r and g for r, g in zip(job.runs, job.is_gap, strict=True)]) for i in range(job.n)]
    rows = []
    for i in range(job.n):
        interval = job.rise[i] * 1e9 / job.step[i] if job.runs[i] and job.step[i] else math.nan
        width = min(window_s * 1e9, axis[i])
        rate = math.nan
        if width > 0 and width >= window_s * 1e9 / 2:
            edge = axis[i] - window_s * 1e9
            if gap[i] - value_at(axis, gap, edge) <= width / 2:
                rate = (done[i] - value_at(axis, done, edge)) * 1e9 / width
        rows.append((job.up_to(i, job.rise), interval, rate))
    return rows


def counts(job: Job, window_s: float | None) -> list[tuple[float, float]]:
    """Failed and finished items, cumulative or windowed."""
    axis = [job.t[i] - job.t[0] for i in range(job.n)]
    finished = [job.up_to(i, job.rise) for i in range(job.n)]
    failed = [job.up_to(i, job.fail) for i in range(job.n)]
    if window_s is None:
        return [(max(job.failed_served[0], 0) + failed[i], max(job.served[0], 0) + finished[i]) for i in range(job.n)]
    edges = [axis[i] - window_s * 1e9 for i in range(job.n)]
    return [
        (failed[i] - value_at(axis, failed, edges[i]), finished[i] - value_at(axis, finished, edges[i]))
        for i in range(job.n)
    ]


def wilson(failed: float, finished: float, z: float) -> tuple[float, float, float]:
    if finished <= 0 or failed > finished * (1 + 1e-12):
        return math.nan, math.nan, math.nan
    rate = min(failed / finished, 1)
    centre = (rate + z * z / (2 * finished)) / (1 + z * z / finished)
    half = z * math.sqrt(rate * (1 - rate) / finished + z * z / (4 * finished**2)) / (1 + z * z / finished)
    return rate, max(centre - half, 0), min(centre + half, 1)


def periods(job: Job, every_s: int, rises: list[int]) -> dict[int, float]:
    """Items finished or failed in each period of UTC, by the number of the period."""
    every = every_s * 10**9
    shares = {job.t[0] // every: 0.0}
    for i in range(1, job.n):
        start, end = job.t[i - 1], job.t[i]
        if start == end:
            shares[start // every] = shares.get(start // every, 0.0) + rises[i]
            continue
        for period in range(start // every, -(-end // every)):
            inside = min(end, (period + 1) * every) - max(start, period * every)
            shares[period] = shares.get(period, 0.0) + rises[i] * inside / (end - start)
    return shares

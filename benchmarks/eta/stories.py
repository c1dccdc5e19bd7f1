"""Jobs made by a seeded simulator, each kind with one trouble of its own, seen through irregular polls.

A job is a row of *units* (items or batches) with a cost each; its story says when each is done, what the counters
show then, and how the client saw them. A kind belongs either to `FITTING`, with which constants and intervals are
chosen, or to `TESTING`, which is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

Rng = np.random.Generator
Floats = np.ndarray


@dataclass
class Story:
    """What happened: counters over time, in seconds since the start; and how the client looked at it."""

    done_at: Floats
    done: Floats
    total_at: Floats = field(default_factory=lambda: np.zeros(1))
    total: Floats = field(default_factory=lambda: np.zeros(1))
    failing: Floats | None = None
    includes_failed: bool = True
    attach: float = 0.0
    percent_only: bool = False
    polls: float = 0.0
    gaps: bool = False

    def __post_init__(self) -> None:
        if self.total[-1] == 0:
            self.total = np.array([self.done.max()])


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def costs(rng: Rng, units: int | None = None) -> Floats:
    """Uneven by a third, with a mild drift: what every job has."""
    units = units or int(log_uniform(rng, 60, 4000))
    drift = np.linspace(1, 1 + rng.uniform(-0.3, 0.3), units)
    return drift * rng.lognormal(0, rng.uniform(0.05, 0.5), units)


def items(rng: Rng, cost: Floats, **more: object) -> Story:
    """Units done one after the other; several items each, so that counters move in steps."""
    size = int(rng.choice([1, 1, 1, 10, 25, 250]))
    return Story(np.cumsum(cost), size * np.arange(1, len(cost) + 1), **more)


def in_time(cost: Floats, rate: Callable[[Floats], Floats]) -> Floats:
    """Costs stretched by a rate over time, where time 0 to 1 is the job without it."""
    at = np.linspace(0, 8, 8001)
    worked = np.concatenate([[0], np.cumsum(np.maximum(rate(at[1:]), 0.02) * np.diff(at))])
    done = np.cumsum(cost) / cost.sum()
    return np.diff(np.interp(done, worked, at), prepend=0)


def wander(rng: Rng, steps: int, spread: float, memory: float) -> Floats:
    noise, value = rng.standard_normal(steps), np.zeros(steps)
    for i in range(1, steps):
        value[i] = memory * value[i - 1] + np.sqrt(1 - memory * memory) * noise[i]
    return spread * value


# Kinds: the fitting part


def short(rng: Rng) -> Story:
    return items(rng, costs(rng, int(rng.integers(8, 60))), polls=rng.uniform(6, 18))


def sparse_polls(rng: Rng) -> Story:
    return items(rng, costs(rng), polls=rng.uniform(8, 25), gaps=True)


def long(rng: Rng) -> Story:
    cost = costs(rng, 4000)
    return items(rng, cost * np.exp(np.repeat(wander(rng, 20, 0.5, 0.5), 200)), polls=rng.uniform(900, 1800))


def speedup(rng: Rng) -> Story:
    cost = costs(rng)
    return items(rng, cost * np.linspace(1, rng.uniform(0.02, 0.3), len(cost)) ** rng.uniform(0.5, 1.5))


def stalls(rng: Rng) -> Story:
    cost = costs(rng)
    cost[rng.integers(0, len(cost), rng.integers(1, 5))] += cost.sum() * rng.uniform(0.05, 0.3)
    return items(rng, cost)


def two_phase(rng: Rng) -> Story:
    cost = costs(rng)
    cost[int(rng.uniform(0.2, 0.8) * len(cost)) :] *= log_uniform(rng, 2, 10) ** rng.choice([-1, 1])
    return items(rng, cost)


def warmup(rng: Rng) -> Story:
    cost = costs(rng)
    place = np.arange(len(cost)) / len(cost)
    return items(rng, cost * (1 + rng.uniform(2, 10) * np.exp(-place / rng.uniform(0.01, 0.08))))


def failures(rng: Rng) -> Story:
    cost = costs(rng) * 1.0
    chance = np.full(len(cost), rng.uniform(0.01, 0.2))
    start = int(rng.uniform(0, 0.9) * len(cost))
    chance[start : start + len(cost) // 8] = rng.uniform(0.2, 1)
    failing = rng.random(len(cost)) < chance
    cost[failing] *= log_uniform(rng, 0.2, 4)
    return items(rng, cost, failing=np.cumsum(failing), includes_failed=bool(rng.random() < 0.5))


def wandering(rng: Rng) -> Story:
    cost = costs(rng)
    log_rate = wander(rng, 400, rng.uniform(0.3, 1.0), rng.uniform(0.8, 0.99))
    return items(rng, in_time(cost, lambda at: np.exp(log_rate[(at * 60).astype(int) % 400])))


def clustered(rng: Rng) -> Story:
    """Brands differ: neighbours cost alike."""
    cost = costs(rng)
    brand = np.cumsum(rng.random(len(cost)) < rng.uniform(4, 30) / len(cost))
    return items(rng, cost * rng.lognormal(0, rng.uniform(0.5, 1.3), brand[-1] + 1)[brand])


def announced_total(rng: Rng) -> Story:
    """Files are opened one after the other, each adds its rows to the total."""
    story = items(rng, costs(rng))
    parts = np.sort(rng.choice(np.arange(1, len(story.done)), int(rng.integers(1, 5)), replace=False))
    story.total_at = np.concatenate([[0], story.done_at[parts]])
    story.total = np.concatenate([story.done[parts], story.done[-1:]])
    return story


def rate_limited(rng: Rng) -> Story:
    cost, from_here = costs(rng), rng.uniform(0.1, 0.6)
    limit = rng.uniform(0.1, 0.5)
    return items(rng, in_time(cost, lambda at: np.where(at > from_here, limit, 1)))


def crawl(rng: Rng) -> Story:
    """Links are found while pages are read: many at first, fewer and fewer."""
    story = items(rng, costs(rng))
    share = np.linspace(0, 1, 40)
    found = 1 - (1 - share) ** rng.uniform(1.5, 4)
    story.total_at = np.interp(share, np.linspace(0, 1, len(story.done_at)), story.done_at)
    story.total = np.maximum(np.ceil(found * story.done[-1]), np.interp(share, [0, 1], [1, story.done[-1]]) // 1)
    story.total[-2:] = story.done[-1]
    return story


def checkpoint(rng: Rng) -> Story:
    """An error sends the job back by a few batches, once or more often."""
    story = items(rng, costs(rng))
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.uniform(0.1, 0.95) * len(story.done))
        back = max(at - int(len(story.done) * rng.uniform(0.02, 0.3)), 0)
        redo = np.concatenate([np.diff(story.done_at, prepend=0)[:at], np.diff(story.done_at, prepend=0)[back:]])
        story.done_at, story.done = np.cumsum(redo), np.concatenate([story.done[:at], story.done[back:]])
    return story


# Kinds: the testing part


def constant(rng: Rng) -> Story:
    return items(rng, rng.lognormal(0, 0.02, int(log_uniform(rng, 100, 4000))))


def bursty(rng: Rng) -> Story:
    return items(
        rng, rng.lognormal(0, rng.uniform(0.1, 0.5), int(rng.integers(6, 50))), polls=log_uniform(rng, 60, 400)
    )


def contended(rng: Rng) -> Story:
    """A neighbour comes and goes."""
    cost, slow = costs(rng), rng.uniform(0.2, 0.7)
    turns = np.cumsum(rng.exponential(rng.uniform(0.05, 0.3), 300))
    return items(rng, in_time(cost, lambda at: np.where(np.searchsorted(turns, at) % 2, slow, 1)))


def periodic(rng: Rng) -> Story:
    cost, deep, often = costs(rng), rng.uniform(0.3, 0.95), rng.uniform(2, 12)
    return items(rng, in_time(cost, lambda at: 1 + deep * np.sin(2 * np.pi * often * at)))


def growing_total(rng: Rng) -> Story:
    """A lister runs ahead, at a pace of its own."""
    story = items(rng, costs(rng))
    ends = rng.uniform(0.2, 0.95) * story.done_at[-1]
    story.total_at = np.linspace(0, ends, int(rng.integers(5, 80)))
    ahead = np.interp(story.total_at, story.done_at, story.done)
    listed = rng.uniform(0.02, 0.3) + (1 - 0.02) * story.total_at / ends
    story.total = np.maximum(np.ceil(np.minimum(listed, 1) * story.done[-1]), np.ceil(ahead))
    story.total[-1] = story.done[-1]
    return story


def heavy_tail(rng: Rng) -> Story:
    units = int(log_uniform(rng, 60, 2000))
    return items(
        rng, rng.lognormal(0, rng.uniform(1, 2.2), units) if rng.random() < 0.6 else rng.pareto(1.3, units) + 1
    )


def late_attach(rng: Rng) -> Story:
    cost = costs(rng)
    return items(rng, cost * np.linspace(1, log_uniform(rng, 0.4, 2.5), len(cost)), attach=rng.uniform(0.15, 0.75))


def percent_only(rng: Rng) -> Story:
    cost = costs(rng)
    return items(rng, cost * np.linspace(1, log_uniform(rng, 0.3, 3), len(cost)), percent_only=True)


def regime_shift(rng: Rng) -> Story:
    cost, often = costs(rng), int(rng.integers(1, 4))
    shifts = np.sort(rng.uniform(0, 1.2, often))
    rates = np.cumprod(np.concatenate([[1], [log_uniform(rng, 1.5, 5) ** rng.choice([-1, 1]) for _ in shifts]]))
    return items(rng, in_time(cost, lambda at: rates[np.searchsorted(shifts, at)]))


def retry_reset(rng: Rng) -> Story:
    """From the start again, once."""
    cost = costs(rng)
    at = int(rng.uniform(0.1, 0.9) * len(cost))
    story = items(rng, np.concatenate([cost[:at], cost * log_uniform(rng, 0.7, 1.4)]))
    size = story.done[0]
    story.done = size * np.concatenate([np.arange(1, at + 1), np.arange(len(cost))])
    story.done[-1] = size * len(cost)
    story.total = story.done[-1:]
    return story


def slowdown(rng: Rng) -> Story:
    cost = costs(rng)
    place = np.arange(1, len(cost) + 1) / len(cost)
    return items(rng, cost * (0.05 + place ** rng.uniform(0.5, 2.5)))


def startup_delay(rng: Rng) -> Story:
    story = items(rng, costs(rng))
    story.done_at = story.done_at + story.done_at[-1] * log_uniform(rng, 0.1, 1.5)
    return story


def straggler_tail(rng: Rng) -> Story:
    """Workers side by side, tasks of very different length."""
    workers = int(rng.integers(2, 16))
    free, ends = np.zeros(workers), []
    for cost in rng.lognormal(0, rng.uniform(0.8, 1.8), int(rng.integers(40, 600))):
        worker = int(np.argmin(free))
        free[worker] += cost
        ends.append(free[worker])
    ends = np.sort(ends)
    return Story(ends, np.arange(1.0, len(ends) + 1))


FITTING = (
    short,
    sparse_polls,
    long,
    speedup,
    stalls,
    two_phase,
    warmup,
    failures,
    wandering,
    clustered,
    announced_total,
    rate_limited,
    crawl,
    checkpoint,
)
TESTING = (
    constant,
    bursty,
    contended,
    periodic,
    growing_total,
    heavy_tail,
    late_attach,
    percent_only,
    regime_shift,
    retry_reset,
    slowdown,
    startup_delay,
    straggler_tail,
)


# Polls


def look(story: Story, rng: Rng, job_id: str) -> pd.DataFrame:
    """The samples of a client that polls a story."""
    end = story.done_at[-1]
    interval = log_uniform(rng, 1, 30)
    scale = (story.polls or log_uniform(rng, 20, 400)) * interval / end
    t = _poll_times(rng, interval, end * scale, story.gaps) / scale
    t = t[t >= story.attach * end]
    if t[-1] < end:
        t = np.append(t, end + rng.uniform(0, interval) / scale)
    t = t[: np.searchsorted(t, end) + 1]
    step = np.searchsorted(story.done_at, t, side="right")
    done = np.concatenate([[0], story.done])[step].astype("int64")
    total = story.total[np.maximum(np.searchsorted(story.total_at, t, side="right") - 1, 0)].astype("int64")
    total[-1] = story.total[-1]
    per_unit = story.done[-1] / len(story.done)
    failed = np.zeros(len(t), dtype="int64")
    if story.failing is not None:
        failed = (np.concatenate([[0], story.failing])[step] * per_unit).astype("int64")
    percentage = 100 * done / np.maximum(total, 1)
    percentage = np.floor(percentage) if rng.random() < 0.5 else np.round(percentage, 1)
    if story.percent_only:
        done, total = done * 0, total * 0
    start = pd.Timestamp("2026-11-02T08:00:00Z").value + int(rng.integers(0, 10**15))
    return pd.DataFrame(
        {
            "job_id": job_id,
            "sampled_at": pd.to_datetime(start + np.round(t * scale * 1e9).astype("int64"), utc=True),
            "status": np.where(t < end, "in_progress", "completed"),
            "progress_percentage": percentage,
            "processed_items": done - (0 if story.includes_failed else failed),
            "total_items": total,
            "failed_items": failed,
            "latency_s": 0.1,
        }
    ).astype({"job_id": "string", "sampled_at": "datetime64[ns, UTC]", "status": "string"})


def _poll_times(rng: Rng, interval: float, end: float, gaps: bool) -> Floats:
    """Jittered, some missing; now and then nothing for a while."""
    count = int(end / interval * 1.3) + 10
    steps = interval * rng.uniform(1 - (jitter := rng.choice([0.02, 0.1, 0.4])), 1 + jitter, count)
    if gaps or rng.random() < 0.2:
        steps[rng.integers(0, count, 1 + count // 60)] += interval * rng.uniform(3, 15)
    kept = rng.random(count) > rng.choice([0, 0.02, 0.1])
    return np.concatenate([[0], np.cumsum(steps)[kept]])


def make(kinds: tuple[Callable[[Rng], Story], ...], *, jobs: int = 24, seed: int = 0) -> pd.DataFrame:
    """Samples of so many jobs of each kind, with a column `kind`."""
    frames = []
    for kind in kinds:
        rng = np.random.default_rng([seed, zlib.crc32(kind.__name__.encode())])
        frames += [look(kind(rng), rng, f"{kind.__name__}-{i:02d}").assign(kind=kind.__name__) for i in range(jobs)]
    return pd.concat(frames, ignore_index=True)

"""Made jobs of kinds that `stories.py` lacks, from a generator of its own: what a job does is played through in time.

Written when the forecast had been settled, to see what its figures are worth. Each kind simulates a cause (a service
with other tenants, a rate limit that probes, collected garbage, a graph of tasks) instead of drawing a shape; sizes,
polls and clients have other distributions than in `stories.py` and in the training prior. The forecast was scored on
all of them once, as it was; then `FITTED` joined the fitting part, while `HELD` stays out of every fit.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

Rng = np.random.Generator
Floats = np.ndarray
#: When the counters changed [any unit of time]; work done, failed and total from then on.
History = tuple[Floats, Floats, Floats, Floats]


def told(
    at: Sequence[float] | Floats, done: Sequence[float] | Floats, total: object = None, failed: object = 0
) -> History:
    at, done = np.asarray(at, float), np.asarray(done, float)
    size = done.max() if total is None else total
    return at, done, np.broadcast_to(failed, done.shape), np.broadcast_to(size, done.shape)


def count(rng: Rng, low: int, high: int) -> int:
    """Small numbers are more likely: a triangular law on the logarithm."""
    return int(np.exp(rng.triangular(np.log(low), np.log(low) + 0.4 * np.log(high / low), np.log(high))))


def served(rng: Rng, rate: Callable[[float, int], float], total: int, noise: float, steps: int = 900) -> History:
    """Work done in small steps of time at a rate that may depend on time and on the work done; gamma noise."""
    done, at, now = 0.0, [], 0.0
    work: list[float] = []
    step = 1 / steps
    while done < total and now < 60:
        now += step
        expected = max(rate(now, int(done)), 0) * step * total
        done += rng.gamma(expected / noise, noise) if noise * 1e3 > expected > 0 else expected
        at.append(now)
        work.append(min(np.floor(done), total))
    work[-1] = total
    return told(at, work)


def by_workers(free: list[float], costs: Floats) -> Floats:
    """When each task is over, if the next free worker takes the next task."""
    heapq.heapify(free)
    ends = []
    for cost in costs.tolist():
        ends.append(heapq.heappop(free) + cost)
        heapq.heappush(free, ends[-1])
    return np.array(ends)


# Kinds that may be fitted to


def probing_limit(rng: Rng) -> History:
    """A client that speeds up until it is refused, and then halves its rate."""
    pace, ceiling, state = rng.uniform(0.2, 1), rng.uniform(0.8, 2.5), [0.3, 0.0]

    def rate(now: float, _: int) -> float:
        state[0] += pace / 90
        if state[0] > ceiling * (1 + 0.2 * np.sin(now * 7)):
            state[0] /= 2
        return state[0]

    return served(rng, rate, count(rng, 80, 20_000), rng.choice([1, 5]))


def garbage(rng: Rng) -> History:
    """Memory fills; collecting it takes longer and longer, and comes more and more often."""
    items = count(rng, 150, 6000)
    costs = rng.weibull(rng.uniform(0.8, 4), items)
    heap, at, now = 0.0, [], 0.0
    room, kept = rng.uniform(0.01, 0.1) * items, rng.uniform(0.0, 0.5)
    for i, cost in enumerate(costs):
        heap += 1
        if heap > room:
            now += 0.03 * items * rng.uniform(0.1, 1) * (0.2 + i / items)
            heap *= kept
        now += cost
        at.append(now)
    return told(at, np.arange(1, items + 1))


def tenants(rng: Rng) -> History:
    """Others come at random, share the service, and leave: a birth-death process of neighbours."""
    come, leave = rng.uniform(1, 12), rng.uniform(2, 15)
    others, turn = [int(rng.integers(0, 4))], [0.0]

    def rate(now: float, _: int) -> float:
        while turn[0] < now:
            away = others[0] * leave
            turn[0] += rng.exponential(1 / (come + away))
            others[0] += 1 if rng.random() < come / (come + away) else -1
        return 1 / (1 + others[0])

    return served(rng, rate, count(rng, 60, 50_000), rng.choice([1, 20]))


def cache_full(rng: Rng) -> History:
    """Fast until the cache is full, then as slow as the disk, with a flush now and then."""
    full, slow, flush = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.6), rng.uniform(0.03, 0.3)
    total = count(rng, 200, 50_000)
    return served(rng, lambda now, done: 1 if done < full * total else slow * (now % flush > flush / 4), total, 2)


def graph(rng: Rng) -> History:
    """Tasks that wait for others: many can run at first, few at last."""
    tasks, workers = count(rng, 40, 900), int(rng.integers(2, 12))
    cost = rng.gamma(rng.uniform(0.5, 3), 1, tasks)
    ready, running, ends, now = [0], [], [], 0.0
    waits = {i: max(0, i - int(rng.geometric(rng.uniform(0.05, 0.5)))) for i in range(1, tasks)}
    then: dict[int, list[int]] = {}
    for task, before in waits.items():
        then.setdefault(before, []).append(task)
    while ready or running:
        while ready and len(running) < workers:
            task = ready.pop(0)
            heapq.heappush(running, (now + cost[task], task))
        now, task = heapq.heappop(running)
        ends.append(now)
        ready += then.get(task, [])
    return told(ends, np.arange(1, len(ends) + 1))


def links(rng: Rng) -> History:
    """Pages found on pages: a branching process with a frontier, until enough is found."""
    known, done, limit = int(rng.integers(3, 40)), 0, count(rng, 100, 6000)
    at, work, total, now = [], [], [], 0.0
    fruitful = rng.uniform(1.02, 3)
    while done < known:
        now += rng.gamma(1.5, 1)
        done += 1
        known += rng.poisson(fruitful * max(1 - known / limit, 0))
        at, work, total = [*at, now], [*work, done], [*total, known]
    return told(at, work, total)


def dropped(rng: Rng) -> History:
    """Doubles are found on the way, and the total falls."""
    items, share = count(rng, 100, 8000), rng.uniform(0.05, 0.5)
    left = items - np.cumsum(rng.random(items) < share)
    keep = np.arange(1, items + 1) <= left
    at = np.cumsum(rng.wald(1, rng.uniform(0.3, 5), items))
    return told(at[keep], np.arange(1, items + 1)[keep], np.maximum(left[keep], np.arange(1, items + 1)[keep]))


def pages(rng: Rng) -> History:
    """Pages of a hundred, each as slow as its offset is deep; some fail and are asked again after a pause."""
    number, deep = count(rng, 10, 400), rng.uniform(0, 4)
    cost = (1 + deep * np.arange(number) / number) * rng.lognormal(0, 0.25, number)
    tries = rng.geometric(1 - rng.uniform(0, 0.3), number) - 1
    return told(np.cumsum(cost * (1 + tries) + rng.uniform(0, 6) * (2.0**tries - 1)), 100 * np.arange(1, number + 1))


# Kinds that are held out


def throttled(rng: Rng) -> History:
    """A processor that heats up, is slowed, cools, and speeds up again."""
    heat, inertia, lowest = [0.0], rng.uniform(0.02, 0.5), rng.uniform(0.2, 0.7)
    hot = [False]

    def rate(_: float, __: int) -> float:
        now = lowest if hot[0] else 1.0
        heat[0] += (now - heat[0]) / 900 / inertia
        hot[0] = heat[0] > (lowest + 0.15 if hot[0] else 0.85)
        return now

    return served(rng, rate, count(rng, 100, 30_000), rng.choice([1, 8]))


def diffusing(rng: Rng) -> History:
    """A rate that wanders and comes back (a square-root diffusion)."""
    pull, shake, value = rng.uniform(0.3, 8), rng.uniform(0.3, 2), [rng.uniform(0.3, 2)]

    def rate(_: float, __: int) -> float:
        drift = pull * (1 - value[0]) / 900
        value[0] = abs(value[0] + drift + shake * np.sqrt(value[0] / 900) * rng.standard_normal())
        return value[0]

    return served(rng, rate, count(rng, 60, 80_000), rng.choice([1, 3]))


def few_giants(rng: Rng) -> History:
    """Sizes by rank (Zipf), in any order, or the largest last."""
    items = count(rng, 30, 2500)
    cost = np.arange(1, items + 1.0) ** -rng.uniform(0.6, 1.6)
    cost = rng.permutation(cost) if rng.random() < 0.7 else cost[::-1]
    return told(np.cumsum(cost + cost.mean() * rng.uniform(0, 0.5)), np.arange(1, items + 1))


def outages(rng: Rng) -> History:
    """The service is away for a while, asked again after 1, 2, 4 ... pauses; some outages cost the batch under way."""
    items, now, i = count(rng, 80, 4000), 0.0, 0
    batch, chance = max(items // int(rng.integers(10, 80)), 1), rng.uniform(0.3, 4) / items
    at, done = [], []
    while i < items:
        now += rng.gamma(2, 0.5)
        i += 1
        if rng.random() < chance:
            away, pause, waited = rng.exponential(0.15 * items), 0.002 * items, 0.0
            while waited < away:
                waited, pause = waited + pause, 2 * pause
            now += waited
            i = i // batch * batch if rng.random() < 0.5 and i < items else i
        at, done = [*at, now], [*done, i]
    return told(at, done, items)


def barrier(rng: Rng) -> History:
    """Mappers, then reducers that cannot begin before the last mapper is over."""
    workers, maps = int(rng.integers(2, 20)), count(rng, 30, 800)
    reduces = max(int(maps * rng.uniform(0.03, 0.6)), 1)
    first = np.sort(by_workers([0.0] * workers, rng.lognormal(0, rng.uniform(0.2, 1.2), maps)))
    then = np.sort(by_workers([first[-1]] * workers, rng.lognormal(rng.uniform(-1, 2), rng.uniform(0.2, 1), reduces)))
    return told(np.concatenate([first, then]), np.arange(1, maps + reduces + 1))


def fewer_workers(rng: Rng) -> History:
    """Rented workers are taken away one after the other, or join."""
    crew, change = int(rng.integers(4, 30)), np.sort(rng.uniform(0, 1.5, int(rng.integers(1, 8))))
    grows = rng.random() < 0.3
    return served(
        rng,
        lambda now, _: max(crew + (1 if grows else -1) * np.searchsorted(change, now) * crew / 8, 1) / crew,
        count(rng, 100, 10_000),
        1,
    )


def convergence(rng: Rng) -> History:
    """Rounds that shrink: each settles a share of what was left, and the counter tells what is settled."""
    total, settled, done, now = count(rng, 200, 50_000), rng.uniform(0.03, 0.3), 0.0, 0.0
    at, work = [], []
    fixed = rng.uniform(0, 0.05) * total
    while done < total:
        step = max(np.ceil(settled * (total - done)), 1)
        now += (fixed + step ** rng.uniform(0.8, 1)) * rng.lognormal(0, 0.2)
        done += step
        at, work = [*at, now], [*work, done]
        settled = 1.0 if total - done < 0.01 * total else settled
    return told(at, work)


def bad_rows(rng: Rng) -> History:
    """Rows that fail cost a pause, and come in bunches (a Markov chain of good and bad files)."""
    items, bad, stay = count(rng, 100, 5000), rng.uniform(0.01, 0.2), rng.uniform(0.5, 0.97)
    state, now, lost = False, 0.0, 0
    at, failed = [], []
    dear = rng.choice([0.1, 3, 10])
    for _ in range(items):
        state = rng.random() < (stay if state else bad * (1 - stay))
        lost += state
        now += dear if state else rng.gamma(4, 0.25)
        at, failed = [*at, now], [*failed, lost]
    return told(at, np.arange(1, items + 1), failed=failed)


FITTED = (probing_limit, garbage, tenants, cache_full, graph, links, dropped, pages)
HELD = (throttled, diffusing, few_giants, outages, barrier, fewer_workers, convergence, bad_rows)


# What a client sees


def seen(history: History, rng: Rng, job_id: str) -> pd.DataFrame:
    """Samples of a client with its own habits, 12 to 900 of them."""
    at, done, failed, total = history
    end = at[-1]
    number = count(rng, 12, 900)
    habit = rng.choice(["regular", "jitter", "random", "backing off"])
    steps = {
        "regular": np.ones(4 * number),
        "jitter": rng.normal(1, 0.2, 4 * number).clip(0.2),
        "random": rng.exponential(1, 4 * number) + 0.05,
        "backing off": np.minimum(1.05 ** np.arange(4 * number), 5),
    }[habit]
    lead = rng.choice([0, 0, rng.uniform(0, 0.4)]) * end
    t = np.concatenate([[0], np.cumsum(steps)]) * (end + lead) / number - lead
    t = t[: np.searchsorted(t, end) + 1]
    t[-1] = max(t[-1], end)
    row = np.searchsorted(at, t, side="right")
    done, failed, total = (
        np.concatenate([[first], values])[row] for first, values in ((0, done), (0, failed), (total[0], total))
    )
    second = rng.choice([0.5, 2, 7, 40]) * number / (end + lead)
    seconds = np.round((t + lead) * second, 0 if rng.random() < 0.1 and second * (end + lead) / number > 1.5 else 6)
    percentage = 100 * done / np.maximum(total, 1)
    start = 1_766_000_000 * 10**9 + int(rng.integers(0, 10**15))
    return pd.DataFrame(
        {
            "job_id": job_id,
            "sampled_at": pd.to_datetime(start + np.round(seconds * 1e9).astype("int64"), utc=True),
            "status": np.where(t < end, "in_progress", "completed"),
            "progress_percentage": np.floor(percentage) if rng.random() < 0.5 else percentage.round(2),
            "processed_items": done.astype("int64") - (failed.astype("int64") if rng.random() < 0.5 else 0),
            "total_items": total.astype("int64"),
            "failed_items": failed.astype("int64"),
            "latency_s": 0.1,
        }
    ).astype({"job_id": "string", "sampled_at": "datetime64[ns, UTC]", "status": "string"})


def make(kinds: tuple[Callable[[Rng], History], ...], *, jobs: int = 24, seed: int = 0) -> pd.DataFrame:
    """Samples of so many jobs of each kind, with a column `kind`."""
    frames = []
    for kind in kinds:
        rng = np.random.default_rng([4711, seed, zlib.crc32(kind.__name__.encode())])
        frames += [seen(kind(rng), rng, f"{kind.__name__}-{i:02d}").assign(kind=kind.__name__) for i in range(jobs)]
    return pd.concat(frames, ignore_index=True)

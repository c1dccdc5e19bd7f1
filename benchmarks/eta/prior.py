"""The training prior of the learned correction: seeded simulated jobs, as polls in arrays.

A job gets none to four mechanisms out of a weighted bag, so that jobs with one cause are common; a mild wobble lies
under all. It shares no code with `stories.py`, whose kinds are scored. A job is a row of units with a cost each, a rate
over time that stretches them, and a client that looks at the counter now and then.

`rows(jobs, seed)` gives the inputs of the network, ln(truth over estimate), and the weight, at random polls.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mops_analysis.metrics.correction import features
from mops_analysis.metrics.pace import estimate_remaining
from mops_analysis.metrics.running import Running, find_events

Rng = np.random.Generator
Floats = np.ndarray

MECHANISMS_P = (0.14, 0.38, 0.28, 0.14, 0.06)
POLLS, UNITS = (8, 1600), (12, 6000)
ROWS_PER_JOB, CHUNK = 16, 250
CLIP = 4.0
#: Time grid of rates: in units of the time that the job takes at rate 1.
GRID = np.linspace(0, 5, 2001)
MIDDLE = (GRID[1:] + GRID[:-1]) / 2


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass
class Job:
    """Costs of its units, the logarithm of its rate over time, and what else was drawn for it."""

    cost: Floats
    log_rate: Floats = field(default_factory=lambda: np.zeros(len(MIDDLE)))
    pauses: list[tuple[float, float]] = field(default_factory=list)
    workers: int = 1
    batches: int = 0
    retry: Callable[[Floats, Floats], tuple[Floats, Floats]] | None = None
    total: Callable[[Floats, Floats], tuple[Floats, Floats]] | None = None
    lead: float = 0.0
    attach: float = 0.0
    bad_client: bool = False
    percent_only: bool = False

    @property
    def place(self) -> Floats:
        return (np.arange(len(self.cost)) + 0.5) / len(self.cost)


Mechanism = Callable[[Rng, Job], None]


# Mechanisms: costs by place


def power_law(rng: Rng, job: Job) -> None:
    place = job.place if rng.random() < 0.6 else job.place[::-1]
    job.cost = job.cost * (place + rng.choice([0.01, 0.05, 0.2])) ** rng.uniform(0.3, 2.5)


def start_ramp(rng: Rng, job: Job) -> None:
    ramp = 1 + log_uniform(rng, 0.5, 12) * np.exp(-job.place / log_uniform(rng, 0.005, 0.15))
    job.cost = job.cost * ramp if rng.random() < 0.75 else job.cost / ramp


def cost_phases(rng: Rng, job: Job) -> None:
    cuts = np.sort(rng.uniform(0, 1, 1 + rng.poisson(0.7)))
    factor = np.exp(rng.choice([-1, 1], len(cuts) + 1) * rng.uniform(0.1, 1.3, len(cuts) + 1))
    job.cost = job.cost * factor[np.searchsorted(cuts, job.place)]


def clusters(rng: Rng, job: Job) -> None:
    often = log_uniform(rng, 3, 100)
    brand = np.cumsum(rng.random(len(job.cost)) < often / len(job.cost))
    job.cost = job.cost * rng.lognormal(0, rng.uniform(0.3, 1.5), brand[-1] + 1)[brand]


def heavy_costs(rng: Rng, units: int) -> Floats:
    if rng.random() < 0.6:
        return rng.lognormal(0, rng.uniform(0.5, 2.4), units)
    return np.minimum(1 + rng.pareto(rng.uniform(1.05, 2.5), units), 1e4)


def heavy_tail(rng: Rng, job: Job) -> None:
    job.cost = job.cost * heavy_costs(rng, len(job.cost))
    if rng.random() < 0.1:
        job.cost = np.sort(job.cost)[:: int(rng.choice([-1, 1]))]


def worker_pool(rng: Rng, job: Job) -> None:
    job.cost = job.cost[: int(log_uniform(rng, 20, 800))]
    job.cost = job.cost * heavy_costs(rng, len(job.cost))
    job.workers = int(log_uniform(rng, 2, 24))


def failures(rng: Rng, job: Job) -> None:
    """Items that fail take another time; often a stretch of them."""
    chance = np.full(len(job.cost), rng.uniform(0, 0.2))
    start, width = rng.uniform(0, 1), log_uniform(rng, 0.03, 0.5)
    chance[(job.place > start) & (job.place < start + width)] = rng.uniform(0.2, 1)
    job.cost = np.where(rng.random(len(job.cost)) < chance, job.cost * log_uniform(rng, 0.1, 6), job.cost)


# Mechanisms: rates over time


def drift(rng: Rng, job: Job) -> None:
    ends = rng.uniform(-2, 2)
    if rng.random() < 0.5:
        job.log_rate = job.log_rate + ends * np.minimum(MIDDLE, 3)
    else:
        job.log_rate = job.log_rate + np.log(np.maximum(1 + (np.exp(ends) - 1) * MIDDLE / 1.5, 0.05))


def shifts(rng: Rng, job: Job) -> None:
    at = np.sort(rng.uniform(0, 1.3, 1 + rng.poisson(1)))
    step = rng.uniform(0.2, 1.8, len(at)) * (
        rng.choice([-1, 1]) if rng.random() < 1 / 3 else rng.choice([-1, 1], len(at))
    )
    job.log_rate = job.log_rate + np.concatenate([[0], np.cumsum(step)])[np.searchsorted(at, MIDDLE)]


def wandering(rng: Rng, job: Job) -> None:
    steps = int(log_uniform(rng, 8, 300)) * 5
    walk = np.cumsum(rng.standard_normal(steps))
    memory = max(int(steps / 5 * log_uniform(rng, 0.03, 1.5)), 1)
    # A walk minus its own past is stationary; its memory is the distance.
    walk = walk - np.concatenate([np.zeros(memory), walk])[:steps]
    walk = walk * rng.uniform(0.15, 1.0) / max(walk.std(), 1e-9)
    job.log_rate = job.log_rate + walk[np.minimum((MIDDLE / 5 * steps).astype(int), steps - 1)]


def periodic(rng: Rng, job: Job) -> None:
    wave = np.sin(2 * np.pi * (log_uniform(rng, 1, 25) * MIDDLE + rng.random()))
    job.log_rate = job.log_rate + np.log(np.maximum(1 + rng.uniform(0.2, 0.97) * wave, 0.02))


def neighbour(rng: Rng, job: Job) -> None:
    turns = np.cumsum(rng.exponential(log_uniform(rng, 0.02, 0.5), 200) * np.tile([1, log_uniform(rng, 0.3, 3)], 100))
    job.log_rate = job.log_rate + np.log(rng.uniform(0.1, 0.8)) * (
        (np.searchsorted(turns, MIDDLE) + rng.integers(2)) % 2
    )


def stalls(rng: Rng, job: Job) -> None:
    job.pauses += [(rng.random(), log_uniform(rng, 0.02, 0.6)) for _ in range(1 + rng.poisson(1))]


# Mechanisms: counters


def batches(rng: Rng, job: Job) -> None:
    job.batches = int(log_uniform(rng, 4, 150))


def growing_total(rng: Rng, job: Job) -> None:
    """The total is found while the work is done: by a lister ahead, link by link, in chunks, in bursts."""
    style, known = rng.integers(4), rng.uniform(0.02, 0.7)
    ends, bend, steps = rng.uniform(0.1, 1), log_uniform(rng, 0.3, 4), int(log_uniform(rng, 4, 120))

    def total(at: Floats, done: Floats) -> tuple[Floats, Floats]:
        share = np.linspace(0, 1, steps + 1)
        if style == 1:
            when, found = np.interp(share, done / done[-1], at), 1 - (1 - share) ** (1 + bend)
        elif style == 2:
            when, found = np.interp(share * ends, done / done[-1], at), share
        else:
            when = share * ends * at[-1]
            jumps = rng.exponential(1, steps) if style == 3 else np.ones(steps)
            found = np.concatenate([[0], np.cumsum(jumps) / jumps.sum()]) ** (bend if style == 0 else 1)
        return when, np.ceil((known + (1 - known) * found) * done[-1])

    job.total = total


def announced(rng: Rng, job: Job) -> None:
    """One phase after the other tells its own total."""
    parts = np.sort(rng.uniform(0, 1, 1 + rng.poisson(0.8)))

    def total(at: Floats, done: Floats) -> tuple[Floats, Floats]:
        cut = np.minimum((parts * len(done)).astype(int), len(done) - 1)
        return np.concatenate([[0], at[cut]]), np.concatenate([done[cut], done[-1:]])

    job.total = total


def retries(rng: Rng, job: Job) -> None:
    times, from_zero = 1 + rng.poisson(0.3), rng.random() < 0.5
    places, back = rng.uniform(0.05, 0.97, times), rng.uniform(0.02, 0.4, times)

    def again(at: Floats, done: Floats) -> tuple[Floats, Floats]:
        took = np.diff(at, prepend=0)
        for place, lost in zip(places, back, strict=True):
            stop = int(place * len(done))
            start = 0 if from_zero else max(stop - int(lost * len(done)), 0)
            took = np.concatenate([took[:stop], took[start:]])
            done = np.concatenate([done[:stop], done[start:] if start else np.append(0, done[1:])])
        return np.cumsum(took), done

    job.retry = again


# Mechanisms: how it is seen


def lead_time(rng: Rng, job: Job) -> None:
    job.lead = log_uniform(rng, 0.03, 1.5)


def late_attach(rng: Rng, job: Job) -> None:
    job.attach = rng.uniform(0.05, 0.85)


def bad_client(_: Rng, job: Job) -> None:
    job.bad_client = True


def percent_only(_: Rng, job: Job) -> None:
    job.percent_only = True


BAG = (
    (3, drift), (2, power_law), (2, start_ramp), (3, shifts), (2.5, wandering), (1, periodic), (1, neighbour),
    (1, stalls), (2, cost_phases), (2.5, clusters), (2, heavy_tail), (1.5, worker_pool), (2, batches),
    (3, growing_total), (1, announced), (1, retries), (1.5, failures), (1, lead_time), (1, late_attach),
    (1, bad_client), (1, percent_only),
)  # fmt: skip


# A job


def draw(rng: Rng) -> Job:
    units = int(log_uniform(rng, *UNITS))
    job = Job(rng.lognormal(0, log_uniform(rng, 0.01, 0.8), units))
    job.log_rate = job.log_rate + rng.uniform(-0.15, 0.15) * MIDDLE
    weights = np.array([weight for weight, _ in BAG])
    drawn = rng.choice(len(BAG), rng.choice(5, p=MECHANISMS_P), replace=False, p=weights / weights.sum())
    # Pools cut the units down, so they come first; the others do not mind their order.
    for number in sorted(drawn, key=lambda number: BAG[number][1] is not worker_pool):
        BAG[number][1](rng, job)
    return job


def play(rng: Rng, job: Job) -> tuple[Floats, Floats]:
    """When each unit is done, and what the counter says then."""
    cost = np.maximum(job.cost, 1e-12)
    if job.workers > 1:
        free = [0.0] * job.workers
        ends = []
        for each in cost.tolist():
            ends.append(heapq.heappop(free) + each)
            heapq.heappush(free, ends[-1])
        at = np.sort(ends)
    else:
        at = np.cumsum(cost)
    at = at / at[-1]
    rate = np.exp(np.clip(job.log_rate, -5, 5))
    worked = np.concatenate([[0], np.cumsum(rate * np.diff(GRID))])
    at = np.interp(at, worked * max(1.0, 1 / worked[-1]), GRID)
    at = at / at[-1]
    size = int(rng.choice([1, 1, 1, 7, 50, 1000]))
    done = size * np.arange(1.0, len(at) + 1)
    if job.batches and job.batches < len(at):
        last = np.unique(np.round(np.linspace(0, len(at), job.batches + 1)[1:]).astype(int)) - 1
        at, done = at[last], done[last]
    for place, length in job.pauses:
        at = at + length * (at > place)
    if job.retry:
        at, done = job.retry(at, done)
    return at + job.lead * at[-1], done


def polls_of(rng: Rng, job: Job) -> tuple[Floats, Floats, Floats, float]:
    """Times of the polls of a running job in poll intervals, counter, total, and the time of its end."""
    at, done = play(rng, job)
    when, total = job.total(at, done) if job.total else (np.zeros(1), done[-1:])
    intervals = log_uniform(rng, *POLLS)
    at, when = at * intervals / at[-1], when * intervals / at[-1]
    jitter = rng.choice([0.02, 0.1, 0.4])
    steps = rng.uniform(1 - jitter, 1 + jitter, int(intervals / (1 - jitter)) + 2)
    if job.bad_client:
        gaps = rng.integers(0, len(steps), 1 + rng.poisson(2 + len(steps) / 80))
        steps[gaps] += rng.uniform(2, 18, len(gaps))
        if rng.random() < 0.3:
            steps *= np.minimum(1.02 ** np.arange(len(steps)), 8)
    t = np.cumsum(steps) - (steps[0] if rng.random() < 0.5 else 0)
    t = t[rng.random(len(t)) > (rng.uniform(0, 0.5) if job.bad_client else rng.choice([0, 0.03]))]
    t = t[(t < at[-1]) & (t >= job.attach * at[-1])]
    counter = np.concatenate([[0], done])[np.searchsorted(at, t, side="right")]
    known = total[np.maximum(np.searchsorted(when, t, side="right") - 1, 0)]
    if job.percent_only:
        percent = 100 * counter / np.maximum(np.maximum(known, counter), 1)
        counter = np.rint(1e6 * (np.floor(percent) if rng.random() < 0.6 else np.round(percent, 1)))
        known = np.full(len(t), 1e8)
    return t, counter, known, at[-1]


# Rows for the network


def running_of(polls: list[tuple[Floats, Floats, Floats, float]], poll_s: float = 10.0) -> tuple[Running, Floats]:
    """The jobs as `count_work` gives them, and the truth at each row [s]."""
    lengths = np.array([len(t) for t, *_ in polls])
    starts = np.cumsum(lengths) - lengths
    head = np.repeat(starts, lengths)
    is_head = np.arange(len(head)) == head
    t = np.concatenate([poll_s * (t - t[0]) for t, *_ in polls])
    truth = np.concatenate([poll_s * (end - t) for t, _, _, end in polls])
    work = np.concatenate([work for _, work, _, _ in polls]).astype(np.int64)
    size = np.maximum(np.concatenate([total for _, _, total, _ in polls]).astype(np.int64), work)
    rise = np.where(is_head, 0, np.maximum(np.diff(work, prepend=0), 0))
    resize = np.where(is_head, 0, np.diff(size, prepend=0))
    u, growth, changes = (so_far(values, head) for values in (rise, resize, resize != 0))
    known, events = np.full(len(head), True), find_events(head, t, u)
    running = Running(np.arange(len(head)), head, t, work, size, growth, changes > 0, known, events)
    return running, truth


def so_far(values: np.ndarray, head: np.ndarray) -> np.ndarray:
    sums = np.cumsum(values, dtype=np.int64)
    return sums - sums[head] + values[head]


def rows(jobs: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Inputs (rows x 40, float32), ln(truth over estimate), weights: every job has the same say."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(0, jobs, CHUNK):
        polls = [drawn for drawn in (polls_of(rng, draw(rng)) for _ in range(CHUNK)) if len(drawn[0]) > 3]
        running, truth = running_of(polls)
        parts.append(rows_of(rng, running, truth))
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def rows_of(rng: Rng, running: Running, truth: Floats) -> tuple[Floats, Floats, Floats]:
    """Inputs, ln(truth over estimate) and weights at some rows of each job."""
    estimate = estimate_remaining(running)
    rows = some_rows(rng, running, truth, ROWS_PER_JOB)
    _, which, count = np.unique(running.head[rows], return_inverse=True, return_counts=True)
    off = np.log((truth + estimate.delta) / (estimate.remaining + estimate.delta))[rows]
    return (
        features(running, estimate)[:, rows].T.astype(np.float32),
        np.clip(off, -CLIP, CLIP).astype(np.float32),
        (1 / count[which]).astype(np.float32),
    )


def some_rows(rng: Rng, running: Running, truth: Floats, most: int) -> np.ndarray:
    """At most so many rows of each job, out of those that are scored."""
    polls = np.arange(len(running.t)) - running.head
    may = np.flatnonzero((polls >= 2) & (running.u > 0) & running.known & (truth > 0))
    may = may[np.lexsort((rng.random(len(may)), running.head[may]))]
    job = running.head[may]
    return may[np.arange(len(may)) - np.searchsorted(job, job) < most]

"""Train the learned correction: `OPENBLAS_NUM_THREADS=1 python benchmarks/eta/train.py`, plain numpy.

About five minutes on two cores. With one thread, since matrices this small wake the threads of the linear algebra
library only to wait for one another, at eight times the cost.

40 -> 64 -> 48 -> 7 with tanh. The middle output is the median of ln(truth over estimate); the others go up and down
from it by softplus, so that the quantiles never cross. The loss is pinball, the median twice, each job with the same
say; Adam, cosine decay. The weights are the package's `data/eta_network.npz`.

Simulated jobs (`prior.py`) have 95 % of the weight, the first recordings of the fitting part, thinned and cut, 5 %.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import prior
import score

Floats = np.ndarray

WEIGHTS = Path(__file__).parents[2] / "mops_analysis/data/eta_network.npz"
QUANTILES = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95], dtype=np.float32)
SAYS = np.array([1, 1, 1, 2, 1, 1, 1], dtype=np.float32)
LAYERS = (40, 64, 48, 7)
JOBS, SEED = 160_000, 300
PIECE = 8_000
RECORDED_SHARE, RECORDED_VIEWS = 0.05, 12
#: Those of `record.py`; the others of the fitting part were recorded later, and gained nothing.
RECORDED = tuple(f"real {kind}" for kind in ("compress", "parsing", "sql_inserts", "plots", "joins", "test_run"))
EPOCHS, BATCH, STEP = 14, 2048, 4e-3


def simulated() -> tuple[Floats, Floats, Floats]:
    seeds = range(SEED, SEED + JOBS // PIECE)
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(prior.rows, [PIECE] * len(seeds), seeds))
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def recorded(seed: int = 1) -> tuple[Floats, Floats, Floats]:
    """Rows of the fitting part's recordings: each seen several times, through fewer polls or from later on."""
    rng = np.random.default_rng(seed)
    parts = []
    samples = score.traces("fitting")
    samples = samples[samples["kind"].isin(RECORDED)]
    for _ in range(RECORDED_VIEWS):
        polls = []
        for _, job in samples.groupby("job_id"):
            ns = job["sampled_at"].astype("int64").to_numpy()
            t, end = (ns[:-1] - ns[0]) / 1e10, (ns[-2] + ns[-1] - 2 * ns[0]) / 2e10
            kept = (rng.random(len(t)) < rng.choice([1, 0.7, 0.3])) & (t > end * rng.choice([-1, rng.uniform(0, 0.6)]))
            if kept.sum() > 3:
                counts = (job[name].to_numpy()[:-1][kept] for name in ("processed_items", "total_items"))
                polls.append((t[kept], *counts, end))
        parts.append(prior.rows_of(rng, *prior.running_of(polls)))
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def forward(weights: list[Floats], x: Floats) -> list[Floats]:
    """Activations of each layer; the last one linear."""
    layers = [x]
    for i in range(0, len(weights), 2):
        z = layers[-1] @ weights[i] + weights[i + 1]
        layers.append(z if i == len(weights) - 2 else np.tanh(z))
    return layers


def quantiles(out: Floats) -> Floats:
    step = np.logaddexp(0, out)
    down, up = step[:, 2::-1].cumsum(axis=1)[:, ::-1], step[:, 4:].cumsum(axis=1)
    return np.hstack([out[:, 3:4] - down, out[:, 3:4], out[:, 3:4] + up])


def slope_of_loss(out: Floats, y: Floats, w: Floats) -> tuple[float, Floats]:
    """Pinball loss, and its slope in the outputs."""
    off = y[:, None] - quantiles(out)
    loss = float((w[:, None] * SAYS * np.maximum(QUANTILES * off, (QUANTILES - 1) * off)).sum())
    slope = w[:, None] * SAYS * np.where(off > 0, -QUANTILES, 1 - QUANTILES)
    grow = 1 / (1 + np.exp(-out))
    answer = np.empty_like(out)
    answer[:, 3] = slope.sum(axis=1)
    answer[:, :3] = -slope[:, :3].cumsum(axis=1) * grow[:, :3]
    answer[:, 4:] = slope[:, :3:-1].cumsum(axis=1)[:, ::-1] * grow[:, 4:]
    return loss, answer


def backward(weights: list[Floats], layers: list[Floats], slope: Floats) -> list[Floats]:
    slopes: list[Floats] = [np.empty(0)] * len(weights)
    for i in range(len(weights) - 2, -1, -2):
        before = layers[i // 2]
        slopes[i], slopes[i + 1] = before.T @ slope, slope.sum(axis=0)
        slope = (slope @ weights[i].T) * (1 - before * before)
    return slopes


def train(x: Floats, y: Floats, w: Floats, *, seed: int = 0, epochs: int = EPOCHS) -> list[Floats]:
    """Adam with cosine decay, on standardised inputs."""
    rng = np.random.default_rng(seed)
    weights: list[Floats] = []
    for before, after in pairwise(LAYERS):
        weights += [rng.standard_normal((before, after)).astype(np.float32) / before**0.5, np.zeros(after, np.float32)]
    weights[-2] *= 0.1
    weights[-1][:] = -1
    weights[-1][3] = 0
    first, second = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    steps = epochs * (len(x) // BATCH)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order, total, said = rng.permutation(len(x)), 0.0, 0.0
        at = order[step % (len(x) // BATCH) * BATCH :][:BATCH]
        layers = forward(weights, x[at])
        loss, slope = slope_of_loss(layers[-1], y[at], w[at])
        total, said = total + loss, said + w[at].sum()
        slopes = backward(weights, layers, slope / w[at].sum())
        rate = STEP * (1 + np.cos(np.pi * step / steps)) / 2
        for weight, g, m, v in zip(weights, slopes, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            weight -= rate * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
        if (step + 1) % (len(x) // BATCH) == 0:
            print(f"epoch {step // (len(x) // BATCH) + 1}: loss {total / said:.4f}", flush=True)
    return weights


def save(weights: list[Floats], mean: Floats, deviation: Floats) -> None:
    """The five outputs that the 50 and 80 % intervals need."""
    weights[-2], weights[-1] = weights[-2][:, 1:6], weights[-1][1:6]
    layers = {f"{name}{i // 2 + 1}": weights[i + j] for i in (0, 2, 4) for j, name in enumerate(("weights", "bias"))}
    np.savez(WEIGHTS, mean=mean, deviation=deviation, **layers)


def main() -> None:
    started = time.monotonic()
    made, real = simulated(), recorded()
    share = RECORDED_SHARE / (1 - RECORDED_SHARE) * made[2].sum() / real[2].sum()
    x, y = (np.concatenate(parts) for parts in list(zip(made, real, strict=True))[:2])
    w = np.concatenate([made[2], share * real[2]])
    print(f"{len(x)} rows after {time.monotonic() - started:.0f} s", flush=True)
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    for start in range(0, len(x), 2**17):
        x[start : start + 2**17] = np.clip((x[start : start + 2**17] - mean) / deviation, -5, 5)
    save(train(x, y, w), mean, deviation)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

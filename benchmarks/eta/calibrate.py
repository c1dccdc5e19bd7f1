"""Fit the interval of `eta` without its correction to the fitting part, and print its constants.

`python benchmarks/eta/calibrate.py` takes a minute.

The lower and the upper offset are softplus(a . x) of the inputs x of `eta`, in logarithms; each a minimises the pinball
loss at 10 and 90 %. Every kind of job has the same say, and every job of a kind. Other levels scale the offsets by a
power of their normal score, one power for all; it is chosen last, so that the 50 and 95 % intervals hold best.
"""

from __future__ import annotations

import numpy as np
import score
from scipy.optimize import minimize

from mops_analysis.metrics.arrays import Arrays
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.eta import doubt_inputs, eta
from mops_analysis.metrics.pace import estimate_remaining
from mops_analysis.metrics.running import count_work

SEEDS = (11, 12, 13)
NORMAL_SCORES = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.9600}
#: How much the fit is held back: kinds of work to come are not those of the fitting part.
RIDGE = 0.02
#: Towards what: constants found on another corpus, of other kinds, by the same method.
PRIOR = (
    np.array([-0.931, 0.156, 0.520, 1.198, 0.263, -0.170, 0.428]),
    np.array([0.832, 0.074, 0.264, 0.343, 0.335, -0.582, 1.225]),
)


def evidence(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, logarithm of truth over median, and weight of the scored samples of a fitting part."""
    samples = score.corpus("fitting", seed=seed)
    table, _ = score.scored(samples)
    arrays = Arrays.of(samples)
    running = count_work(arrays, includes_failed_so_far(arrays, "auto"))
    at = np.searchsorted(running.row, table["row"].to_numpy())
    estimate = estimate_remaining(running)
    inputs = np.array(doubt_inputs(running, estimate))[:, at]
    median = eta(samples, correction=False)["remaining_s"].to_numpy()[table["row"]]
    delta = estimate.delta[at]
    off = np.log((table["truth"].to_numpy() + delta) / (median + delta))
    per_job = table.groupby("job")["row"].transform("size") * table.groupby("kind")["job"].transform("nunique")
    return inputs, off, 1 / per_job.to_numpy()


def offset(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, weights @ inputs)


def fit(inputs: np.ndarray, off: np.ndarray, say: np.ndarray, tail: float, prior: np.ndarray) -> np.ndarray:
    """Weights whose offset is exceeded by this share of `off`."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        line = weights @ inputs
        miss = off - np.logaddexp(0, line)
        slope = np.where(miss > 0, -(1 - tail), tail) * say / (1 + np.exp(-line))
        total = (say * np.where(miss > 0, (1 - tail) * miss, -tail * miss)).sum()
        return total + RIDGE * (weights - prior) @ (weights - prior), inputs @ slope + 2 * RIDGE * (weights - prior)

    return minimize(loss, prior, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x


def main() -> None:
    parts = [evidence(seed) for seed in SEEDS]
    inputs, off, say = (np.concatenate([part[i] for part in parts], axis=-1) for i in range(3))
    say = say / say.sum()
    low, high = fit(inputs, -off, say, 0.1, PRIOR[0]), fit(inputs, off, say, 0.1, PRIOR[1])
    reach = offset(low, inputs), offset(high, inputs)
    print("_LOW =", tuple(low.round(3).tolist()))
    print("_HIGH =", tuple(high.round(3).tolist()))
    for power in (1, 1.2, 1.4, 1.6, 1.8):
        width = {level: (z / NORMAL_SCORES[0.8]) ** power for level, z in NORMAL_SCORES.items()}
        held = {level: (say * ((-w * reach[0] <= off) & (off <= w * reach[1]))).sum() for level, w in width.items()}
        print(f"power {power}:", "  ".join(f"{level:.0%} interval holds {share:.1%}" for level, share in held.items()))


if __name__ == "__main__":
    main()

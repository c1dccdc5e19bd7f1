"""Fit the interval of `eta` without its correction, and print its constants: `python benchmarks/eta/calibrate.py`.

The lower and the upper offset are softplus(a . x) of the inputs x of `eta`, in logarithms; each a minimises the pinball
loss at 9 and 91 %. Half of the say has the fitting part, half the simulated jobs that the correction is trained on,
with each of their mechanisms for a kind: kinds of work to come are not those of the fitting part. Every kind has the
same say, and every job of a kind. Printed, too, is how the interval holds on kinds left out of the fit.

Other levels scale the offsets by a power of their normal score, one power for all; it is chosen last, so that the 50
and 95 % intervals hold best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import prior
import score
from scipy.optimize import minimize

from mops_analysis.metrics.arrays import Arrays
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.eta import doubt_inputs, eta
from mops_analysis.metrics.pace import estimate_remaining
from mops_analysis.metrics.running import count_work

Floats = np.ndarray

SEEDS = (11, 12, 13)
NORMAL_SCORES = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.9600}
#: Share of truths beyond each end: less than a tenth, for the sake of the kinds in which the interval holds least.
TAIL = 0.09
#: Simulated jobs of each mechanism, their say among all, and how many samples of a job are looked at.
SIMULATED_JOBS, SIMULATED_SAY, ROWS_PER_JOB = 70, 0.5, 16
FOLDS = 6
#: How much the fit is held back,
RIDGE = 0.003
#: and towards what: constants found on another corpus, of other kinds, by the same method.
PRIOR = (
    np.array([-0.931, 0.156, 0.520, 1.198, 0.263, -0.170, 0.428, 0, 0]),
    np.array([0.832, 0.074, 0.264, 0.343, 0.335, -0.582, 1.225, 0, 0]),
)


@dataclass(frozen=True)
class Evidence:
    """Inputs (9 x rows), logarithm of truth over median, kind and job."""

    inputs: Floats
    off: Floats
    kind: Floats
    job: Floats

    def only(self, rows: Floats) -> Evidence:
        return Evidence(self.inputs[:, rows], self.off[rows], self.kind[rows], self.job[rows])

    def say(self) -> Floats:
        rows = pd.DataFrame({"kind": self.kind, "job": self.job})
        say = 1 / (rows.groupby("job")["kind"].transform("size") * rows.groupby("kind")["job"].transform("nunique"))
        return (say / say.sum()).to_numpy()


def joined(parts: list[Evidence]) -> Evidence:
    job = [f"{i} " + pd.Series(part.job).astype(str) for i, part in enumerate(parts)]
    return Evidence(
        np.hstack([part.inputs for part in parts]),
        np.concatenate([part.off for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate(job),
    )


def fitting(seed: int) -> Evidence:
    """Some of the scored samples of each job of a fitting part."""
    samples = score.corpus("fitting", seed=seed)
    table, _ = score.scored(samples)
    table = table.sample(frac=1, random_state=seed).groupby("job").head(ROWS_PER_JOB).sort_values("row")
    arrays = Arrays.of(samples)
    running = count_work(arrays, includes_failed_so_far(arrays, "auto"))
    at = np.searchsorted(running.row, table["row"].to_numpy())
    estimate = estimate_remaining(running)
    median = eta(samples, correction=False)["remaining_s"].to_numpy()[table["row"]]
    delta = estimate.delta[at]
    off = np.log((table["truth"].to_numpy() + delta) / (median + delta))
    inputs = np.array(doubt_inputs(running, estimate))[:, at]
    return Evidence(inputs, off, table["kind"].to_numpy(), table["job"].to_numpy())


def simulated(mechanism: prior.Mechanism, seed: int) -> Evidence:
    """Jobs of the training prior that have this mechanism, among others."""
    rng = np.random.default_rng(seed)
    polls = []
    while len(polls) < SIMULATED_JOBS:
        job = prior.draw(rng)
        mechanism(rng, job)
        polls += [drawn for drawn in [prior.polls_of(rng, job)] if len(drawn[0]) > 3]
    running, truth = prior.running_of(polls)
    estimate = estimate_remaining(running)
    rows = prior.some_rows(rng, running, truth, ROWS_PER_JOB)
    off = np.log((truth + estimate.delta) / (estimate.remaining + estimate.delta))[rows]
    kind = np.full(len(rows), f"simulated {mechanism.__name__}")
    job = [f"{mechanism.__name__} {head}" for head in running.head[rows]]
    return Evidence(np.array(doubt_inputs(running, estimate))[:, rows], off, kind, np.array(job))


def offset(weights: Floats, inputs: Floats) -> Floats:
    return np.logaddexp(0, weights @ inputs)


def fit(inputs: Floats, off: Floats, say: Floats, start: Floats) -> Floats:
    """Weights whose offset is exceeded by a share `TAIL` of `off`."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        line = weights @ inputs
        miss = off - np.logaddexp(0, line)
        slope = np.where(miss > 0, -(1 - TAIL), TAIL) * say / (1 + np.exp(-line))
        total = (say * np.where(miss > 0, (1 - TAIL) * miss, -TAIL * miss)).sum()
        return total + RIDGE * (weights - start) @ (weights - start), inputs @ slope + 2 * RIDGE * (weights - start)

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x


def fit_both(real: Evidence, made: Evidence) -> tuple[Floats, Floats]:
    inputs, off = np.hstack([real.inputs, made.inputs]), np.concatenate([real.off, made.off])
    say = np.concatenate([(1 - SIMULATED_SAY) * real.say(), SIMULATED_SAY * made.say()])
    return fit(inputs, -off, say, PRIOR[0]), fit(inputs, off, say, PRIOR[1])


def held(weights: tuple[Floats, Floats], evidence: Evidence, width: float = 1.0) -> pd.Series:
    """How often the interval holds, by kind."""
    low, high = (width * offset(each, evidence.inputs) for each in weights)
    inside = pd.Series((-low <= evidence.off) & (evidence.off <= high))
    return inside.groupby([evidence.kind, evidence.job]).mean().groupby(level=0).mean()


def main() -> None:
    real = joined([fitting(seed) for seed in SEEDS])
    made = joined([simulated(mechanism, seed) for seed, (_, mechanism) in enumerate(prior.BAG)])
    # A kind and the same kind recorded again are left out together.
    fold = pd.factorize(pd.Series(real.kind).str.removesuffix(" again"))[0] % FOLDS
    left_out = [held(fit_both(real.only(fold != i), made), real.only(fold == i)) for i in range(FOLDS)]
    by_kind = pd.concat(left_out).sort_values()
    print(f"kinds left out of the fit: {by_kind.mean():.1%}; least\n{by_kind.head(6).round(2).to_string()}\n")
    weights = fit_both(real, made)
    for name, each in zip(("_LOW", "_HIGH"), weights, strict=True):
        print(f"{name} =", tuple(each.round(3).tolist()))
    for power in (1, 1.2, 1.4, 1.6, 1.7, 1.8):
        width = {level: (z / NORMAL_SCORES[0.8]) ** power for level, z in NORMAL_SCORES.items()}
        share = {level: held(weights, real, each).mean() for level, each in width.items()}
        print(f"power {power}:", "  ".join(f"{level:.0%} interval holds {each:.1%}" for level, each in share.items()))


if __name__ == "__main__":
    main()

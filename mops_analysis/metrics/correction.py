"""What a small network makes of how a job has gone so far: by how much the estimate is likely to be off.

Forty inputs, all causal and all without a unit, then two hidden layers of tanh. Trained on simulated jobs by
``benchmarks/eta/train.py``; the weights are data. The derivation and the figures stand in ``docs/eta.md``.

Conventions as in `metrics.pace`; ``delta`` is the mean time between polls, ``B`` the estimate, ``lambda`` its log pace.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files

import numpy as np

from mops_analysis.metrics.arrays import Bools, Floats, Ints
from mops_analysis.metrics.pace import (
    ERROR_FLOOR,
    MIN_TICK_S,
    Estimate,
    all_ticks,
    growth_of_total,
    last_share,
    last_ticks,
    log_pace_since,
    origin_of,
    regularity,
    without_lead,
)
from mops_analysis.metrics.running import Running

Inputs = tuple[Floats, ...]
#: Logarithms of shares are cut off here; standardised inputs there.
_FLOOR, _CLIP = 7.0, 5.0
#: Inputs, activations and weights are multiples of this: their sums of products are exact, whatever their order.
_UNIT = 2.0**-18
#: By so much the intervals of the training prior are too narrow for jobs that it does not know.
_SPREAD = 1.2
_WEIGHTS = "data/eta_network.npz"
#: Rows that go through the network at once: few enough for one thread. Where more rows wake the threads of the linear
#: algebra library, they wait for one another at five times the cost.
_ROWS = 256


def correct(running: Running, estimate: Estimate) -> tuple[Floats, Floats, Floats]:
    """ln(truth over estimate) where it was made: median, and how far the 80 % interval reaches below and above it."""
    inputs = features(running, estimate)
    out = np.hstack([_network(inputs[:, start : start + _ROWS]) for start in range(0, inputs.shape[1] + 1, _ROWS)])
    step = np.logaddexp(0, out)
    return out[2] * _doubt(running, estimate), _SPREAD * (step[1] + step[0]), _SPREAD * (step[3] + step[4])


def _doubt(running: Running, estimate: Estimate) -> Floats:
    """B / (b + 0.02), b the mean past error of lambda: a steady job keeps its estimate. 1 if its total ever changed.

    The first two polls of a job are steady until the third says otherwise. Where the total has fallen the estimate
    stays as it is: the training jobs have no such total.
    """
    rows = estimate.rows
    error = (estimate.errors[0] + estimate.errors[1]) / 2
    error[estimate.polls == 1] = 0.0
    doubt = np.where(running.changed[rows], 1.0, error / (error + ERROR_FLOOR))
    return np.where(running.growth[rows] < 0, 0.0, doubt)


@cache
def _weights() -> dict[str, Floats]:
    with files("mops_analysis").joinpath(_WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as data:
        weights = {name: data[name].astype(np.float64) for name in data.files}
    return {name: _rounded(w) if name.startswith(("weights", "bias")) else w for name, w in weights.items()}


def _network(inputs: Floats) -> Floats:
    """Two hidden layers of tanh; five outputs: two steps down, the median, two steps up (5 x rows)."""
    data = _weights()
    layer = _rounded(np.clip((inputs.T - data["mean"]) / data["deviation"], -_CLIP, _CLIP))
    for number in (1, 2):
        layer = layer @ data[f"weights{number}"]
        layer += data[f"bias{number}"]
        layer = _rounded(np.tanh(layer, out=layer))
    out: Floats = (layer @ data["weights3"] + data["bias3"]).T
    return out


def _rounded(values: Floats) -> Floats:
    rounded = values / _UNIT
    np.rint(rounded, out=rounded)
    rounded *= _UNIT
    return rounded


def features(running: Running, estimate: Estimate) -> Floats:
    """The forty inputs of the network where the estimate was made (40 x r)."""
    inputs = np.empty((40, len(estimate.rows)))
    is_other = np.diff(estimate.newest, prepend=-1) != 0
    event, place = estimate.newest[is_other], np.cumsum(is_other) - 1
    number = 0
    for of_events in (_past_inputs, _pace_inputs, _spread_inputs):
        for values in of_events(estimate, event):
            inputs[number] = values.take(place)
            number += 1
    for of_rows in (_growth_inputs, _age_inputs, _place_inputs, _density_inputs, _story_inputs):
        for values in of_rows(running, estimate):
            inputs[number] = values
            number += 1
    return inputs


def _past_inputs(estimate: Estimate, at: Ints) -> Inputs:
    """How far off lambda was as a forecast: mean |e| and mean e at both origins, newest e at the first."""
    return (*(error.take(at) for error in estimate.ticking.past_errors), estimate.ticking.newest_error(at))


def _pace_inputs(estimate: Estimate, at: Ints) -> Inputs:
    """Log pace of other windows minus lambda; and of the newer half of the events minus the older half."""
    events, pace = estimate.ticking.events, estimate.ticking.pace
    log_pace = pace.log_pace[at]
    number = events.number[at]
    windows = (all_ticks, without_lead, partial(last_ticks, ticks=3), partial(last_share, parts=8))
    starts = (
        *(at - window(number) for window in windows),
        pace.origins[0][at],
        origin_of(events, (9, 10), at),
    )
    middle = at - -(-number // 2)
    older = log_pace_since(events, at - number, middle)
    turned = np.where(number > 1, log_pace_since(events, middle, at) - older, 0.0)
    ticked = number > 0
    apart = (np.where(ticked, log_pace_since(events, start, at) - log_pace, 0.0) for start in starts)
    return tuple(np.clip(value, -4, 4) for value in (*apart, turned))


def _spread_inputs(estimate: Estimate, at: Ints) -> Inputs:
    """Spread of ln(gap) and of ln(advance), regularity, and the longest gap as a share of the time."""
    ticking = estimate.ticking
    longest = np.maximum(ticking.longest_gap(at), MIN_TICK_S) / np.maximum(ticking.events.tau[at], MIN_TICK_S)
    return (
        np.minimum(np.sqrt(ticking.gap_variance.take(at)), 3),
        np.minimum(np.sqrt(ticking.advance_variance.take(at)), 3),
        regularity(ticking.events, ticking.gap_variance, at),
        np.clip(np.log(longest), -_FLOOR, 0),
    )


def _growth_inputs(running: Running, estimate: Estimate) -> Inputs:
    """Growth of the total over all, half, a quarter, an eighth of the polls; how long ago and how often it changed."""
    rows, delta = estimate.rows, estimate.delta
    ever, ago, changes = _since(running, running.resizes, rows)
    return (
        *(growth_of_total(running, parts, rows, estimate.polls) for parts in (1, 2, 4, 8)),
        np.where(ever, np.log((ago + delta) / (running.t.take(rows) + delta)), 0.0),
        np.where(ever, np.log(1.0 + changes) - np.log(1.0 + estimate.polls), 0.0),
    )


def _since(running: Running, happened: Ints, rows: Ints) -> tuple[Bools, Floats, Ints]:
    """Whether it has ever happened to the job, how long ago, and how often; it happened at these rows, which rise."""
    so_far = np.searchsorted(happened, rows, side="right")
    often: Ints = so_far - np.searchsorted(happened, running.head[rows])
    ever = often > 0
    newest = np.where(ever, np.append(happened, 0)[so_far - 1], rows)
    return ever, running.t.take(rows) - running.t.take(newest), often


def _age_inputs(running: Running, estimate: Estimate) -> Inputs:
    """How long the counter has stood still: against the usual gap, the time so far, and the time left."""
    age, delta = np.maximum(estimate.age, 0), estimate.delta
    return (
        np.minimum(np.log(1 + age / np.maximum(estimate.gap, MIN_TICK_S)), 6),
        np.clip(np.log((age + delta) / (running.t.take(estimate.rows) + delta)), -_FLOOR, 4),
        np.clip(np.log((age + delta) / (estimate.remaining + delta)), -_FLOOR, 4),
    )


def _place_inputs(running: Running, estimate: Estimate) -> Inputs:
    """How much is done, how much is left, and in how many steps."""
    rows, delta = estimate.rows, estimate.delta
    u, left = running.done(rows), np.maximum(running.left(rows), 0)
    ahead = estimate.remaining + delta
    share = running.work.take(rows) / np.maximum(running.size.take(rows), 1)
    seen = u / np.maximum(u + left.astype(np.float64), 1)
    ticks_left = left / np.maximum(estimate.mean_advance, 1e-9)
    return (
        share,
        _log_share(share),
        np.minimum(np.log(ahead / (running.t.take(rows) + delta)), 6),
        _log_share(seen),
        np.log(1.0 + estimate.ticks),
        np.log(1.0 + estimate.polls),
        np.minimum(np.log(1 + ticks_left), 9),
        np.minimum(np.log(ahead / delta), 9),
    )


def _log_share(share: Floats) -> Floats:
    return np.log(np.maximum(share, np.exp(-_FLOOR)))


def _density_inputs(running: Running, estimate: Estimate) -> Inputs:
    """Ticks per poll, so far and over the newest quarter of the polls."""
    events, polls, ticks = running.events, estimate.polls, estimate.ticks
    quarter = -(-polls // 4)
    before = events.number[events.newest[estimate.rows - quarter]]
    return ticks / np.maximum(polls, 1), (ticks - before) / np.maximum(quarter, 1)


def _story_inputs(running: Running, estimate: Estimate) -> Inputs:
    """Falls of the counter, lead time, and what was done before the first sample."""
    rows, delta, events = estimate.rows, estimate.delta, estimate.ticking.events
    t, u, work = running.t.take(rows), running.done(rows), running.work.take(rows)
    ever, ago, falls = _since(running, running.falls, rows)
    start = running.work[running.head[rows]]
    again = u / np.maximum(work - start, np.exp(-3) * np.maximum(u, 1))
    ticked = estimate.ticks > 0
    second = estimate.newest - estimate.ticks + ticked
    lead = np.where(ticked, events.tau[np.minimum(second, len(events.tau) - 1)], t)
    return (
        np.minimum(falls, 4).astype(np.float64),
        np.where(ever, np.log((ago + delta) / (t + delta)), 0.0),
        np.where(ever, np.log(np.maximum(again, 1)), 0.0),
        np.log((lead + delta) / (t + delta)),
        np.where(start > 0, _log_share(start / np.maximum(np.maximum(work, start), 1)), -_FLOOR),
    )

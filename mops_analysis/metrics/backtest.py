"""The track record of the forecasts: what `eta` would have said about jobs that have since finished.

Conventions: only jobs that went through all their items count; a job that failed or was cancelled has no true finish.
The true finish lies between the last sample before it and the first one after: half-way is taken. Beside `eta` stand
three usual formulas, each on the same honest counter ``u`` and the work left ``R``:

==========  ================================================================================================
"mops"      `eta`
"mean"      R t / u, the mean pace since the first sample; wget's formula
"tqdm"      R EMA(dt) / EMA(du), both over the samples that advanced, alpha = 0.3, corrected for their start; tqdm's
"window"    R dt / du over the newest ten steps between samples
==========  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from mops_analysis import schema
from mops_analysis.metrics.arrays import Arrays, Floats, IncludesFailed, Ints
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.eta import forecast_at, remaining_seconds
from mops_analysis.metrics.running import Running, count_work, finish_ns, finished_rows

_SHARES_DONE = (0.1, 0.25, 0.5, 0.75, 0.9)
_TQDM_ALPHA = 0.3
_WINDOW_STEPS = 10


def eta_backtest(
    samples: pd.DataFrame,
    *,
    interval: float = 0.8,
    processed_includes_failed: IncludesFailed = "auto",
    forecast: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How right `eta` and three usual formulas were about each finished job, when so much of it was done.

    Parameters
    ----------
    samples
        Frame as in `schema`.
    interval
        Share of cases in which the truth was to lie between low and high, more than 0 and less than 1.
    processed_includes_failed
        As in `eta`.
    forecast
        What `eta` returned for the samples with these options, where it is at hand already.

    Returns
    -------
    DataFrame
        One row per finished job, method ("mops", "mean", "tqdm", "window") and share done (0.1, 0.25, 0.5, 0.75, 0.9):
        `job_id`, `method`, `share_done`, `remaining_s`, `remaining_low_s`, `remaining_high_s`, `true_remaining_s` [s],
        `log_error`, `covered` (boolean, NA where there is no interval). Shares that were done before the first sample
        are left out. A forecast is NaN where nothing could be said.

    Raises
    ------
    SchemaError
        As `eta`, or if `forecast` is none of these samples.

    Notes
    -----
    With d the job's median time between samples, `log_error` is |ln((remaining_s + d) / (true_remaining_s + d))|, and
    an interval that misses the truth by d / 2 still counts as covering it: the samples know no better.

    Examples
    --------
    A job of constant pace; its finish was seen between 90 s and 100 s, so 95 s is taken:

    >>> times = pd.date_range("2026-11-18T14:00:00Z", periods=11, freq="10s")
    >>> samples = pd.DataFrame({"job_id": "job-1", "sampled_at": times, "status": ["in_progress"] * 10 + ["completed"],
    ...                         "progress_percentage": range(0, 101, 10), "processed_items": range(11),
    ...                         "total_items": 10, "failed_items": 0, "latency_s": 0.1})
    >>> backtest = eta_backtest(samples)
    >>> backtest.loc[backtest["method"] == "mops", ["share_done", "remaining_s", "true_remaining_s"]].round(3)
       share_done  remaining_s  true_remaining_s
    0        0.10         90.0              85.0
    1        0.25         70.0              65.0
    2        0.50         50.0              45.0
    3        0.75         20.0              15.0
    4        0.90         10.0               5.0
    """
    arrays = Arrays.of(samples)
    running = count_work(arrays, includes_failed_so_far(arrays, processed_includes_failed))
    moments = list(_moments(arrays, running))
    job = np.array([moment[0] for moment in moments], dtype=np.int64)
    share = np.array([moment[1] for moment in moments], dtype=np.float64)
    at = np.array([moment[2] for moment in moments], dtype=np.int64)
    if forecast is None:
        ours = remaining_seconds(arrays, interval, processed_includes_failed)[:, running.row[at]]
    else:
        ours = forecast_at(arrays, running.row[at].astype(np.int64), forecast).iloc[:, :3].to_numpy(dtype=np.float64).T
    unknown = np.full(len(at), np.nan)
    forecasts = {"mops": ours} | {
        method: np.array([formula(running)[at], unknown, unknown]) for method, formula in FORMULAS.items()
    }
    truth = (finish_ns(arrays)[job] - arrays.time_ns[running.row[at]]) / 1e9
    keys = {"job_id": pd.array(arrays.job_ids[job], dtype="string"), "share_done": share}
    tables = [
        pd.DataFrame({**keys, "method": method, **_compare(forecast, truth, _poll_intervals(arrays)[job])})
        for method, forecast in forecasts.items()
    ]
    table = pd.concat(tables).sort_values("job_id", kind="stable", ignore_index=True)
    return table[list(_DTYPES)].astype(_DTYPES)


_DTYPES = {
    "job_id": "string",
    "method": "string",
    "share_done": "float64",
    "remaining_s": "float64",
    "remaining_low_s": "float64",
    "remaining_high_s": "float64",
    "true_remaining_s": "float64",
    "log_error": "float64",
    "covered": "boolean",
}


def backtest_summary(backtest: pd.DataFrame, *, interval: float = 0.8) -> str:
    """The track record in one line, to stand under a forecast.

    Parameters
    ----------
    backtest
        What `eta_backtest` returned.
    interval
        The interval that was asked of it.

    Returns
    -------
    str
        How often the interval of `eta` held, and the median error when half of the work was done.

    Raises
    ------
    SchemaError
        If it is no such frame.

    Examples
    --------
    >>> backtest_summary(pd.DataFrame({"job_id": ["a", "b"], "method": "mops", "share_done": 0.5,
    ...                                "log_error": [0.1, 0.2], "covered": [True, False]}))
    '80 % interval held 50 % over your last 2 jobs; median error at half-way 16 %'
    """
    needed = ("job_id", "method", "share_done", "log_error", "covered")
    schema.require(backtest, needed, "backtest: expected what eta_backtest(samples) returned")
    ours = backtest[(backtest["method"] == "mops") & backtest["log_error"].notna()]
    if ours.empty:
        return "no finished job yet: this forecast has no track record"
    jobs = ours["job_id"].nunique()
    held = ours["covered"].astype("float64").groupby(ours["job_id"]).mean().mean()
    line = f"{interval * 100:.3g} % interval held {held * 100:.0f} % over your last {jobs} job{'s' * (jobs > 1)}"
    half_way = ours.loc[ours["share_done"] == 0.5, "log_error"]
    if len(half_way):
        line += f"; median error at half-way {np.expm1(half_way.median()) * 100:.0f} %"
    return line


def _compare(forecast: Floats, truth: Floats, poll_s: Floats) -> dict[str, Any]:
    median, low, high = forecast
    covered = (low - poll_s / 2 <= truth) & (truth <= high + poll_s / 2)
    return {
        "remaining_s": median,
        "remaining_low_s": low,
        "remaining_high_s": high,
        "true_remaining_s": truth,
        "log_error": np.abs(np.log((median + poll_s) / (truth + poll_s))),
        "covered": pd.Series(covered, dtype="boolean").mask(np.isnan(low)),
    }


# When finished jobs had done how much


def _moments(arrays: Arrays, running: Running) -> Iterator[tuple[int, float, int]]:
    """Each finished job's number, share done, and the first running row by which it was done."""
    ends = finished_rows(arrays)
    finished = np.flatnonzero(ends >= 0)
    starts, stops = (np.searchsorted(running.row, row[finished]) for row in (arrays.first, ends))
    for job, start, stop in zip(finished.tolist(), starts.tolist(), stops.tolist(), strict=True):
        rows = slice(start, stop)
        unit = running.head[rows] == running.head[rows][-1:]
        done = np.where(unit, running.work[rows] / np.maximum(running.size[rows][-1:], 1), 0.0)
        for share in _SHARES_DONE:
            at = np.flatnonzero(done >= share)[:1]
            if len(at) and at[0] > 0:
                yield job, share, start + int(at[0])


def _poll_intervals(arrays: Arrays) -> Floats:
    """Median time between the samples of each job [s] (k)."""
    step = pd.Series(np.diff(arrays.time_ns, prepend=0) / 1e9)
    step[arrays.first] = np.nan
    return np.asarray(step.groupby(arrays.job).median(), dtype=np.float64)


# The usual formulas


def _mean(running: Running) -> Floats:
    return _at_rate(running, running.t, running.u)


def _window(running: Running) -> Floats:
    start = np.maximum(np.arange(len(running.head)) - _WINDOW_STEPS, running.head)
    return _at_rate(running, running.t - running.t[start], running.u - running.done(start))


def _tqdm(running: Running) -> Floats:
    took, done = np.empty(len(running.head)), np.empty(len(running.head))
    t, u = running.t.tolist(), running.u.tolist()
    for i, head in enumerate(running.head.tolist()):
        if i == head:
            last, average_t, average_u = i, 0.0, 0.0
        if u[i] > u[last]:
            average_t += _TQDM_ALPHA * (t[i] - t[last] - average_t)
            average_u += _TQDM_ALPHA * (u[i] - u[last] - average_u)
            last = i
        # Both averages start from zero, short by the same factor: it leaves their quotient alone.
        took[i], done[i] = average_t, average_u
    return _at_rate(running, took, done)


def _at_rate(running: Running, took: Floats, done: Floats | Ints) -> Floats:
    """Time for the work left at `done` per `took`; NaN where nothing was done."""
    known = (done > 0) & running.known
    return np.where(known, (running.size - running.work) * took / np.where(known, done, 1), np.nan)


FORMULAS: dict[str, Callable[[Running], Floats]] = {"mean": _mean, "tqdm": _tqdm, "window": _window}

"""How many fail: failed over finished items, with the interval that the counts allow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import (
    NS,
    Arrays,
    Bools,
    Floats,
    IncludesFailed,
    Ints,
    Piece,
    Trail,
    by_block,
    nanoseconds,
)
from mops_analysis.metrics.counting import counted, failed_as_served, finished_as_served, includes_failed


def failure_rate(
    samples: pd.DataFrame,
    *,
    processed_includes_failed: IncludesFailed = "auto",
    window: float | str | pd.Timedelta | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Share of finished items that failed, at each sample: since the start, or over a trailing window.

    The cumulative rate is the job's verdict; the windowed one shows whether it gets worse. Failures often come in
    clusters (a bad batch at the start), so an early rate is no forecast, and the interval, which takes items for
    independent, is then too narrow.

    Parameters
    ----------
    samples
        Frame as in `schema`, n rows.
    processed_includes_failed
        The counting rule, see `counting`: it decides what "finished" means.
    window
        Width of the trailing window of clock time, in seconds or as a pandas offset string; None for the whole job.
    confidence
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    DataFrame
        n rows with the index of `samples`: `job_id`, `sampled_at`; `failed` and `finished`, float64, in the window or
        since the job's start [items]; `failure_rate`, `failure_rate_low`, `failure_rate_high`, float64, ratios 0-1,
        NaN where nothing finished, and where the counts contradict each other (more failed than finished); `label`
        where the samples have one.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, the window no duration, or the confidence no share.

    Notes
    -----
    Since the start: what the service had counted by the job's first sample, plus all rises since; a fall takes nothing
    back. In a window, cut at the job's first sample: the rise of both counters, which run straight from sample to
    sample, so counts at its left edge are fractions of items.

    The interval is Wilson's: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927) 209-212, by `statsmodels.stats.proportion.proportion_confint`.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": f"2026-11-18T14:0{minute}:00Z", "status": "in_progress",
    ...                    "progress_percentage": 10 * minute, "processed_items": items, "total_items": 100,
    ...                    "failed_items": failed, "latency_s": 0.1}
    ...                   for minute, items, failed in [(0, 0, 0), (1, 10, 0), (2, 18, 2)]])
    >>> failure_rate(frame)["failure_rate"].tolist()
    [nan, 0.0, 0.1]
    >>> failure_rate(frame, window="1min")["failure_rate"].tolist()
    [nan, 0.0, 0.2]
    """
    arrays = Arrays.of(samples)
    check_confidence(confidence)
    width = None if window is None else nanoseconds(window, "window")

    def formula(block: Arrays, includes_failed: Bools) -> Iterator[Piece]:
        failed = counted(block, failed_as_served(block))
        finished = counted(block, finished_as_served(block, includes_failed))
        trail = None if width is None else Trail.of(block, block.elapsed_ns, width)
        for rows in block.stretches():
            if trail is None:
                counts = failed[rows].astype(np.float64), finished[rows].astype(np.float64)
            else:
                window = trail.window(rows)
                counts = window.rise(failed), window.rise(finished)
            yield rows, dict(zip(_COLUMNS, (*counts, *wilson(*counts, confidence)), strict=True))

    rates = arrays.frame(by_block(arrays, formula, includes_failed(arrays, processed_includes_failed)))
    if width is not None:
        rates.attrs["window_s"] = width / NS  # so that a chart can tell the rates of a window from those so far
    return rates


_COLUMNS = ("failed", "finished", "failure_rate", "failure_rate_low", "failure_rate_high")


def check_confidence(confidence: float) -> None:
    """Raise SchemaError unless it is a share between 0 and 1."""
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise SchemaError(f"confidence: expected a share between 0 and 1 such as 0.95, got {confidence!r}")


def per_usual(rate: float, usual: float) -> float:
    """A failure rate as a multiple of the usual one; NaN where that is 0, or either is unknown."""
    return rate / usual if usual > 0 else np.nan


def wilson(failed: Floats | Ints, finished: Floats | Ints, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Share failed / finished with its Wilson interval; NaN where nothing finished, or less than failed."""
    from statsmodels.stats.proportion import proportion_confint

    # Counts at a window's edge are interpolated: where all failed, the two may differ in the last bit.
    says = (finished > 0) & (failed <= finished * (1 + 1e-12))
    out_of = np.where(says, finished, np.nan)
    of = np.minimum(failed, out_of)
    rate = of / out_of
    low, high = proportion_confint(of, out_of, alpha=1 - confidence, method="wilson")
    return rate, np.minimum(low, rate), np.maximum(high, rate)

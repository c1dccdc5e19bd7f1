"""Samples frames for the tests of the metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-11-18T14:00:00Z")


def job(
    seconds, processed, *, failed=0, total=1000, status="in_progress", percentage=None, job_id="job-1", start=START
):
    """Samples of one job at these seconds after the start."""
    n = len(seconds)
    processed, total, failed = (np.broadcast_to(counts, n).astype("int64") for counts in (processed, total, failed))
    if percentage is None:
        percentage = 100 * processed / np.maximum(total, 1)
    return pd.DataFrame(
        {
            "job_id": pd.array([job_id] * n, dtype="string"),
            "sampled_at": pd.DatetimeIndex(start + pd.to_timedelta(seconds, unit="s")).as_unit("ns"),
            "status": pd.array([status] * n if isinstance(status, str) else status, dtype="string"),
            "progress_percentage": np.broadcast_to(percentage, n).astype("float64"),
            "processed_items": processed,
            "total_items": total,
            "failed_items": failed,
            "latency_s": 0.1,
        }
    )


def jobs(*frames: pd.DataFrame) -> pd.DataFrame:
    """The frames of several jobs as one."""
    return pd.concat(frames, ignore_index=True)


def likely(seed: int, *, count: int = 3, longest: int = 40) -> pd.DataFrame:
    """Jobs as they come, sorted: uneven steps, gaps, batches, failures, falls, growing totals, waiting and reviews."""
    rng = np.random.default_rng(seed)
    return jobs(*(_likely_job(rng, f"job-{number:03d}", int(rng.integers(1, longest))) for number in range(count)))


def _likely_job(rng: np.random.Generator, job_id: str, n: int) -> pd.DataFrame:
    seconds = np.cumsum(rng.choice([0.0, 2.5, 3.0, 3.5, 10.0, 200.0], n, p=[0.03, 0.3, 0.37, 0.2, 0.07, 0.03]))
    rises = rng.poisson(rng.uniform(0.1, 2), n) * rng.integers(1, 30)
    fails = rng.binomial(rises, rng.choice([0.0, 0.02, 0.3]))
    waiting = int(rng.integers(0, 4)) * (n > 8)
    rises[:waiting], fails[:waiting] = 0, 0
    finished, failed = np.cumsum(rises), np.cumsum(fails)
    if rng.random() < 0.3 and n > 10:  # a retry
        at = int(rng.integers(5, n))
        finished[at:] -= finished[at] // 2
        failed[at:] = np.maximum(failed[at:] - failed[at], 0)
        finished = np.maximum(finished, failed)
    includes = rng.random() < 0.4
    total = np.full(n, max(int(finished.max()), 1) if rng.random() < 0.7 else int(rng.integers(0, 500)))
    if rng.random() < 0.3:
        total[: n // 2] //= 2
    status = np.array(["in_progress"] * n, dtype=object)
    status[:waiting] = "pending"
    if rng.random() < 0.3 and n > 12:
        status[n // 2 : n // 2 + 3] = "awaiting_review"
    if rng.random() < 0.5:
        status[-1] = rng.choice(["completed", "partial_success", "failed", "thinking"])
    offset = int(rng.choice([0, 0, 50]))
    processed = (finished if includes else finished - failed) + offset
    return job(
        seconds,
        processed,
        failed=failed,
        total=total,
        status=status.tolist(),
        percentage=np.floor(100 * np.minimum(finished / np.maximum(total, 1), 1)),
        job_id=job_id,
    )

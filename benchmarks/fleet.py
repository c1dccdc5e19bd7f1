"""Samples of many jobs for the drivers: counters that rise at random, polls every three seconds, a few retries."""

from __future__ import annotations

import numpy as np
import pandas as pd

START_NS = pd.Timestamp("2026-11-18T00:00:00Z").value
NS = 1_000_000_000


def samples(jobs: int, per_job: int, *, seed: int = 0) -> pd.DataFrame:
    """So many samples of each of so many jobs, as a sampler would have written them, sorted."""
    rng = np.random.default_rng(seed)
    rows = jobs * per_job
    begin = rng.integers(0, 6 * 3600, jobs) * NS
    latency_ms = rng.integers(50, 200, rows)
    time_ns = START_NS + np.repeat(begin, per_job) + np.tile(np.arange(per_job) * 3 * NS, jobs)
    rises = rng.poisson(3, (jobs, per_job))
    failed = rng.binomial(rises, 0.02).cumsum(axis=1)
    finished = rises.cumsum(axis=1)
    retried = np.flatnonzero(rng.random(jobs) < 0.3)
    for job, at in zip(retried, rng.integers(1, per_job, len(retried)), strict=True):
        finished[job, at:] -= finished[job, at]
        failed[job, at:] -= failed[job, at]
    total = np.repeat(np.maximum(finished.max(axis=1), 1), per_job)
    processed = (finished - failed).ravel()
    status = np.full((jobs, per_job), "in_progress", dtype=object)
    status[::2, -1] = "partial_success"
    return pd.DataFrame(
        {
            "job_id": pd.array(np.repeat([f"job-{number:07d}" for number in range(jobs)], per_job), dtype="string"),
            "sampled_at": pd.DatetimeIndex(time_ns + latency_ms * 500_000, tz="UTC").as_unit("ns"),
            "status": pd.array(status.ravel(), dtype="string"),
            "progress_percentage": np.round(100 * processed / total, 2),
            "processed_items": processed,
            "total_items": total,
            "failed_items": failed.ravel(),
            "latency_s": latency_ms / 1000,
        }
    )

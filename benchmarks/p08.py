"""P8: bytes that the store takes for a sample, and bytes written to the disk for one, compaction included.

Times to the nanosecond, as a sampler has them. Beside it: job and time as text, with an index on both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import mops_analysis as mops
from benchmarks.driver import Figure, main
from benchmarks.fleet import samples
from benchmarks.stores import fill_naive, polls, size

_BATCH = 667  # what 2,000 jobs give in one of their three seconds


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, reference_per_job = (20, 100, 50) if small else (2000, 500, 100)
    frame = _in_ns(samples(jobs, per_job))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.db"
        begun = _written()
        with mops.SampleStore(path) as store:
            given = polls(frame)
            for begin in range(0, len(given), _BATCH):
                store.append(*given[begin : begin + _BATCH])
        live = size(path)
        with mops.SampleStore(path) as store:
            assert store.compact() == len(frame)
        written, at_rest = _written() - begun, size(path)
        with mops.SampleStore(path) as store:
            pd.testing.assert_frame_equal(store.read_samples(), frame, check_exact=True)

        few = frame[frame.groupby("job_id").cumcount() < reference_per_job]
        naive = Path(folder) / "naive.db"
        begun = _written()
        fill_naive(naive, few, index=True, batch=_BATCH)
        reference_written, reference = (_written() - begun) / len(few), size(naive) / len(few)
    n, rows = len(frame), f"{len(few):,} samples"
    return [
        Figure("P8", f"at rest, per sample (text + index: {reference:.0f})", at_rest / n, 12, unit="B"),
        Figure("P8", "live, per sample", live / n, 48, unit="B"),
        Figure(
            "P8",
            f"written, per sample (text + index, {rows}: {reference_written:,.0f})",
            written / n,
            at_most=1000,
            unit="B",
        ),
    ]


def _in_ns(frame: pd.DataFrame) -> pd.DataFrame:
    """Late by 0.2 ms on average, latencies to the microsecond."""
    rng = np.random.default_rng(1)
    late_ns = (rng.exponential(200_000, len(frame))).astype(np.int64)
    at_ns = pd.DatetimeIndex(frame["sampled_at"]).asi8 + late_ns
    latency_us = np.round(frame["latency_s"].to_numpy() * 1e6) + rng.integers(0, 1000, len(frame))
    times = pd.DatetimeIndex(at_ns.view("M8[ns]"), tz="UTC")
    return frame.assign(sampled_at=times, latency_s=latency_us / 1e6)


def _written() -> int:
    """Bytes that this process has sent to the disk."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


if __name__ == "__main__":
    main(__doc__, measure)

"""Fixtures that more than one test module uses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mops_analysis import schema
from mops_analysis.store import SampleStore

START = pd.Timestamp("2026-11-18T14:00:00Z")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SampleStore]:
    """An empty sample store in a file of its own."""
    with SampleStore(tmp_path / "samples.db") as opened:
        yield opened


@pytest.fixture
def make_samples() -> Callable[..., pd.DataFrame]:
    """A function that builds the samples of one job, one every `every` seconds, from its counters."""

    def make(
        processed: list[int],
        *,
        job_id: str = "job-1",
        failed: list[int] | int = 0,
        total: list[int] | int = 100,
        status: list[str] | str = "in_progress",
        every: float = 10.0,
        times: list[float] | None = None,
        **extra: Any,
    ) -> pd.DataFrame:
        n = len(processed)
        seconds = times if times is not None else [every * i for i in range(n)]
        columns = {
            "processed_items": processed,
            "failed_items": [failed] * n if isinstance(failed, int) else failed,
            "total_items": [total] * n if isinstance(total, int) else total,
            "status": [status] * n if isinstance(status, str) else status,
        }
        records = [
            {
                "job_id": job_id,
                "sampled_at": START + pd.Timedelta(seconds=seconds[i]),
                "progress_percentage": 100.0 * processed[i] / columns["total_items"][i]
                if columns["total_items"][i]
                else 0.0,
                "latency_s": 0.1,
                **{name: values[i] for name, values in columns.items()},
                **extra,
            }
            for i in range(n)
        ]
        return schema.to_frame(records)

    return make

"""The samples as arrays, sorted by job and time, and the way back to the caller's rows.

Every metric starts with `Arrays.of(samples)`: it checks the frame once, sorts the rows, and numbers the jobs, so that
the formulas are plain numpy over all jobs at once. Every metric of one row per sample ends with `Arrays.frame(...)`,
which puts the results back under the caller's index, row for row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mops_analysis import schema
from mops_analysis.errors import SchemaError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
IncludesFailed = bool | str  # True, False or "auto"


@dataclass(frozen=True)
class Arrays:
    """Samples of n rows and k jobs, sorted by job and time.

    Attributes
    ----------
    samples
        The caller's frame, checked but in the caller's order.
    order
        For each sorted row, its position in the caller's frame (n).
    job_ids
        The jobs, sorted (k).
    job
        The number of the row's job, 0 to k - 1 (n).
    edges
        Job i has the rows ``edges[i]:edges[i + 1]`` (k + 1).
    time_ns
        Time of the sample since the epoch [ns] (n).
    status
        The status words (n, object).
    processed, total, failed
        The counters as served [items] (n).
    percentage
        The share done as served [%] (n).
    """

    samples: pd.DataFrame
    order: Ints
    job_ids: npt.NDArray[np.object_]
    job: Ints
    edges: Ints
    time_ns: Ints
    status: npt.NDArray[np.object_]
    processed: Ints
    total: Ints
    failed: Ints
    percentage: Floats

    @classmethod
    def of(cls, samples: pd.DataFrame) -> Arrays:
        """Check and sort a samples frame.

        Raises
        ------
        SchemaError
            As `schema.validate`.
        """
        positions = pd.RangeIndex(len(samples)) if isinstance(samples, pd.DataFrame) else None
        checked = schema.validate(samples.set_axis(positions) if positions is not None else samples)
        job, job_ids = pd.factorize(checked["job_id"].to_numpy(dtype=object), sort=True)
        return cls(
            samples=samples,
            order=checked.index.to_numpy(dtype=np.int64),
            job_ids=np.asarray(job_ids, dtype=object),
            job=job.astype(np.int64),
            edges=np.searchsorted(job, np.arange(len(job_ids) + 1)).astype(np.int64),
            time_ns=checked["sampled_at"].to_numpy(dtype="datetime64[ns]").astype(np.int64),
            status=checked["status"].to_numpy(dtype=object),
            processed=checked["processed_items"].to_numpy(),
            total=checked["total_items"].to_numpy(),
            failed=checked["failed_items"].to_numpy(),
            percentage=checked["progress_percentage"].to_numpy(),
        )

    @property
    def first(self) -> Ints:
        """Index of the first row of each job (k)."""
        return self.edges[:-1]

    @property
    def last(self) -> Ints:
        """Index of the last row of each job (k)."""
        return self.edges[1:] - 1

    def frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        """Put results back under the caller's rows.

        Parameters
        ----------
        columns
            Name to array of n values in the sorted order.

        Returns
        -------
        DataFrame
            n rows with the index of the caller's frame: `job_id`, `sampled_at`, then the columns.
        """
        back = np.empty_like(self.order)
        back[self.order] = np.arange(len(self.order))
        keys = {name: self.samples[name].astype(schema.SAMPLE_DTYPES[name]) for name in ("job_id", "sampled_at")}
        results = {name: pd.Series(values, copy=False).take(back).array for name, values in columns.items()}
        return pd.DataFrame({**keys, **results}, index=self.samples.index)


def seconds(duration: float | str | pd.Timedelta, name: str) -> float:
    """Return a duration, given in seconds or as a pandas offset string, in seconds.

    Raises
    ------
    SchemaError
        If it is no duration, or not positive and finite.

    Examples
    --------
    >>> seconds("2min", "window"), seconds(90, "window")
    (120.0, 90.0)
    """
    try:
        value = duration if isinstance(duration, int | float) else pd.Timedelta(duration).total_seconds()
    except (ValueError, TypeError):
        value = float("nan")
    if isinstance(duration, bool) or not (0 < value < float("inf")):
        raise SchemaError(f"{name}: expected seconds or a duration such as '2min', more than zero; got {duration!r}")
    return float(value)

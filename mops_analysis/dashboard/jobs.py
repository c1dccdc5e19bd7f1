"""The jobs that a picker offers: one row each, from samples, a summary or the jobs of a store."""

from __future__ import annotations

import pandas as pd

from mops_analysis import metrics, schema
from mops_analysis.errors import SchemaError

#: The columns of a jobs frame that the picker shows; only the first two must be there.
COLUMNS = {
    "job_id": "string",
    "status": "string",
    "label": "string",
    "share_done": "float64",
    "mean_items_per_s": "float64",
    "last_items_per_s": "float64",
    "eta": "datetime64[ns, UTC]",
    "ended_before": "datetime64[ns, UTC]",
    "last_sampled_at": "datetime64[ns, UTC]",
}

# A job of a store whose first poll has not come back has no status.
_UNSAMPLED = "unsampled"

# Where a status stands in the list: what an analyst can still act on comes first.
_ORDER = {"in_progress": 0, "awaiting_review": 1, "pending": 2}


def is_samples(frame: pd.DataFrame) -> bool:
    """Whether a frame has one row per sample, not one per job."""
    return "sampled_at" in frame.columns


def jobs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per job with the columns of `COLUMNS`, those that are unknown empty.

    Parameters
    ----------
    frame
        Samples, what `summary` made of them, or `SampleStore.jobs()`. A column `label` is kept.

    Returns
    -------
    DataFrame
        Running jobs first, then those waiting for somebody, then ended ones, the newest first; within each by id.

    Raises
    ------
    SchemaError
        If the frame is none of these, or names a job twice.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"expected samples or a summary (pandas DataFrame), got {type(frame).__name__}")
    rows = _summarised(frame) if is_samples(frame) else frame
    missing = [name for name in ("job_id", "status") if name not in rows.columns]
    if missing:
        raise SchemaError(f"column {missing[0]!r} is missing: expected samples, a summary, or the jobs of a store")
    if rows["job_id"].duplicated().any():
        raise SchemaError("column 'job_id': a job stands there twice; a summary has one row per job")
    jobs = rows.reindex(columns=list(COLUMNS)).astype(COLUMNS)
    jobs["status"] = jobs["status"].fillna(_UNSAMPLED)
    rank = jobs["status"].map(lambda status: _ORDER.get(status, 9 if status in schema.TERMINAL_STATUSES else 3))
    newest = jobs["last_sampled_at"].where(rank == 9)
    ordered = jobs.assign(_rank=rank, _newest=newest).sort_values(
        ["_rank", "_newest", "job_id"], ascending=[True, False, True]
    )
    return ordered[list(COLUMNS)].reset_index(drop=True)


def _summarised(samples: pd.DataFrame) -> pd.DataFrame:
    summary = metrics.summary(samples)
    if "label" in samples.columns and "label" not in summary.columns:
        newest = schema.validate(samples).drop_duplicates("job_id", keep="last").set_index("job_id")["label"]
        summary = summary.assign(label=summary["job_id"].map(newest))
    return summary


def slowest(jobs: pd.DataFrame, count: int) -> tuple[str, ...]:
    """Return the ids of the slowest running jobs, or of all jobs where none runs; at most `count`."""
    running = jobs[jobs["status"] == "in_progress"]
    if running["last_items_per_s"].notna().any():
        ranked = running.nsmallest(count, "last_items_per_s")
    else:
        ranked = jobs.nsmallest(count, "mean_items_per_s")
    return tuple(ranked["job_id"])

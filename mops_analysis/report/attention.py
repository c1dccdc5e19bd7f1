"""Which jobs need someone, and why."""

from __future__ import annotations

import pandas as pd

from mops_analysis import schema

#: What asks for attention, the most urgent first: a status or the kind of an anomaly, and how it is said.
REASONS = {
    "failed": "failed",
    "awaiting_review": "waits for a review",
    "stalled": "stalled",
    "failure_burst": "burst of failures",
    "unknown_status": "unknown status",
    "partial_success": "some items failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "completed_with_warnings": "warnings",
    "counter_reset": "counter reset",
    "inconsistent_counts": "counts contradict one another",
    "had_stalled": "stood still for a time",
    "total_changed": "total changed",
    "gap": "gaps in the samples",
}

#: Reasons that someone should act on; the others are good to know.
URGENT = frozenset({"failed", "awaiting_review", "stalled", "failure_burst", "unknown_status", "partial_success"})


def attention(summary: pd.DataFrame, anomalies: pd.DataFrame) -> pd.DataFrame:
    """Sort the jobs by what needs attention.

    A stall is urgent only while it lasts: a job that has ended or moves again has got over it.

    Parameters
    ----------
    summary, anomalies
        What `summary(samples)` and `anomalies(samples)` returned.

    Returns
    -------
    DataFrame
        The rows of `summary`, the most urgent first and the newest first among equals, with the further columns
        `reasons` (string, in words, empty where all is well) and `urgent` (bool).

    Examples
    --------
    >>> jobs = pd.DataFrame({"job_id": ["a", "b"], "status": ["completed", "failed"],
    ...                      "last_items_per_s": [1.0, 0.0], "last_sampled_at": pd.to_datetime([0, 0], utc=True)})
    >>> events = pd.DataFrame({"job_id": ["a"], "kind": ["gap"]})
    >>> attention(jobs, events)[["job_id", "reasons", "urgent"]].to_numpy().tolist()
    [['b', 'failed', True], ['a', 'gaps in the samples', False]]
    """
    kinds = {job_id: set(each) for job_id, each in anomalies.groupby("job_id")["kind"]}
    found = [
        _found(str(status), kinds.get(job_id, set()), stands=bool(rate == 0))
        for job_id, status, rate in zip(
            summary["job_id"], summary["status"], summary["last_items_per_s"].astype(float), strict=True
        )
    ]
    order = list(REASONS)
    ranked = summary.assign(
        reasons=pd.array([", ".join(dict.fromkeys(REASONS[kind] for kind in each)) for each in found], dtype="string"),
        urgent=[bool(URGENT.intersection(each)) for each in found],
        rank=[order.index(each[0]) if each else len(order) for each in found],
    )
    by = ["rank", "last_sampled_at", "job_id"]
    return ranked.sort_values(by, ascending=[True, False, True]).drop(columns="rank").reset_index(drop=True)


def _found(status: str, kinds: set[str], *, stands: bool) -> list[str]:
    """The reasons of one job, the most urgent first."""
    if "stalled" in kinds and (status in schema.TERMINAL_STATUSES or not stands):
        kinds = kinds - {"stalled"} | {"had_stalled"}
    return [reason for reason in REASONS if reason in kinds or reason == status]

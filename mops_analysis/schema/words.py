"""The words of the toolkit: columns, dtypes and statuses."""

from __future__ import annotations

#: Columns of the samples frame with their dtypes, in order.
SAMPLE_DTYPES = {
    "job_id": "string",
    "sampled_at": "datetime64[ns, UTC]",
    "status": "string",
    "progress_percentage": "float64",
    "processed_items": "int64",
    "total_items": "int64",
    "failed_items": "int64",
    "latency_s": "float64",
}

#: Columns of the polls frame with their dtypes, in order: every poll, good or bad, in the order of commit.
POLL_DTYPES = {
    "seq": "int64",
    "job_id": "string",
    "sampled_at": "datetime64[ns, UTC]",
    "latency_s": "float64",
    "outcome": "string",
    "http_status": "Int64",
    "detail": "string",
    "status": "string",
    "progress_percentage": "Float64",
    "processed_items": "Int64",
    "total_items": "Int64",
    "failed_items": "Int64",
}

#: The statuses that the service's documents name, in the order of a job's life.
STATUSES = (
    "pending",
    "in_progress",
    "awaiting_review",
    "completed",
    "completed_with_warnings",
    "partial_success",
    "failed",
    "cancelled",
)

#: Statuses that never change again. `awaiting_review` is not one of them, nor is any word that we do not know.
TERMINAL_STATUSES = frozenset(
    {"completed", "completed_with_warnings", "partial_success", "failed", "cancelled", "canceled"}
)

#: Terminal statuses that an analyst reads as "ended well".
GOOD_STATUSES = frozenset({"completed", "completed_with_warnings"})

#: The status of a job that is being worked on: only then do its clock and its forecast run.
RUNNING_STATUS = "in_progress"

#: The status of a job that waits for its turn, and of one that waits for a human: it may do so for days.
PENDING_STATUS, REVIEW_STATUS = "pending", "awaiting_review"

#: Terminal statuses of jobs that went through all their items, some of which may have failed.
FINISHED_STATUSES = GOOD_STATUSES | {"partial_success"}

#: Every status word that we know.
KNOWN_STATUSES = TERMINAL_STATUSES | frozenset(STATUSES)


def status_word(status: str) -> str:
    """Return the service's word as the samples frame has it: lower-cased, without blanks around it.

    Examples
    --------
    >>> status_word("COMPLETED")
    'completed'
    """
    return status.strip().lower()

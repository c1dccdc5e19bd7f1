"""How the watch of a job stands, or ended."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mops_analysis import schema
from mops_analysis.schema import JobStatus

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the watch of one job stands, or ended.

    Attributes
    ----------
    job_id
        The job.
    outcome
        "running"; "ended" (the status is terminal); "awaiting_review"; "timed_out"; "stopped"; "gave_up" (too many
        faults, or asked to wait too long); or the kind of the fault that ended it, a key of `errors.POLL_FAULTS`.
    status
        What the service said last; None before its first good reply.
    polls, failures
        How many polls there were, and how many of them gave no sample.
    fault
        Kind of the newest poll's fault; None if it was good.
    detail
        That fault in words, redacted.
    next_poll_in_s
        Time to the next poll [s]; NaN while one is under way, or when there is none to come.
    """

    job_id: str
    outcome: str
    status: JobStatus | None
    polls: int
    failures: int
    fault: str | None
    detail: str | None
    next_poll_in_s: float


def to_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row per job: `job_id`, `outcome`, `status`, `polls`, `failures`, `detail`."""
    import pandas as pd

    rows = [(row.job_id, row.outcome, _word(row), row.polls, row.failures, row.detail) for row in outcomes]
    frame = pd.DataFrame(rows, columns=["job_id", "outcome", "status", "polls", "failures", "detail"])
    text = dict.fromkeys(("job_id", "outcome", "status", "detail"), "string")
    return frame.astype({**text, "polls": "int64", "failures": "int64"})


def _word(row: Outcome) -> str | None:
    return None if row.status is None else schema.status_word(row.status.status)


def warn_of_unknown(words: dict[str, str]) -> None:
    """Warn of statuses that we do not know, each given with the job that had it."""
    for word, job_id in words.items():
        warnings.warn(
            f"job {job_id!r}: status {word[:100]!r} is not one we know; it is not taken for an end, "
            "the watch goes on until its timeout",
            stacklevel=3,
        )

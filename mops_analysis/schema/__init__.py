"""The words of the toolkit: the service's reply, and the samples frame made of replies.

====================  ==========================================================  =====  ====================
name                  meaning                                                     unit   dtype
====================  ==========================================================  =====  ====================
``job_id``            the job, as asked for                                       -      string
``sampled_at``        client's clock, middle of request and reply                 -      datetime64[ns, UTC]
``status``            the service's word, lower-cased; any word is allowed        -      string
progress_percentage   as served; may disagree with the counts                     %      float64
``processed_items``   as served; may or may not include the failed ones           items  int64
``total_items``       as served; may be 0, grow or shrink                         items  int64
``failed_items``      as served                                                   items  int64
``latency_s``         request to last byte; half is the doubt of ``sampled_at``   s      float64
====================  ==========================================================  =====  ====================

A *poll* is one request for one job's status, good or bad; a *sample* is a poll that succeeded. The samples frame has
one row per sample, sorted by ``job_id`` and then ``sampled_at``. Further columns pass through untouched; a column
``label`` is shown in place of ``job_id`` in charts and reports.

This is the only place that maps a key of the service's JSON or names a column, a dtype, a unit or a status word:
`words` has the names, `reply` what the service says, `samples` the frame.
"""

from mops_analysis.schema.reply import JobStatus, Poll, decode_reply
from mops_analysis.schema.samples import (
    aware_times,
    by_job,
    changes,
    check,
    in_order,
    is_ordered,
    require,
    to_frame,
    validate,
)
from mops_analysis.schema.words import (
    FINISHED_STATUSES,
    GOOD_STATUSES,
    KNOWN_STATUSES,
    PENDING_STATUS,
    POLL_DTYPES,
    REVIEW_STATUS,
    RUNNING_STATUS,
    SAMPLE_DTYPES,
    STATUSES,
    TERMINAL_STATUSES,
    status_word,
)

__all__ = [
    "FINISHED_STATUSES",
    "GOOD_STATUSES",
    "KNOWN_STATUSES",
    "PENDING_STATUS",
    "POLL_DTYPES",
    "REVIEW_STATUS",
    "RUNNING_STATUS",
    "SAMPLE_DTYPES",
    "STATUSES",
    "TERMINAL_STATUSES",
    "JobStatus",
    "Poll",
    "aware_times",
    "by_job",
    "changes",
    "check",
    "decode_reply",
    "in_order",
    "is_ordered",
    "require",
    "status_word",
    "to_frame",
    "validate",
]

"""What counts as finished: the one place that knows whether `processed_items` includes the failed ones.

The service's documents say both "items successfully processed" and "how many items have finished so far". So one of two
rules holds, and the samples themselves mostly tell which:

- *disjoint*: finished = processed + failed (``processed_includes_failed=False``);
- *inclusive*: finished = processed (``processed_includes_failed=True``).

A counter that falls (a retry, a restart) opens a new segment: the fall is no work and no negative rate, and only
rises count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mops_analysis import schema
from mops_analysis.errors import SchemaError
from mops_analysis.metrics.arrays import Arrays, Bools, IncludesFailed, Ints, stretches

# Counters beyond this are taken as this: sums of any two stay whole numbers in 64-bit integers and floats alike.
_MOST_ITEMS = 2**52


@dataclass(frozen=True)
class _Evidence:
    """One kind of evidence: the rule that it speaks for, and how it is told."""

    includes_failed: bool
    words: str


# From the strongest to the weakest. The last one is outdone by the other jobs: a percentage computed from processed and
# total, as the documents have it, fits both rules; it decides only where nothing else does.
_EVIDENCE = (
    _Evidence(False, "ended with processed + failed = total ({processed} + {failed} = {total})"),
    _Evidence(True, "ended with processed = total ({processed}), {failed} of them failed"),
    _Evidence(True, "processed + failed ({processed} + {failed}) > total {total} at {time}"),
    _Evidence(False, "failed {failed} > processed {processed} at {time}"),
    _Evidence(
        False,
        "the served {percentage:g} % fits (processed + failed) / total and not processed / total "
        "({processed} + {failed} of {total} at {time})",
    ),
    _Evidence(
        True,
        "the served {percentage:g} % fits processed / total and not (processed + failed) / total "
        "({processed} + {failed} of {total} at {time})",
    ),
)
_WEAK = len(_EVIDENCE) - 1
_INCLUSIVE = np.array([evidence.includes_failed for evidence in _EVIDENCE])

_RULES = {False: "disjoint", True: "inclusive"}


def counting(samples: pd.DataFrame, *, processed_includes_failed: IncludesFailed = "auto") -> pd.DataFrame:
    """The counting rule in force for each job, and its evidence.

    Look at it before trusting a failure rate: the rule changes what "finished" means. Where nothing decides, both rules
    may be tried: every metric takes ``processed_includes_failed``.

    Parameters
    ----------
    samples
        Frame as in `schema`; all of a job's samples are evidence for it.
    processed_includes_failed
        True or False sets the rule; "auto" takes it from the evidence.

    Returns
    -------
    DataFrame
        One row per job, sorted: `job_id`; `processed_includes_failed` (bool), the rule; `decided` (bool), whether
        anything speaks for it; `evidence` (string), what does; `label` where the samples have one.

    Raises
    ------
    SchemaError
        If the frame is no samples frame, or the rule is none of the three.

    Notes
    -----
    Evidence, from the strongest, each from samples with failed items:

    1. A job that went through all its items (completed, completed with warnings, partial success) ended with processed
       + failed = total: disjoint; or with processed = total: inclusive.
    2. Processed + failed > total >= processed, at the last total and one that stood already in the sample before, or
       at the end: inclusive.
    3. Failed > processed, before any fall of processed: disjoint.
    4. The served percentage fits (processed + failed) / total and not processed / total: disjoint. It fits where it may
       be the quotient, rounded to its last decimal to the nearest or down. The majority of telling samples counts.
    5. The majority of the other jobs in the frame that have evidence of kinds 1 to 4.
    6. The percentage fits processed / total and not (processed + failed) / total: inclusive.

    Where nothing speaks, the rule is disjoint and undecided. Evidence of kinds 1 to 4 against the rule is named too.

    Examples
    --------
    >>> from mops_analysis.schema import to_frame
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": "2026-11-18T14:00:00Z", "status": "completed",
    ...                    "progress_percentage": 100, "processed_items": 95, "total_items": 100, "failed_items": 5,
    ...                    "latency_s": 0.1}])
    >>> counting(frame).loc[0, "evidence"]
    'ended with processed + failed = total (95 + 5 = 100)'
    """
    arrays = Arrays.of(samples)
    asked = _asked(processed_includes_failed)
    if asked is not None:
        rule = np.full(len(arrays.job_ids), asked)
        decided = np.full(len(rule), True)
        told = [f"set by the caller: {_RULES[asked]}"] * len(rule)
    else:
        found = _found(arrays)
        votes = _votes_in_force(found, processed_includes_failed)
        rule, source = _decide(found, votes)
        decided = source >= 0
        told = [_told(arrays, found, job, int(source[job]), votes) for job in range(len(rule))]
    return pd.DataFrame(
        {
            "job_id": pd.array(arrays.job_ids, dtype="string"),
            "processed_includes_failed": rule,
            "decided": decided,
            "evidence": pd.array(told, dtype="string"),
            **arrays.label(),
        }
    )


@dataclass(frozen=True)
class Votes:
    """How many jobs have evidence of kinds 1 to 4, by the rule that it speaks for.

    Given as `processed_includes_failed`, it is "auto" with these votes in the place of those in the frame: so a part of
    the jobs gives the numbers that it gives among all of them.
    """

    inclusive: int = 0
    disjoint: int = 0

    def __add__(self, other: Votes) -> Votes:
        return Votes(self.inclusive + other.inclusive, self.disjoint + other.disjoint)

    @property
    def majority(self) -> bool | None:
        """Whether processed items include the failed ones; None for a tie."""
        return None if self.inclusive == self.disjoint else self.inclusive > self.disjoint


def votes(samples: pd.DataFrame) -> Votes:
    """What the jobs of a samples frame say to the jobs that do not know."""
    return _votes(_found(Arrays.of(samples)))


def votes_by_job(samples: pd.DataFrame) -> dict[str, Votes | None]:
    """What each job of a samples frame says to the jobs that do not know; None for a job that takes their word."""
    arrays = Arrays.of(samples)
    found = _found(arrays)
    said = [Votes(inclusive=int(speaks_for), disjoint=int(not speaks_for)) for speaks_for in _INCLUSIVE]
    silent = [Votes() if nothing_failed else None for nothing_failed in found.nothing_failed]
    kinds = zip(arrays.job_ids, _own(found), silent, strict=True)
    return {str(job_id): said[kind] if kind >= 0 else otherwise for job_id, kind, otherwise in kinds}


def includes_failed(arrays: Arrays, processed_includes_failed: IncludesFailed | Votes) -> Bools:
    """Whether each job's processed items include its failed ones: the rule of `counting` (k)."""
    asked = _asked(processed_includes_failed)
    if asked is not None:
        return np.full(len(arrays.job_ids), asked)
    found = _found(arrays)
    return _decide(found, _votes_in_force(found, processed_includes_failed))[0]


def includes_failed_so_far(block: Arrays, processed_includes_failed: IncludesFailed | Votes) -> Bools:
    """Whether processed items include the failed ones, judged at each row from the job's rows up to it alone (n).

    For forecasts, which must not know the end: only the served percentage votes, row by row (kinds 4 and 6 of
    `counting`); disjoint until the votes for inclusive are more.
    """
    asked = _asked(processed_includes_failed)
    if asked is not None:
        return np.full(len(block.time_ns), asked)
    processed, total, failed = (_counts(counts) for counts in (block.processed, block.total, block.failed))
    disjoint, inclusive = _fits(block.percentage, processed, failed, total)
    return block.so_far(inclusive) > block.so_far(disjoint)


def _asked(processed_includes_failed: IncludesFailed | Votes) -> bool | None:
    if isinstance(processed_includes_failed, bool | np.bool_):
        return bool(processed_includes_failed)
    if not isinstance(processed_includes_failed, Votes) and processed_includes_failed != "auto":
        raise SchemaError(
            f"processed_includes_failed: expected True, False or 'auto', got {processed_includes_failed!r}"
        )
    return None


# -- evidence ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What was found: per job and kind of evidence its first row, -1 where there is none; and where nothing failed."""

    row: Ints
    nothing_failed: Bools


def _found(arrays: Arrays) -> _Found:
    found = _Found(np.full((len(arrays.job_ids), len(_EVIDENCE)), -1), np.full(len(arrays.job_ids), True))
    for rows, jobs, block in arrays.blocks():
        failing = np.flatnonzero(block.failed > 0)
        if not len(failing):
            continue
        found.nothing_failed[jobs] = block.count(failing) == 0
        count = np.zeros((len(block.job_ids), len(_EVIDENCE)), dtype=np.int64)
        for kind, row in enumerate(_telling(block, failing)):
            count[:, kind] = block.count(row)
            first = block.first_of(row)
            found.row[jobs, kind] = np.where(first < 0, -1, rows.start + first)
        balance = count[:, _WEAK - 1] - count[:, _WEAK]
        found.row[jobs, _WEAK - 1][balance <= 0] = -1
        found.row[jobs, _WEAK][balance >= 0] = -1
    return found


def _telling(block: Arrays, failing: Ints) -> list[Ints]:
    """For each kind of evidence, those of the rows (all with failed items) that have it."""
    rows = (failing[part] for part in stretches(len(failing)))
    parts = [[row[may_tell] for may_tell in _may_tell(block, row)] for row in rows]
    disjoint_end, inclusive_end, beyond, more_failed, with_failed, alone = (
        np.concatenate(found) for found in zip(*parts, strict=True)
    )
    return [
        _at_the_end(block, disjoint_end),
        _at_the_end(block, inclusive_end),
        _at_settled_total(block, beyond),
        _before_any_fall(block, more_failed),
        with_failed,
        alone,
    ]


def _may_tell(block: Arrays, row: Ints) -> list[Bools]:
    """For each kind of evidence, whether the counts of the rows are as it asks, wherever in the job they stand."""
    processed, total, failed = (_counts(counts[row]) for counts in (block.processed, block.total, block.failed))
    both, has_total = processed + failed, total > 0
    return [
        has_total & (both == total),
        has_total & (processed == total),
        has_total & (both > total) & (processed <= total),
        failed > processed,
        *_fits(block.percentage[row], processed, failed, total),
    ]


def _at_the_end(block: Arrays, row: Ints) -> Ints:
    """Those of the rows that are their job's last, and show it gone through all its items."""
    last = row[row == block.each_at(row, block.last)]
    ended: Ints = last[block.is_status(schema.FINISHED_STATUSES)[last]]
    return ended


def _at_settled_total(block: Arrays, row: Ints) -> Ints:
    """Those of the rows at the job's last total that had it in the sample before too, or are at the end."""
    is_last_total = block.total[row] == block.each_at(row, block.total[block.last])
    stood = (row != block.each_at(row, block.first)) & (block.total[row] == block.total[np.maximum(row - 1, 0)])
    settled: Ints = row[is_last_total & (stood | block.is_status(schema.TERMINAL_STATUSES)[row])]
    return settled


def _before_any_fall(block: Arrays, row: Ints) -> Ints:
    """Those of the rows by which `processed_items` had not fallen."""
    fall = block.first_of(np.flatnonzero(block.compared(np.less, _counts(block.processed))))
    before: Ints = row[row < block.each_at(row, np.where(fall < 0, len(block.time_ns), fall))]
    return before


def _fits(percentage: npt.NDArray[np.float64], processed: Ints, failed: Ints, total: Ints) -> tuple[Bools, Bools]:
    """Whether the percentage may be (processed + failed) / total and not processed / total, and the other way round.

    It may be a quotient where it is that, rounded to its last decimal (none, one or two), or down.
    """
    is_whole = percentage == np.rint(percentage)
    unit = 1.0 if is_whole.all() else np.where(is_whole, 1.0, np.where(_is_tenths(percentage), 0.1, 0.01))
    quotient = 100.0 / np.maximum(total, 1)
    ahead = percentage - processed * quotient
    alone = (ahead > 1e-9 - unit) & (ahead <= unit / 2 + 1e-9)
    ahead -= failed * quotient
    with_failed = (ahead > 1e-9 - unit) & (ahead <= unit / 2 + 1e-9)
    knows = (with_failed != alone) & (total > 0) & (processed + failed <= total)
    return with_failed & knows, alone & knows


def _is_tenths(percentage: npt.NDArray[np.float64]) -> Bools:
    tenths = 10 * np.clip(percentage, -1000, 1000)
    return np.abs(tenths - np.rint(tenths)) < 1e-9


def _own(found: _Found) -> Ints:
    """Per job the strongest kind of evidence of its own, the weak one left out; -1 where it has none."""
    has = found.row[:, :_WEAK] >= 0
    return np.where(has.any(axis=1), np.argmax(has, axis=1), -1)


def _votes(found: _Found) -> Votes:
    own = _own(found)
    speaks_for = _INCLUSIVE[own[own >= 0]]
    return Votes(inclusive=int(speaks_for.sum()), disjoint=int((~speaks_for).sum()))


def _votes_in_force(found: _Found, processed_includes_failed: IncludesFailed | Votes) -> Votes:
    return processed_includes_failed if isinstance(processed_includes_failed, Votes) else _votes(found)


def _decide(found: _Found, votes: Votes) -> tuple[Bools, Ints]:
    """Per job the rule, and the kind of evidence for it; beyond the kinds: the other jobs'; -1: nothing."""
    own = _own(found)
    majority = votes.majority is True
    from_others = (own < 0) & ~found.nothing_failed & (votes.majority is not None)
    weak = (own < 0) & ~from_others & (found.row[:, _WEAK] >= 0)
    source = np.where(from_others, len(_EVIDENCE), np.where(weak, _WEAK, own))
    return np.where(source < 0, majority, np.append(_INCLUSIVE, majority)[source]), source


def _told(arrays: Arrays, found: _Found, job: int, kind: int, votes: Votes) -> str:
    if found.nothing_failed[job]:
        return "undecided: nothing failed; both rules give the same numbers"
    if kind < 0:
        return "undecided: no sample tells the rules apart; taken as disjoint"
    own = [other for other in range(_WEAK) if found.row[job, other] >= 0]
    if kind == len(_EVIDENCE):
        rule = votes.majority is True
        agree, all_votes = max(votes.inclusive, votes.disjoint), votes.inclusive + votes.disjoint
        words = f"from the other jobs in the frame: {_RULES[rule]} in {agree} of {all_votes}"
    else:
        rule = _EVIDENCE[kind].includes_failed
        words = _words(arrays, kind, int(found.row[job, kind]))
    against = [other for other in own if _EVIDENCE[other].includes_failed != rule]
    return "; against it: ".join([words, *(_words(arrays, other, int(found.row[job, other])) for other in against)])


def _words(arrays: Arrays, kind: int, row: int) -> str:
    return _EVIDENCE[kind].words.format(
        processed=arrays.processed[row],
        failed=arrays.failed[row],
        total=arrays.total[row],
        percentage=arrays.percentage[row],
        time=pd.Timestamp(int(arrays.time_ns[row]), tz="UTC").strftime("%H:%M:%S UTC"),
    )


# -- counters ------------------------------------------------------------------------------------------------------


def _counts(counter: Ints) -> Ints:
    return np.clip(counter, -_MOST_ITEMS, _MOST_ITEMS)


def finished_as_served(block: Arrays, includes_failed: Bools) -> Ints:
    """Finished items by the service's counters, falls and all [items] (n)."""
    finished = _counts(block.processed)
    return np.add(finished, _counts(block.failed), out=finished, where=block.each(~includes_failed))


def failed_as_served(block: Arrays) -> Ints:
    """Failed items by the service's counter, falls and all [items] (n)."""
    return _counts(block.failed)


def rises(block: Arrays, counter: Ints) -> Ints:
    """Items counted since the job's sample before: 0 where the counter fell, and at the job's first sample (n)."""
    rise = block.steps(counter)
    return np.maximum(rise, 0, out=rise)


def counted(block: Arrays, counter: Ints) -> Ints:
    """Items counted since the job's start: what the counter had at its first sample, and all rises since (n)."""
    rise = rises(block, counter)
    rise[block.first] = np.maximum(counter[block.first], 0)
    return block.so_far(rise, out=rise)


def fell(block: Arrays) -> Bools:
    """Whether a counter of items is less than in the job's sample before (n)."""
    return block.compared(np.less, _counts(block.processed)) | block.compared(np.less, _counts(block.failed))

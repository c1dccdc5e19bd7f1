"""Facts about the counting rule, with answers worked by hand."""

from __future__ import annotations

import pytest
from frames import job, jobs

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import counting, throughput


def told(samples, **options) -> tuple[bool, bool, str]:
    """Rule, decided and evidence of the first job."""
    row = counting(samples, **options).iloc[0]
    return bool(row["processed_includes_failed"]), bool(row["decided"]), row["evidence"]


def test_end_at_sum_is_disjoint():
    """A job that went through everything with processed + failed = total counts failures apart."""
    samples = job([0, 60], [40, 95], failed=[0, 5], total=100, status=["in_progress", "completed"])
    assert told(samples) == (False, True, "ended with processed + failed = total (95 + 5 = 100)")


def test_end_at_processed_is_inclusive():
    """A job that went through everything with processed = total counts failures in."""
    samples = job([0, 60], [40, 100], failed=[0, 5], total=100, status=["in_progress", "partial_success"])
    assert told(samples) == (True, True, "ended with processed = total (100), 5 of them failed")


@pytest.mark.parametrize("status", ["failed", "cancelled", "in_progress"])
def test_unclean_end_says_nothing(status):
    """A job that was broken off may stop at any sum: 90 + 10 = 100 by chance is no evidence."""
    samples = job([0, 60], [40, 90], failed=[0, 10], total=100, status=["in_progress", status], percentage=[40, 95])
    assert told(samples) == (False, False, "undecided: no sample tells the rules apart; taken as disjoint")


def test_more_than_the_total_is_inclusive():
    """Processed + failed beyond a total that stands cannot be disjoint."""
    samples = job([0, 60, 120], [10, 80, 98], failed=[0, 0, 7], total=100, percentage=0)
    assert told(samples) == (True, True, "processed + failed (98 + 7) > total 100 at 14:02:00 UTC")


def test_a_stale_total_is_no_evidence():
    """Counters may run ahead of a total that is still being counted."""
    samples = job([0, 60, 120], [10, 98, 110], failed=[0, 7, 9], total=[90, 100, 130], percentage=0)
    assert told(samples)[1] is False


def test_a_total_that_stood_and_then_grew_is_no_evidence():
    """Only the last total counts: an earlier one may have been announced too low, twice."""
    samples = job([0, 60, 120], [10, 98, 99], failed=[0, 7, 9], total=[100, 100, 130], percentage=0)
    assert told(samples)[1] is False


def test_more_processed_than_the_total_is_no_evidence():
    """Then both rules are beyond the total."""
    samples = job([0, 60, 120], [10, 90, 120], failed=[0, 0, 7], total=100, percentage=0)
    assert told(samples)[1] is False


def test_more_failed_than_processed_is_disjoint():
    """Failures that outnumber the processed items cannot be among them."""
    samples = job([0, 71], [0, 3], failed=[0, 12], total=100, percentage=0)
    assert told(samples) == (False, True, "failed 12 > processed 3 at 14:01:11 UTC")


def test_more_failed_after_a_fall_is_no_evidence():
    """A retry that starts processed_items again may leave failed_items standing."""
    samples = job([0, 60, 120], [50, 90, 2], failed=[0, 6, 6], total=100, percentage=0)
    assert told(samples)[1] is False


def test_percentage_of_the_sum_is_disjoint():
    """50 % at 40 processed and 10 failed of 100 counts both; 40 % is too far for rounding."""
    samples = job([0, 60], [20, 40], failed=[0, 10], total=100, percentage=[20, 50])
    rule, decided, evidence = told(samples)
    assert (rule, decided) == (False, True)
    assert evidence.startswith("the served 50 % fits (processed + failed) / total")


def test_percentage_of_processed_is_inclusive():
    """40 % at 40 processed and 10 failed of 100, where nothing else speaks, counts failures in."""
    samples = job([0, 60], [20, 40], failed=[0, 10], total=100, percentage=[20, 40])
    rule, decided, evidence = told(samples)
    assert (rule, decided) == (True, True)
    assert evidence.startswith("the served 40 % fits processed / total")


@pytest.mark.parametrize(("percentage", "decided"), [(40, False), (41, True), (40.1, True), (40.9, True)])
def test_rounding_is_no_evidence(percentage, decided):
    """401 or 409 of 1000? 40 % may be either, rounded down; 41 % is 40.9 to the nearest and never 40.1."""
    samples = job([0, 60], [0, 401], failed=[0, 8], total=1000, percentage=[0, percentage])
    assert told(samples)[1] is decided


def test_the_stronger_of_two_contradictions_wins():
    """An end at processed + failed = total outdoes failures counted late, and says so."""
    samples = job([0, 60, 120], [96, 97, 95], failed=[0, 9, 5], total=100, status=["in_progress"] * 2 + ["completed"])
    samples["progress_percentage"] = 0.0
    rule, decided, evidence = told(samples)
    assert (rule, decided) == (False, True)
    assert evidence == (
        "ended with processed + failed = total (95 + 5 = 100); "
        "against it: processed + failed (97 + 9) > total 100 at 14:01:00 UTC"
    )


def test_others_decide_where_a_job_cannot():
    """A job without evidence of its own follows the majority of the others; so does a percentage that fits both."""
    ended = job([0, 60], [40, 95], failed=[0, 5], total=100, status=["in_progress", "completed"], job_id="job-2")
    running = job([0, 60], [20, 40], failed=[0, 10], total=100, percentage=[20, 40])
    rule, decided, evidence = told(jobs(running, ended))
    assert (rule, decided) == (False, True)
    assert evidence == "from the other jobs in the frame: disjoint in 1 of 1"


def test_nothing_failed_is_undecided():
    """Without failures there is no evidence, and no difference."""
    samples = job([0, 60], [0, 100], total=100, status=["in_progress", "completed"])
    assert told(samples) == (False, False, "undecided: nothing failed; both rules give the same numbers")


def test_the_caller_decides():
    """True and False set the rule against all evidence."""
    samples = job([0, 60], [40, 95], failed=[0, 5], total=100, status=["in_progress", "completed"])
    assert told(samples, processed_includes_failed=True) == (True, True, "set by the caller: inclusive")
    with pytest.raises(SchemaError, match="processed_includes_failed: expected True, False or 'auto'"):
        counting(samples, processed_includes_failed="maybe")


def test_the_rule_changes_what_is_finished():
    """95 processed and 5 failed are 100 finished items, or 95."""
    samples = job([0, 60], [0, 95], failed=[0, 5])
    assert throughput(samples, processed_includes_failed=False)["finished_items"].tolist() == [0, 100]
    assert throughput(samples, processed_includes_failed=True)["finished_items"].tolist() == [0, 95]


def test_one_row_per_job_with_its_label():
    """The frame has a row for each job, with the label of its first sample."""
    samples = jobs(job([0, 60], [0, 1], job_id="b"), job([0, 60], [0, 1], job_id="a")).assign(
        label=["Bee", "Bee", "Ant", "Ant"]
    )
    frame = counting(samples)
    assert list(frame.columns) == ["job_id", "processed_includes_failed", "decided", "evidence", "label"]
    assert frame["job_id"].tolist() == ["a", "b"]
    assert frame["label"].tolist() == ["Ant", "Bee"]

"""What must hold for every metric, on any samples; and the equality with the slow definitions."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import reference
from frames import START, job, likely
from hypothesis import given, settings
from hypothesis import strategies as st

import mops_analysis as mops
from mops_analysis.metrics.arrays import Arrays

sys.path.insert(0, str(Path(__file__).parent.parent))  # the plain forms of the benchmarks are no part of the package

from benchmarks import plain_eta, plain_metrics

SEED = st.integers(0, 2**32 - 1)
FEW = settings(deadline=None, max_examples=10)

PER_SAMPLE = {
    "throughput": mops.throughput,
    "failure_rate": mops.failure_rate,
    "failure_rate windowed": lambda samples, **options: mops.failure_rate(samples, window=60, **options),
    "eta": mops.eta,
}
OTHERS = {
    "counting": mops.counting,
    "throughput_by job": mops.throughput_by,
    "throughput_by all": lambda samples, **options: mops.throughput_by(samples, by=None, every=60, **options),
    "summary": mops.summary,
    "anomalies": mops.anomalies,
}
METRICS = {**PER_SAMPLE, **OTHERS}

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
per_sample = pytest.mark.parametrize("metric", PER_SAMPLE.values(), ids=PER_SAMPLE.keys())


def rate_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.endswith("items_per_s")]


@every_metric
def test_no_samples_give_no_rows_of_the_same_columns(metric):
    """An empty frame gives the columns and dtypes of a full one."""
    full, empty = metric(likely(3)), metric(likely(3).iloc[:0])
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    assert empty.dtypes.astype(str).tolist() == full.dtypes.astype(str).tolist()


@every_metric
def test_one_sample_says_no_rate(metric):
    """One sample of one job gives no rate and no warning."""
    frame = metric(job([0], [5], failed=1))
    assert frame[[name for name in rate_columns(frame) if name != "items_per_s"]].isna().all(axis=None)


@every_metric
@FEW
@given(SEED)
def test_input_is_unchanged(metric, seed):
    """No metric writes into the caller's frame, nor does writing into its result."""
    samples = likely(seed).sample(frac=1, random_state=0)
    before = samples.copy(deep=True)
    result = metric(samples)
    for name in result.columns:
        if result[name].dtype == "float64":
            result.loc[:, name] = 0.0
    if len(result) and "sampled_at" in result:
        result.loc[result.index[0], "sampled_at"] = START
    pd.testing.assert_frame_equal(samples, before)


@per_sample
@FEW
@given(SEED)
def test_rows_stay_under_their_index(metric, seed):
    """Shuffled samples under odd labels give the rows of the sorted ones, in the caller's order."""
    samples = likely(seed, count=3).drop_duplicates(["job_id", "sampled_at"]).reset_index(drop=True)
    expected = metric(samples)
    order = np.random.default_rng(seed).permutation(len(samples))
    shuffled = samples.iloc[order].set_axis(pd.Index(order % 3, name="odd"))
    result = metric(shuffled)
    assert result.index.equals(shuffled.index)
    assert result["job_id"].tolist() == shuffled["job_id"].tolist()
    pd.testing.assert_frame_equal(result.reset_index(drop=True), expected.iloc[order].reset_index(drop=True))


@every_metric
@FEW
@given(SEED)
def test_order_of_rows_does_not_matter(metric, seed):
    """Shuffled samples give the same table of jobs, periods or events."""
    samples = likely(seed).drop_duplicates(["job_id", "sampled_at"]).reset_index(drop=True)
    result = metric(samples.sample(frac=1, random_state=seed % 1000))
    pd.testing.assert_frame_equal(
        result.sort_index() if len(result) == len(samples) else result, metric(samples), check_index_type=False
    )


@every_metric
@FEW
@given(SEED)
def test_other_jobs_do_not_matter(metric, seed):
    """Under a given rule a job's numbers are the same to the last bit, alone or among others."""
    if metric is OTHERS["throughput_by all"]:
        return
    samples = likely(seed, count=3)
    together = metric(samples, processed_includes_failed=False)
    for job_id, own in samples.groupby("job_id"):
        alone = metric(own, processed_includes_failed=False).reset_index(drop=True)
        expected = together[together["job_id"] == job_id].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, expected, check_exact=True)


@every_metric
def test_blocks_do_not_matter(metric, monkeypatch):
    """Cut into blocks of a few rows, the samples give the same table."""
    samples = likely(7, count=12)
    expected = metric(samples)
    monkeypatch.setattr("mops_analysis.metrics.arrays._BLOCK_ROWS", 10)
    pd.testing.assert_frame_equal(metric(samples), expected, check_exact=True)


@every_metric
@pytest.mark.parametrize("dtype", ["object", "str", "string[python]"])
def test_any_kind_of_text_will_do(metric, dtype):
    """Strings of any pandas dtype, times in microseconds or another zone, floats of whole numbers."""
    samples = likely(5)
    other = samples.astype({"job_id": dtype, "status": dtype, "processed_items": "float64"})
    other["sampled_at"] = other["sampled_at"].dt.as_unit("us").dt.tz_convert("America/New_York")
    pd.testing.assert_frame_equal(metric(other), metric(samples))


@every_metric
def test_further_columns_pass_by(metric):
    """Unknown columns change nothing; a label comes with the result, save where all jobs are one.

    Each job has a label of its own: from jobs of its own label a forecast would learn.
    """
    samples = likely(5)
    labelled = metric(samples.assign(merchant="Acme", label="Acme " + samples["job_id"]))
    if metric is not OTHERS["throughput_by all"]:
        assert labelled.pop("label").str.startswith("Acme ").all()
    pd.testing.assert_frame_equal(labelled, metric(samples))


@every_metric
@FEW
@given(SEED, st.sampled_from([True, False, "auto"]))
def test_every_metric_takes_the_rule(metric, seed, rule):
    """No rate is negative or infinite; every share lies within 0-1."""
    frame = metric(likely(seed), processed_includes_failed=rule)
    for name in rate_columns(frame):
        assert not (frame[name] < 0).any()
        assert not np.isinf(frame[name]).any()
    for name in frame.columns.intersection(["failure_rate", "failure_rate_low", "failure_rate_high", "share_done"]):
        assert frame[name].dropna().between(0, 1).all()


@every_metric
@FEW
@given(st.data())
def test_any_values_will_do(metric, data):
    """Counters over all of 64 bits, any percentage, any word: no error, no warning, no negative rate."""
    n = data.draw(st.integers(0, 12))
    count = st.one_of(st.integers(0, 30), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63 - 1, -(2**63)]))
    words = st.sampled_from(
        ["in_progress", "in_progress", "pending", "awaiting_review", "completed", "failed", "", "X"]
    )

    def column(values):
        return data.draw(st.lists(values, min_size=n, max_size=n))

    samples = job(np.sort(column(st.integers(0, 10**6))), 0, status=column(words)).assign(
        job_id=pd.array(column(st.sampled_from(["a", "b", ""])), dtype="string"),
        progress_percentage=np.array(column(st.floats()), dtype="float64"),
        **{name: np.array(column(count), dtype="int64") for name in ("processed_items", "total_items", "failed_items")},
    )
    if metric in (OTHERS["throughput_by job"], OTHERS["throughput_by all"]):
        samples = samples[samples["sampled_at"] < START + pd.Timedelta("1D")]
    frame = metric(samples)
    for name in rate_columns(frame):
        assert not (frame[name] < 0).any()


@given(st.integers(1, 100), st.integers(2, 40), st.sampled_from([1, 3, 30]))
@FEW
def test_constant_rate_is_exact(rate, n, step):
    """A job of so many items per second shows just that, wherever it shows a rate."""
    frame = mops.throughput(job(step * np.arange(n), rate * step * np.arange(n), total=10**6), window=60)
    said = frame[["interval_items_per_s", "items_per_s"]].to_numpy()
    np.testing.assert_allclose(said[~np.isnan(said)], rate, rtol=1e-12)
    assert np.isnan(frame["items_per_s"]).tolist() == [step * i < 30 for i in range(n)]


@given(SEED)
@FEW
def test_doubled_clock_halves_the_rate(seed):
    """Twice the time between samples and twice the window: half of every rate, and the same failure rates."""
    samples = likely(seed)
    slow = samples.assign(sampled_at=START + 2 * (samples["sampled_at"] - START))
    rates = ["interval_items_per_s", "items_per_s"]
    fast, half = mops.throughput(samples, window=60), mops.throughput(slow, window=120)
    pd.testing.assert_frame_equal(half[rates] * 2, fast[rates])
    columns = ["failed", "finished", "failure_rate", "failure_rate_high"]
    pd.testing.assert_frame_equal(
        mops.failure_rate(slow, window=120)[columns], mops.failure_rate(samples, window=60)[columns]
    )


@given(SEED, st.booleans(), st.sampled_from([5, 30, 120]))
@FEW
def test_equal_to_the_slow_definitions(seed, rule, window):
    """Throughput, failure rates and periods of random jobs, against loops."""
    samples = likely(seed, count=3)
    rate = mops.throughput(samples, processed_includes_failed=rule, window=window)
    failures = {
        width: mops.failure_rate(samples, processed_includes_failed=rule, window=width) for width in (None, window)
    }
    shares = mops.throughput_by(samples, processed_includes_failed=rule, every=45)
    for job_id, rows in samples.groupby("job_id"):
        slow = reference.Job(rows, rule)
        own = rate["job_id"] == job_id
        got = rate.loc[own, ["finished_items", "interval_items_per_s", "items_per_s"]].to_numpy(dtype=float)
        np.testing.assert_allclose(got, reference.throughput(slow, window), rtol=1e-9, atol=1e-12)
        for width, frame in failures.items():
            counts = reference.counts(slow, width)
            np.testing.assert_allclose(frame.loc[own, ["failed", "finished"]], counts, rtol=1e-9, atol=1e-9)
            told = frame.loc[own, ["failed", "finished"]].to_numpy()
            bounds = [reference.wilson(failed, finished, 1.959963984540054) for failed, finished in told]
            columns = ["failure_rate", "failure_rate_low", "failure_rate_high"]
            np.testing.assert_allclose(frame.loc[own, columns], bounds, rtol=1e-9, atol=1e-12)
        periods = shares[shares["job_id"] == job_id]
        expected = reference.periods(slow, 45, slow.rise)
        assert [time.value // (45 * 10**9) for time in periods["period_start"]] == sorted(expected)
        np.testing.assert_allclose(periods["finished_items"], [expected[p] for p in sorted(expected)], atol=1e-8)


@given(SEED)
@FEW
def test_gaps_are_long_steps(seed):
    """Every gap is reported once, and only gaps are."""
    samples = likely(seed)
    found = mops.anomalies(samples)
    for job_id, rows in samples.groupby("job_id"):
        slow = reference.Job(rows, False)
        expected = [slow.t[i] for i in range(1, slow.n) if slow.is_gap[i] and slow.status[i - 1] not in reference.IDLE]
        own = found[(found["job_id"] == job_id) & (found["kind"] == "gap")]
        assert [time.value for time in own["sampled_at"]] == expected


def test_sorted_input_is_not_copied():
    """The arrays of a frame in order are its own."""
    samples = likely(2)
    arrays = Arrays.of(samples)
    assert arrays.order is None
    assert np.shares_memory(arrays.processed, samples["processed_items"].to_numpy())
    assert math.isclose(arrays.time_ns[0], samples["sampled_at"].iloc[0].value)


@given(SEED)
@FEW
def test_equal_to_the_plain_forms(seed):
    """Anomalies, summary and the forecast without its correction, against what one writes in pandas for one job."""
    samples = likely(seed, longest=80)
    samples["total_items"] = samples["total_items"].clip(lower=1)  # the plain forecast knows no percentages
    rule = {"processed_includes_failed": False}
    events = plain_metrics.apply(samples, plain_metrics.job_anomalies)
    found = mops.anomalies(samples, **rule)
    counts = pd.crosstab(found["job_id"], found["kind"]).reindex(
        index=events.index, columns=events.columns, fill_value=0
    )
    np.testing.assert_array_equal(counts.to_numpy(), events.to_numpy())
    rows = plain_metrics.apply(samples, plain_metrics.job_summary)
    same(mops.summary(samples, **rule), rows, rows.columns.tolist())
    seconds = plain_metrics.apply(samples, plain_eta.job_forecast)
    same(mops.eta(samples, correction=False, **rule), seconds, seconds.columns.tolist())


def same(ours: pd.DataFrame, plain: pd.DataFrame, columns: list[str]) -> None:
    np.testing.assert_allclose(
        ours[columns].to_numpy(dtype=float), plain[columns].to_numpy(dtype=float), rtol=1e-9, atol=1e-9
    )

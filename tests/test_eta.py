"""Facts about `eta`, with answers worked by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from mops_analysis.errors import SchemaError
from mops_analysis.metrics import eta
from mops_analysis.metrics.eta import _hold, fan
from mops_analysis.metrics.history import Outlook

START = pd.Timestamp("2026-11-18T14:00:00Z")


def job(
    seconds, processed, *, total=100, failed=0, status="in_progress", percentage=None, job_id="job-1"
) -> pd.DataFrame:
    """Samples of one job at these seconds."""
    n = len(seconds)
    processed, total, failed = (np.broadcast_to(counts, n).astype("int64") for counts in (processed, total, failed))
    if percentage is None:
        percentage = 100 * processed / np.maximum(total, 1)
    return pd.DataFrame(
        {
            "job_id": pd.array([job_id] * n, dtype="string"),
            "sampled_at": (START + pd.to_timedelta(seconds, unit="s")).astype("datetime64[ns, UTC]"),
            "status": pd.array([status] * n if isinstance(status, str) else status, dtype="string"),
            "progress_percentage": np.broadcast_to(percentage, n).astype("float64"),
            "processed_items": processed,
            "total_items": total,
            "failed_items": failed,
            "latency_s": 0.1,
        }
    )


def remaining(samples: pd.DataFrame, **options) -> list[float]:
    return eta(samples, **options)["remaining_s"].tolist()


def test_constant_pace_is_foretold_exactly():
    """An item a second of 100: what is left is 100 minus the seconds gone."""
    assert remaining(job(range(0, 90, 10), range(0, 90, 10)))[1:] == pytest.approx(np.arange(90, 10, -10), rel=1e-9)


def test_columns_and_times():
    """The times are the sample's time plus the seconds; the interval encloses the median."""
    answer = eta(job([0, 10, 20], [0, 10, 20]))
    assert list(answer.columns) == [
        "job_id",
        "sampled_at",
        "remaining_s",
        "remaining_low_s",
        "remaining_high_s",
        "eta",
        "eta_low",
        "eta_high",
    ]
    assert (answer[["eta", "eta_low", "eta_high"]].dtypes.astype(str) == "datetime64[ns, UTC]").all()
    last = answer.iloc[-1]
    assert abs(last["eta"] - (START + pd.Timedelta(seconds=100))) < pd.Timedelta("1us")
    assert last["remaining_low_s"] < last["remaining_s"] < last["remaining_high_s"]
    assert last["eta_low"] < last["eta"] < last["eta_high"]


def test_nothing_is_said_before_the_counter_rises():
    """Without a rise there is no pace: NaN and NaT, not zero."""
    answer = eta(job([0, 10, 20], [7, 7, 7]))
    assert answer.drop(columns=["job_id", "sampled_at"]).isna().all(axis=None)


@pytest.mark.parametrize("status", ["pending", "awaiting_review", "completed", "failed", "cancelled", "paused"])
def test_nothing_is_said_unless_running(status):
    """Only a running job has a forecast."""
    answer = eta(job([0, 10, 20], [0, 10, 20], status=["in_progress", "in_progress", status]))
    assert answer["remaining_s"].isna().tolist() == [True, False, True]


def test_nothing_is_said_without_a_total():
    """No total and no percentage: the work left is unknown."""
    assert np.isnan(remaining(job([0, 10, 20], [0, 10, 20], total=0, percentage=0))).all()


def test_total_that_arrives_late():
    """Items counted before the total was known still tell the pace."""
    answer = remaining(job([0, 10, 20, 30], [0, 10, 20, 30], total=[0, 0, 0, 100], percentage=[0, 0, 0, 30]))
    assert answer == [pytest.approx(np.nan, nan_ok=True)] * 3 + [pytest.approx(70)]


def test_percentage_only():
    """A job that serves a percentage alone is forecast by it."""
    answer = remaining(job([0, 10, 20, 30], 0, total=0, percentage=[0, 10, 20, 30]))
    assert answer[1:] == pytest.approx([90, 80, 70])


def test_total_that_replaces_the_percentage_starts_anew():
    """Percent and items are different work: after a change of unit the pace is learnt again."""
    samples = job(range(0, 50, 10), [0, 0, 0, 10, 20], total=[0, 0, 100, 100, 100], percentage=[0, 50, 0, 10, 20])
    assert remaining(samples)[1] == pytest.approx(10)
    assert np.isnan(remaining(samples)[2])
    assert remaining(samples)[4] == pytest.approx(80)


def test_waiting_does_not_count():
    """Pending time before the start and review time in between are not working time."""
    status = ["pending", "in_progress", "in_progress", "awaiting_review", "in_progress", "in_progress"]
    answer = remaining(job([0, 500, 510, 511, 900, 909], [0, 0, 10, 11, 11, 20], status=status), correction=False)
    assert answer[-1] == pytest.approx(80)


def test_attaching_half_way():
    """Work done before the first sample says nothing about the pace."""
    assert remaining(job([0, 10, 20], [50, 60, 70]))[1:] == pytest.approx([40, 30])


def test_a_counter_that_falls_is_no_negative_pace():
    """After a retry from zero, all is left to do, at the pace seen before."""
    answer = remaining(job([0, 10, 20, 30, 40], [0, 10, 20, 0, 10]))
    assert answer[-1] > 85
    assert (np.array(answer[1:]) > 0).all()


def test_growing_total_lengthens_the_forecast():
    """A total that grows as fast as the work is done: twice the work known to be left, held back a little."""
    seconds = range(0, 80, 10)
    still, growing = (job(seconds, seconds, total=total) for total in (200, [130 + s for s in seconds]))
    assert remaining(still)[-1] == pytest.approx(130)
    assert remaining(growing, correction=False)[-1] == pytest.approx(260, rel=0.08)
    assert remaining(growing)[-1] > 1.5 * 130


def test_falling_total_shortens_the_forecast():
    """An item a second, and for each item done another that is struck off: 60 left are 30 s."""
    seconds = range(0, 30, 10)
    samples = job(seconds, seconds, total=[100 - s for s in seconds], percentage=0)
    assert remaining(samples, correction=False)[-1] == pytest.approx(30)


def test_a_stall_delays_the_finish_and_widens_the_interval():
    """While the counter stands still the expected finish moves away, and the upper edge further."""
    answer = eta(job([0, 10, 20, 30, 40, 100, 200, 300], [0, 10, 20, 30, 40, 40, 40, 40]))
    assert answer["eta"].iloc[4:].is_monotonic_increasing
    high = answer["remaining_high_s"] - answer["remaining_s"]
    assert high.iloc[-1] > 2 * high.iloc[4]


def test_a_regular_batch_under_way_gets_credit():
    """Ten items each 10 s, polled each 2 s: between ticks the forecast runs on instead of standing still."""
    seconds = np.arange(0, 59, 2)
    answer = np.array(remaining(job(seconds, seconds // 10 * 10)))
    assert (np.diff(answer[15:]) < 0).all()
    assert answer[15:] == pytest.approx(100 - seconds[15:], abs=3)


def test_a_change_of_pace_is_followed():
    """Ten times slower since half-way: the mean pace, which says 197 s where 810 s are left, has been voted down."""
    processed = [*range(0, 500, 50), *range(500, 600, 5)]
    answer = remaining(job(range(0, 300, 10), processed, total=1000))
    assert 400 < answer[-1] < 900


def test_the_finish_on_display_moves_no_further_than_it_must():
    """At 94 + 6 s ahead and a width of 1, 3 s are 0.03 widths: of 4 s of news one is shown, 101 s and not 104."""
    says = np.array([True, True, False, True])
    outlook = Outlook(
        row=np.arange(4),
        t=np.array([0.0, 10, 20, 30]),
        share_done=np.zeros(4),
        remaining=np.array([100.0, 94, 7, 50]),
        delta=np.array([10.0, 6, 6, 6]),
        low=np.full(4, 0.4),
        high=np.full(4, 0.6),
        says=says,
    )
    seconds, shown = _hold(outlook)
    assert seconds[says].tolist() == pytest.approx([100, 91, 50])
    assert shown == 30 + 50


def test_the_finish_on_display_goes_on_from_the_row_before():
    """Foretold in two parts, the second starts from the finish that the first ended with."""
    columns = {name: np.array([80.0, 76]) for name in ("remaining", "delta")} | {"t": np.array([0.0, 10])}
    columns |= {name: np.full(2, 0.5) for name in ("share_done", "low", "high")}
    whole = Outlook(row=np.arange(2), says=np.full(2, True), **columns)
    first, second = (Outlook(*(values[part] for values in vars(whole).values())) for part in (slice(1), slice(1, 2)))
    _, shown = _hold(first)
    assert shown == 80
    assert _hold(second, shown)[0].tolist() == _hold(whole)[0][1:].tolist() != _hold(second)[0].tolist()


def test_a_total_that_has_changed_widens_the_interval():
    """What was announced wrongly once may be wrong again: the upper edge is further away."""
    seconds = np.arange(0, 500, 10)
    steady = eta(job(seconds, seconds, total=1000), correction=False).iloc[-1]
    changed = eta(job(seconds, seconds, total=np.where(seconds < 50, 900, 1000)), correction=False).iloc[-1]
    assert changed["remaining_s"] == pytest.approx(steady["remaining_s"], rel=0.05)
    assert changed["remaining_high_s"] > 1.2 * steady["remaining_high_s"]


def test_failed_items_beside_processed():
    """Where processed leaves out the failed items, both together are the work done."""
    seconds = np.arange(0, 60, 10)
    samples = job(seconds, seconds // 2, failed=seconds // 2, percentage=seconds)
    assert remaining(samples)[-1] == pytest.approx(50)
    assert remaining(samples, processed_includes_failed=False)[-1] == pytest.approx(50)
    assert remaining(samples, processed_includes_failed=True)[-1] == pytest.approx(150)


def test_failed_items_within_processed():
    """Where processed counts the failed items, it alone is the work done."""
    seconds = np.arange(0, 60, 10)
    samples = job(seconds, seconds, failed=seconds // 2, percentage=seconds)
    assert remaining(samples)[-1] == pytest.approx(50)
    assert remaining(samples, processed_includes_failed=True)[-1] == pytest.approx(50)


def test_learning_how_to_count_is_no_work():
    """The sample that shows how failed items are counted does not add the earlier ones as new work."""
    samples = job([0, 10, 20, 30, 40], [0, 10, 20, 30, 40], failed=[0, 5, 10, 15, 20], percentage=[0, 10, 20, 45, 60])
    # Ten items in each of three steps, then fifteen; 40 are left.
    assert 40 * 10 / 15 <= remaining(samples, correction=False)[-1] <= 40


def test_rows_answer_rows():
    """The answer has the caller's index and order, whatever they are, and leaves the samples alone."""
    samples = pd.concat([job([0, 10, 20], [0, 10, 20]), job([5, 15, 25], [0, 20, 40], job_id="job-0")])
    shuffled = samples.set_axis(list("abcdef")).iloc[[4, 0, 5, 2, 1, 3]]
    before = shuffled.copy(deep=True)
    answer = eta(shuffled)
    pd.testing.assert_frame_equal(shuffled, before)
    assert answer.index.tolist() == list("eafcbd")
    assert answer["job_id"].tolist() == shuffled["job_id"].tolist()
    assert answer.loc["c", "remaining_s"] == pytest.approx(80)
    assert answer.loc["f", "remaining_s"] == pytest.approx(30)


def test_no_rows():
    """No samples, no forecasts; the columns stand."""
    answer = eta(job([], []))
    assert answer.empty
    assert list(answer.columns)[2:] == [
        "remaining_s",
        "remaining_low_s",
        "remaining_high_s",
        "eta",
        "eta_low",
        "eta_high",
    ]


def test_a_finish_beyond_the_calendar_has_no_date():
    """Nanoseconds end in 2262: a later finish keeps its seconds and has no date."""
    answer = eta(job([0, 1_000_000], [0, 1], total=10**6)).iloc[-1]
    assert answer["remaining_s"] == pytest.approx(999_999e6)
    assert answer["eta"] is pd.NaT


def test_samples_at_one_instant():
    """Samples with the same time neither divide by zero nor stop the clock."""
    answer = eta(job([0, 0, 0, 10], [0, 5, 10, 20]))
    assert np.isfinite(answer[["remaining_s", "remaining_low_s", "remaining_high_s"]].iloc[1:]).all(axis=None)


@pytest.mark.parametrize("interval", [0, 1, -0.5, 80, float("nan"), "0.8", None, True])
def test_interval_out_of_range(interval):
    """An interval is a share of cases."""
    with pytest.raises(SchemaError, match="interval: expected a share of cases between 0 and 1"):
        eta(job([0], [0]), interval=interval)


def test_rule_out_of_range():
    """The counting rule is one of three."""
    with pytest.raises(SchemaError, match="processed_includes_failed"):
        eta(job([0], [0]), processed_includes_failed="perhaps")


def test_a_fan_is_the_forecast_of_each_interval():
    """Several intervals at once say what each says alone, with labels too."""
    samples = pd.concat(
        [job(range(0, 80, 4), range(0, 40, 2)), job(range(100, 200, 5), range(0, 60, 3), job_id="job-2")],
        ignore_index=True,
    )
    for frame in (samples, samples.assign(label="import")):
        for interval, forecast in zip((0.5, 0.95), fan(frame, (0.5, 0.95)), strict=True):
            pd.testing.assert_frame_equal(forecast, eta(frame, interval=interval), check_exact=True)


@pytest.mark.parametrize(
    ("option", "value"), [("interval", 0.5), ("correction", False), ("processed_includes_failed", True)]
)
def test_known_answers_with_other_options_are_refused(option, value):
    """Also of some jobs, and put together again; what no longer tells its options is taken."""
    samples = pd.concat([job([0, 10, 20], [0, 10, 20], job_id=name) for name in ("a", "b")], ignore_index=True)
    known = eta(samples, **{option: value})
    parts = pd.concat([part for _, part in known.groupby("job_id")])
    for forecast in (known, parts, known[known["job_id"] == "a"]):
        with pytest.raises(SchemaError, match=f"with the same options; {option} was {value!r} and is"):
            eta(samples, known=forecast)
    known.attrs.clear()
    assert eta(samples, known=known)["remaining_s"].equals(known["remaining_s"])


def test_known_answers_are_a_frame():
    """What is none is refused by its type."""
    with pytest.raises(SchemaError, match="known: expected what eta.* for fewer samples, got int"):
        eta(job([0], [0]), known=5)


def test_a_long_job_is_foretold_stretch_by_stretch(monkeypatch):
    """Thousands of samples of one job, with labels, or answered in part: as in one piece, to the last bit."""
    rng = np.random.default_rng(5)
    samples = job(np.cumsum(rng.uniform(1, 5, 900)), np.cumsum(rng.poisson(2, 900)), total=2500)
    known = eta(samples.head(500))
    frames = {"alone": {}, "labelled": {"label": "import"}}
    expected = {name: eta(samples.assign(**more)) for name, more in frames.items()}
    monkeypatch.setattr("mops_analysis.metrics.arrays._BLOCK_ROWS", 100)
    for name, more in frames.items():
        pd.testing.assert_frame_equal(eta(samples.assign(**more)), expected[name], check_exact=True)
    pd.testing.assert_frame_equal(eta(samples, known=known), expected["alone"], check_exact=True)


def test_a_long_job_takes_few_columns(monkeypatch):
    """Beside its result, a job takes eighteen numbers a sample at most: all else is made stretch by stretch."""
    rows = 50_000
    samples = job(np.arange(rows), np.arange(rows), total=rows)
    eta(samples.head(100))  # what is loaded at the first call is no part of it
    monkeypatch.setattr("mops_analysis.metrics.arrays._BLOCK_ROWS", 1000)
    tracemalloc.start()
    try:
        eta(samples)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (6 + 18) * 8 * rows

"""Every table of jobs against its definition in slow loops, on random jobs with falls, gaps and totals that change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import reference
import reference_eta as slow_eta
import reference_tables as plain
from frames import likely
from hypothesis import given, settings
from hypothesis import strategies as st

import mops_analysis as mops

SEED = st.integers(0, 2**32 - 1)
FEW = settings(deadline=None, max_examples=15)


def fleets(seed: int, count: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Random jobs with labels, hours apart, sorted; and the same as a caller may have them: shuffled, odd labels."""
    rng = np.random.default_rng(seed)
    samples = likely(seed, count=count).drop_duplicates(["job_id", "sampled_at"]).reset_index(drop=True)
    jobs = samples["job_id"].unique()
    later = dict(zip(jobs, pd.to_timedelta(rng.integers(0, 20 * 86_400, len(jobs)) // 60 * 60, unit="s"), strict=True))
    near = dict(zip(jobs, pd.to_timedelta(rng.integers(0, 40, len(jobs)), unit="min"), strict=True))
    samples["sampled_at"] += samples["job_id"].map(later if seed % 2 else near)
    samples["label"] = samples["job_id"].map(dict(zip(jobs, rng.choice(["import", "export"], len(jobs)), strict=True)))
    order = rng.permutation(len(samples))
    return samples, samples.iloc[order].set_axis(order % 3)


def rules_of(samples: pd.DataFrame) -> dict[str, bool]:
    """How each job counts, by the definition."""
    return {job_id: rule for job_id, (rule, _) in plain.counting(samples).items()}


def same(ours: pd.DataFrame, expected: list[dict[str, object]]) -> None:
    """The columns of the definition, in its order of rows, to 1e-9."""
    assert len(ours) == len(expected)
    for name in expected[0] if expected else ():
        column, slow = ours[name].tolist(), [row[name] for row in expected]
        if ours[name].dtype == "float64":
            np.testing.assert_allclose(column, slow, rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            known = [(a, b) for a, b in zip(column, slow, strict=True) if not (pd.isna(a) and pd.isna(b))]
            assert [a for a, _ in known] == [b for _, b in known], name


@FEW
@given(SEED)
def test_counting(seed):
    """The rule of each job, and whether anything speaks for it."""
    samples, shuffled = fleets(seed)
    expected = [
        {"job_id": job_id, "processed_includes_failed": rule, "decided": decided}
        for job_id, (rule, decided) in plain.counting(samples).items()
    ]
    same(mops.counting(shuffled), expected)


@FEW
@given(SEED, st.booleans())
def test_summary(seed, has_now):
    """Every column but the forecast and the label."""
    samples, shuffled = fleets(seed)
    rules = rules_of(samples)
    now = samples["sampled_at"].median() if has_now else None
    expected = [
        {"job_id": job_id, **plain.summary(rows, rules[job_id], None if now is None else now.value)}
        for job_id, rows in samples.groupby("job_id")
    ]
    found = mops.summary(shuffled, now=now)
    same(found, expected)
    last = mops.eta(shuffled).sort_values("sampled_at", kind="stable").groupby("job_id").tail(1).sort_values("job_id")
    forecast = [name for name in found if name.startswith(("remaining", "eta"))]
    assert len(forecast) == 6
    pd.testing.assert_frame_equal(found[forecast], last[forecast].reset_index(drop=True))


@FEW
@given(SEED, st.sampled_from([30, 120]))
def test_anomalies(seed, window):
    """Each event at the sample that shows it first, and no other."""
    samples, shuffled = fleets(seed)
    rules = rules_of(samples)
    expected = [
        (job_id, *event)
        for job_id, rows in samples.groupby("job_id")
        for event in plain.anomalies(rows, rules[job_id], window)
    ]
    found = mops.anomalies(shuffled, window=window)
    assert [(row.job_id, row.sampled_at.value, row.kind) for row in found.itertuples()] == expected


@FEW
@given(SEED, st.sampled_from(["job", "label", None]), st.sampled_from([45, 600]))
def test_periods(seed, by, every):
    """Finished and failed items of each job, of each label, and of all; rates over the whole period."""
    samples, shuffled = fleets(seed)
    rules = rules_of(samples)
    expected: dict[tuple[str, int], list[float]] = {}
    for job_id, rows in samples.groupby("job_id"):
        group = {"job": job_id, "label": rows["label"].iloc[0], None: ""}[by]
        job = reference.Job(rows, rules[job_id])
        for place, rises in enumerate((job.rise, job.fail)):
            for period, items in reference.periods(job, every, rises).items():
                expected.setdefault((group, period), [0.0, 0.0])[place] += items
    rows = [
        {
            **({} if by is None else {"job_id" if by == "job" else by: group}),
            "period_start": pd.Timestamp(period * every, unit="s", tz="UTC"),
            "finished_items": finished,
            "failed_items": failed,
            "items_per_s": finished / every,
        }
        for (group, period), (finished, failed) in sorted(expected.items())
    ]
    same(mops.throughput_by(shuffled, by=by, every=every), rows)


@settings(deadline=None, max_examples=6)
@given(SEED, st.booleans())
def test_comparison(seed, labels):
    """Each job against those that began before it, by label where there are enough."""
    samples, _ = fleets(seed, count=45)
    of_job = samples.groupby("job_id")
    last = of_job.tail(1).index[:-5]  # more than thirty that ended well, and were seen from their start
    samples.loc[last, "status"] = "completed"
    samples.loc[of_job.head(1).index, "progress_percentage"] = 0.0
    samples = samples if labels else samples.drop(columns="label")
    found = mops.comparison(samples.sample(frac=1, random_state=seed % 1000))
    same(found, plain.comparison(samples, rules_of(samples)))


@FEW
@given(SEED)
def test_weeks(seed):
    """Each week against the same days of the week before."""
    samples, shuffled = fleets(seed)
    same(mops.week_on_week(shuffled), plain.week_on_week(samples, rules_of(samples)))


@FEW
@given(SEED)
def test_fleet(seed):
    """All jobs in one row; its forecasts are the latest of the summary."""
    samples, shuffled = fleets(seed, count=12)
    found = mops.fleet(shuffled)
    same(found, [plain.fleet(samples, rules_of(samples))])
    running = mops.summary(shuffled).query("status == 'in_progress'")
    latest = [running[name].max() for name in ("eta", "eta_low", "eta_high")]
    names = ["all_done_by", "all_done_by_low", "all_done_by_high"]
    assert found.loc[0, names].tolist() == latest or found.loc[0, names].isna().all()
    assert found.loc[0, "unforecast"] == running["eta"].isna().sum()


def forecastable(seed: int, *, labels: bool) -> pd.DataFrame:
    """Random jobs, some without a total, some from their middle on, some of them finished before others begin."""
    rng = np.random.default_rng(seed)
    samples, _ = fleets(seed - seed % 2, count=6)
    samples = samples if labels else samples.drop(columns="label")
    for job_id in samples["job_id"].unique():
        own = samples["job_id"] == job_id
        if rng.random() < 0.3:  # the total comes late, or never
            known_from = int(rng.integers(1, own.sum() + 1))
            samples.loc[np.flatnonzero(own)[:known_from], "total_items"] = 0
        if rng.random() < 0.6:
            samples.loc[np.flatnonzero(own)[-1], "status"] = "completed"
    return samples


@settings(deadline=None, max_examples=30)
@given(SEED, st.sampled_from([True, False, "auto"]), st.booleans(), st.booleans())
def test_forecasts(seed, rule, labels, correction):
    """Every counting rule, percentages for want of a total, the lessons of a label, with and without the correction."""
    samples = forecastable(seed, labels=labels)
    found = mops.eta(samples, correction=correction, processed_includes_failed=rule)
    columns = ["remaining_s", "remaining_low_s", "remaining_high_s"]
    np.testing.assert_allclose(found[columns], slow_eta.eta(samples, rule, correction=correction), rtol=1e-9, atol=1e-9)
    for seconds, moment in zip(columns, ["eta", "eta_low", "eta_high"], strict=True):
        later = samples["sampled_at"] + pd.to_timedelta(found[seconds].round(9), unit="s")
        assert ((found[moment] - later).abs().dropna() <= pd.Timedelta("1us")).all()
        assert found[moment].isna().equals(found[seconds].isna())


@FEW
@given(SEED, st.sampled_from([True, False, "auto"]), st.booleans())
def test_records(seed, rule, labels):
    """The record of the forecast and of three usual formulas, and its one line."""
    samples = forecastable(seed, labels=labels)
    found = mops.eta_backtest(samples, processed_includes_failed=rule)
    expected = slow_eta.backtest(samples, mops.eta(samples, processed_includes_failed=rule), rule)
    same(found, expected)
    assert mops.backtest_summary(found) == slow_eta.record(expected)

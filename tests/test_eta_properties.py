"""What must hold for any job: `eta` on whatever hypothesis can think of."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from mops_analysis.metrics import eta

SECONDS = ["remaining_s", "remaining_low_s", "remaining_high_s"]
STATUSES = st.sampled_from(["in_progress"] * 8 + ["pending", "awaiting_review", "completed", "failed", "thinking"])
INT64 = st.integers(-(2**63), 2**63 - 1)
SEED = st.integers(0, 2**32 - 1)

THOROUGH = settings(deadline=None, max_examples=30)


def frame(columns: dict[str, object]) -> pd.DataFrame:
    dtypes = {"job_id": "string", "sampled_at": "datetime64[ns, UTC]", "status": "string"}
    return pd.DataFrame(columns).astype(dtypes)


@st.composite
def worst_frames(draw) -> pd.DataFrame:
    """Any values that the schema allows."""
    n = draw(st.integers(0, 30))
    label = {"label": "import"} if draw(st.booleans()) else {}

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    counts = st.one_of(st.integers(0, 30), INT64, st.sampled_from([0, 2**63 - 1, -(2**63), 2**53]))
    times = column(st.one_of(st.integers(0, 50), st.integers(-(2**62), 2**62)))
    return frame(
        {
            "job_id": np.array(column(st.sampled_from(["a", "b", ""])), dtype=object),
            "sampled_at": pd.to_datetime(np.array(times, dtype="int64"), utc=True),
            "status": np.array(column(STATUSES), dtype=object),
            "progress_percentage": np.array(column(st.floats()), dtype="float64"),
            "processed_items": np.array(column(counts), dtype="int64"),
            "total_items": np.array(column(counts), dtype="int64"),
            "failed_items": np.array(column(counts), dtype="int64"),
            "latency_s": np.zeros(n),
        }
    ).assign(**label)


def likely_jobs(seed: int, *, jobs: int = 3, longest: int = 90) -> pd.DataFrame:
    """Jobs as they come: uneven polls and batches, failures, falls, growing totals, waiting, missing totals."""
    rng = np.random.default_rng(seed)
    return pd.concat(
        [_likely_job(rng, f"job-{i}", int(rng.integers(2, longest))) for i in range(jobs)], ignore_index=True
    )


def _likely_job(rng: np.random.Generator, job_id: str, n: int) -> pd.DataFrame:
    batch = rng.integers(1, 20)
    advance = rng.poisson(rng.uniform(0.1, 3), n) * batch
    done = np.cumsum(advance)
    if rng.random() < 0.3:
        done = np.where(np.arange(n) > n // 2, done - done[n // 2], done)
    failed = np.floor(done * rng.choice([0, 0.05, 0.4])).astype("int64")
    total = np.maximum(done.max(), 1) + np.where(rng.random() < 0.5, np.arange(n) // 7, 0) * batch
    percentage = np.floor(100 * done / total)
    if rng.random() < 0.2:
        done, total, failed = done * 0, total * 0, failed * 0
    status = np.where(rng.random(n) < 0.03, "awaiting_review", "in_progress").astype(object)
    status[: rng.integers(0, 3)] = "pending"
    return frame(
        {
            "job_id": job_id,
            "sampled_at": pd.to_datetime(1_760_000_000 * 10**9 + np.cumsum(rng.integers(10**7, 10**10, n)), utc=True),
            "status": status,
            "progress_percentage": percentage.astype("float64"),
            "processed_items": done - (failed if rng.random() < 0.5 else 0),
            "total_items": total,
            "failed_items": failed,
            "latency_s": 0.1,
        }
    )


def seconds(samples: pd.DataFrame, **options) -> np.ndarray:
    return eta(samples, **options)[SECONDS].to_numpy()


@THOROUGH
@given(worst_frames(), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_worst_frames(samples, interval):
    """Whatever the schema allows: no exception, nothing negative or infinite, and an interval around the median."""
    answer = eta(samples, interval=interval)
    assert answer.index.equals(samples.index)
    values = answer[SECONDS].to_numpy()
    said = ~np.isnan(values)
    assert (said.all(axis=1) | ~said.any(axis=1)).all()
    median, low, high = values[said.all(axis=1)].T
    assert np.isfinite(high).all()
    assert (low >= 0).all()
    assert (low <= median).all()
    assert (median <= high).all()


@THOROUGH
@given(SEED, st.data())
def test_known_answers_are_carried_on(seed, data):
    """However many of each job's samples were answered before: the answers are those to all at once, to the bit."""
    samples = likely_jobs(seed)
    sizes = samples.groupby("job_id").size()
    cuts = {job_id: data.draw(st.integers(0, size)) for job_id, size in sizes.items()}
    head = samples[samples.groupby("job_id").cumcount() < samples["job_id"].map(cuts)]
    known = eta(head).sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(eta(samples, known=known), eta(samples), check_exact=True)


@THOROUGH
@given(SEED, st.data())
def test_known_answers_are_carried_on_under_labels(seed, data):
    """The same for jobs that learn from one another, and samples that arrive in the order of their times."""
    samples = likely_jobs(seed, jobs=4).assign(label=["a", "b"][seed % 2])
    later = samples["job_id"].isin(["job-2", "job-3"])
    samples.loc[later, "sampled_at"] += pd.Timedelta("15min")
    ends = samples.groupby("job_id").tail(1).index[:2]
    samples.loc[ends, "status"] = "completed"
    now = data.draw(st.sampled_from(samples["sampled_at"].tolist()))
    known = eta(samples[samples["sampled_at"] <= now])
    pd.testing.assert_frame_equal(eta(samples, known=known), eta(samples), check_exact=True)


@given(worst_frames(), st.integers(0, 30))
@THOROUGH
def test_known_answers_to_worst_frames(samples, count):
    """Whatever the schema allows, in any order: known answers change nothing; those to other samples are ignored."""
    samples = samples.drop(columns="label", errors="ignore").sort_values(["job_id", "sampled_at"], kind="stable")
    whole = eta(samples)
    pd.testing.assert_frame_equal(eta(samples, known=eta(samples.head(count))), whole, check_exact=True)
    others = whole.assign(sampled_at=whole["sampled_at"] + pd.Timedelta(1, "ns"), remaining_s=1.0)
    pd.testing.assert_frame_equal(eta(samples, known=others), whole, check_exact=True)


@THOROUGH
@given(SEED, st.data())
def test_later_rows_never_change_earlier_answers(seed, data):
    """The answers of the first rows are the same to the last bit, whether the later rows are there or not."""
    samples = likely_jobs(seed, jobs=1)
    cut = data.draw(st.integers(0, len(samples)))
    np.testing.assert_array_equal(seconds(samples.iloc[:cut]), seconds(samples)[:cut])


@THOROUGH
@given(SEED)
def test_other_jobs_never_matter(seed):
    """A job's answers are the same to the last bit, whatever other jobs are in the frame."""
    samples = likely_jobs(seed)
    alone = [seconds(rows) for _, rows in samples.groupby("job_id")]
    np.testing.assert_array_equal(np.concatenate(alone), seconds(samples))


@THOROUGH
@given(SEED)
def test_order_never_matters(seed):
    """Rows in any order and jobs under any name: the same answers to the last bit."""
    samples = likely_jobs(seed)
    shuffled = samples.sample(frac=1, random_state=seed)
    np.testing.assert_array_equal(seconds(shuffled), seconds(samples)[shuffled.index])
    renamed = samples.assign(job_id=samples["job_id"].map({"job-0": "z", "job-1": "y", "job-2": "x"}).astype("string"))
    np.testing.assert_array_equal(seconds(renamed), seconds(samples))


@THOROUGH
@given(SEED, st.integers(2, 50))
def test_scaled_time(seed, factor):
    """A job that runs so many times slower takes so many times longer."""
    samples = likely_jobs(seed)
    ns = samples["sampled_at"].astype("int64").to_numpy()
    slower = samples.assign(sampled_at=pd.to_datetime(ns[0] + (ns - ns[0]) * factor, utc=True))
    np.testing.assert_allclose(seconds(slower), seconds(samples) * factor, rtol=1e-6, atol=1e-6)


@THOROUGH
@given(SEED, st.integers(2, 1000))
def test_scaled_items(seed, factor):
    """Counting in boxes or in pieces gives the same time."""
    samples = likely_jobs(seed)
    counts = ["processed_items", "total_items", "failed_items"]
    pieces = samples.assign(**{name: samples[name] * factor for name in counts})
    np.testing.assert_allclose(seconds(pieces), seconds(samples), rtol=1e-6, atol=1e-6)


@THOROUGH
@given(st.integers(3, 200), st.integers(1, 10**6), st.integers(10**6, 10**11), st.integers(0, 10**6))
def test_constant_jobs(polls, pace, step_ns, offset):
    """A job that advances by the same at each poll is foretold exactly, from the second sample on."""
    done = offset + pace * np.arange(polls)
    samples = frame(
        {
            "job_id": "job-1",
            "sampled_at": pd.to_datetime(1_760_000_000 * 10**9 + step_ns * np.arange(polls), utc=True),
            "status": "in_progress",
            "progress_percentage": 0.0,
            "processed_items": done,
            "total_items": offset + pace * polls,
            "failed_items": 0,
            "latency_s": 0.1,
        }
    )
    truth = (polls - np.arange(polls)) * step_ns / 1e9
    np.testing.assert_allclose(seconds(samples)[1:, 0], truth[1:], rtol=1e-9)


@THOROUGH
@given(SEED, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_wider_intervals_contain_narrower_ones(seed, one, other):
    """The median does not depend on the interval, and a larger share of cases needs a larger interval."""
    samples = likely_jobs(seed)
    narrow, wide = (seconds(samples, interval=share) for share in sorted([one, other]))
    said = ~np.isnan(narrow[:, 0])
    np.testing.assert_array_equal(narrow[:, 0], wide[:, 0])
    assert (wide[said, 1] <= narrow[said, 1]).all()
    assert (wide[said, 2] >= narrow[said, 2]).all()

"""Charts of one row per job, where there are more jobs than rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from frames import START
from matplotlib.figure import Figure

from mops_analysis.charts import plot_failures_by_job, plot_heatmap, plot_timeline


def texts(ax):
    return " | ".join(text.get_text() for text in ax.texts).replace("\n", " ")


def summary_of(count, **columns):
    """Rows of a summary of so many jobs that began one after another."""
    at = START + pd.to_timedelta(np.arange(count), unit="min")
    frame = pd.DataFrame({"job_id": [f"job-{number:03d}" for number in range(count)], "status": "completed"})
    times = {"first_sampled_at": at, "last_sampled_at": at + pd.Timedelta("1h"), "started_before": at}
    return frame.assign(terminal=True, eta=pd.Series(pd.NaT, index=frame.index, dtype="datetime64[ns, UTC]")).assign(
        **times, **columns
    )


def rows(ax):
    """The names of the rows."""
    return [label.get_text() for label in ax.get_yticklabels()]


def test_a_timeline_of_many_keeps_the_jobs_that_go_on():
    """Of 100 jobs the two oldest still run: they are there, beside the newest 58; and it is said."""
    frame = summary_of(100)
    frame.loc[:1, ["status", "terminal"]] = ["in_progress", False]
    ax = plot_timeline(frame, tz="UTC")
    assert set(rows(ax)) == {"job-000", "job-001", *(f"job-{number:03d}" for number in range(42, 100))}
    assert "60 of 100 jobs, those that go on and the newest" in texts(ax)


def test_a_heat_map_of_many_has_those_that_slowed_and_the_median_of_all():
    """Of 100 jobs 10 stood still for a while: they are among the 59 rows; the first row is the median, as usual."""
    periods = START + pd.to_timedelta(np.arange(8) * 600, unit="s")
    frame = pd.DataFrame(
        [
            {"job_id": f"job-{n:03d}", "period_start": period, "items_per_s": 0.1 if n % 10 == 0 and k == 4 else 1.0}
            for n in range(100)
            for k, period in enumerate(periods)
        ]
    )
    ax = plot_heatmap(frame, tz="UTC")
    assert len(rows(ax)) == 60
    assert rows(ax)[0] == "median of 100"
    assert set(rows(ax)) >= {f"job-{n:03d}" for n in range(0, 100, 10)}
    ratios = np.ma.filled(next(iter(ax.collections)).get_array(), np.nan)
    assert np.nanmax(np.abs(ratios[0])) == 0
    assert "on top the median of 100 jobs, below it the 59 that slowed most" in texts(ax)


def test_rows_are_no_more_than_can_be_named():
    """On Axes of two inches a chart of 40 or 100 rows has 26, each with its name."""
    rate = np.linspace(0.1, 0.5, 40)
    frame = summary_of(40, failure_rate=rate, failure_rate_low=rate - 0.01, failure_rate_high=rate + 0.01)
    for plot in (
        lambda ax: plot_failures_by_job(frame, ax=ax),
        lambda ax: plot_timeline(summary_of(100), ax=ax, tz="UTC"),
    ):
        ax = Figure(figsize=(5, 2), dpi=100).add_axes((0, 0, 1, 1))
        assert len(rows(plot(ax))) == 26


def test_the_words_beside_the_worst_jobs_do_not_touch():
    """In the dashboard's height 40 rows that all fail are close: their words are smaller, and none overlaps another."""
    rate = np.linspace(0.3, 0.5, 40)
    frame = summary_of(40, failure_rate=rate, failure_rate_low=rate - 0.01, failure_rate_high=rate + 0.01)
    ax = Figure(figsize=(5.4, 3.8), dpi=100).add_axes((0.3, 0, 0.5, 1))
    plot_failures_by_job(frame, baseline=0.01, ax=ax)
    ax.figure.canvas.draw()
    words = [text.get_window_extent() for text in ax.texts if "× baseline" in text.get_text()]
    assert len(words) == 40
    lower = sorted(words, key=lambda box: box.y0)
    assert all(one.y1 <= other.y0 + 1 for one, other in itertools.pairwise(lower))

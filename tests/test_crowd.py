"""More jobs than can be told apart: how they lie is drawn, and a few by name, whichever chart it is."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from frames import START, job, jobs, likely

from mops_analysis import eta as forecast_of
from mops_analysis import failure_rate, schema, throughput
from mops_analysis.charts import (
    alt_text,
    lines,
    plot_eta,
    plot_failure_rate,
    plot_progress,
    plot_throughput,
    tracks,
)

STEPS = np.arange(0, 300, 10)
SHARES = (5, 25, 50, 75, 95)


def steady(number, *, status="in_progress", seconds=STEPS, height=None):
    """A job that stands still: its share done is its number, or the height given."""
    words = ["in_progress"] * (len(seconds) - 1) + [status]
    share = float(number) if height is None else height
    return job(seconds, int(share), total=100, percentage=share, status=words, job_id=f"job-{number:03d}")


def rates_of(samples, column):
    """What `throughput` returns, with rates of this column."""
    rates = samples[column].astype(float)
    return samples[["job_id", "sampled_at"]].assign(items_per_s=rates, interval_items_per_s=rates)


def failures_of(samples, column):
    """What `failure_rate` returns, with the share of this column [%], and intervals of a hundredth to each side."""
    rate = samples[column] / 100
    ends = {"failure_rate": rate, "failure_rate_low": rate - 0.01, "failure_rate_high": rate + 0.01}
    return samples[["job_id", "sampled_at"]].assign(failed=rate * 1000, finished=1000.0, **ends)


def forecasts_of(samples, column):
    """What `eta` returns: so many minutes after the start, ten less and ten more; unknown after the end of a job."""
    minutes = samples[column].where(~samples["status"].isin(schema.TERMINAL_STATUSES))
    ends = {
        name: START + pd.to_timedelta(minutes + more, unit="min")
        for name, more in (("eta", 0), ("eta_low", -10), ("eta_high", 10))
    }
    return samples[["job_id", "sampled_at"]].assign(
        **{name: end.astype("datetime64[ns, UTC]") for name, end in ends.items()}
    )


def days(minutes):
    """Moments on an axis of days."""
    return (START + pd.Timedelta(minutes, unit="min")).timestamp() / 86_400


# Each chart drawn from the share done as its values, and the height of such a value on its axis.
PLOTS = {
    "progress": (lambda samples, **more: plot_progress(samples, tz="UTC", **more), lambda value: value),
    "throughput": (
        lambda samples, **more: plot_throughput(rates_of(samples, "progress_percentage"), tz="UTC", **more),
        lambda value: value,
    ),
    "eta": (
        lambda samples, **more: plot_eta(forecasts_of(samples, "progress_percentage"), tz="UTC", **more),
        days,
    ),
    "failures": (
        lambda samples, **more: plot_failure_rate(failures_of(samples, "progress_percentage"), tz="UTC", **more),
        lambda value: value / 100,
    ),
}
every_plot = pytest.mark.parametrize(("plot", "height"), PLOTS.values(), ids=PLOTS)


def drawn(ax, label):
    """The line of that label."""
    return next(line for line in ax.lines if line.get_label() == label)


def band(ax, label):
    """The corners of the filled band of that label, one array for each unbroken part."""
    (found,) = [each for each in ax.collections if each.get_label() == label]
    return [path.vertices for path in found.get_paths()]


def named(ax):
    """The ids of the jobs that are drawn on their own."""
    return {line.get_label() for line in ax.lines if str(line.get_label()).startswith("job-")}


def texts(ax):
    return " | ".join(text.get_text() for text in ax.texts).replace("\n", " ")


@every_plot
def test_the_bands_hold_half_and_nine_tenths_of_the_jobs(plot, height):
    """101 jobs at 0, 1, … 100: the median is 50, the bands reach from 25 to 75 and from 5 to 95."""
    ax = plot(jobs(*(steady(number) for number in range(101))))
    assert drawn(ax, "median").get_ydata() == pytest.approx(height(50))
    for label, low, high in (("5 to 95 %", 5, 95), ("middle half", 25, 75)):
        (corners,) = band(ax, label)
        assert np.unique(np.round(corners[:, 1], 6)) == pytest.approx([height(low), height(high)], abs=1e-5)


@every_plot
def test_25_jobs_are_a_crowd_and_the_chart_says_so(plot, height):
    """No panels; three are named, and the subtitle says of how many and how they are drawn."""
    ax = plot(jobs(*(steady(number) for number in range(25))))
    assert not ax.child_axes
    assert len(named(ax)) == 3
    assert "25 jobs, " in texts(ax)
    assert "median (line), middle half (dark), 5 to 95 % (pale); named: the 3 " in texts(ax)
    assert all(job_id in texts(ax) for job_id in named(ax))
    assert "foot: jobs known, up to 25" in texts(ax)


@every_plot
def test_the_words_say_how_a_crowd_lies(plot, height):
    """The median, between which values half and nine tenths lie, and those that are named; the others are counted."""
    ax = plot(jobs(*(steady(number) for number in range(101))))
    words = alt_text(ax)
    assert "nine in ten" in words
    assert "; and 98 more jobs." in words
    assert all(job_id in words for job_id in named(ax))


def test_the_jobs_to_be_done_last_are_named():
    """Those that run and have the latest forecasts, not those with the smallest share, nor any that has ended."""
    samples = jobs(*(steady(number, status="completed" if number > 26 else "in_progress") for number in range(30)))
    latest = {"job-004", "job-011", "job-020", "job-029"}
    minutes = samples["job_id"].map(lambda job_id: 90.0 if job_id in latest else 30.0)
    minutes = minutes.mask(samples["job_id"] == "job-029", 120)  # it was cut short
    forecast = forecasts_of(samples.assign(minutes=minutes), "minutes")
    assert named(plot_progress(samples, forecast=forecast, tz="UTC")) == latest - {"job-029"}
    ax = plot_eta(forecast, samples=samples, tz="UTC")
    assert named(ax) == latest - {"job-029"}
    assert "named: the 3 to be done last" in texts(ax)
    ended = jobs(*(steady(number, status="completed") for number in range(30)))
    ax = plot_eta(forecasts_of(ended, "progress_percentage"), samples=ended, tz="UTC")
    assert named(ax) == {"job-027", "job-028", "job-029"}
    assert "named: the 3 with the latest forecasts at their end" in texts(ax)


def test_without_a_forecast_the_running_jobs_that_have_done_least_are_named():
    """An ended job is not among them, however little it did; where none runs, none is named, and none is spoken of."""
    samples = jobs(*(steady(number, status="failed" if number < 5 else "in_progress") for number in range(30)))
    assert named(plot_progress(samples, tz="UTC")) == {"job-005", "job-006", "job-007"}
    ax = plot_progress(jobs(*(steady(number, status="completed") for number in range(30))), tz="UTC")
    assert named(ax) == set()
    assert "named" not in texts(ax)


def test_the_slowest_and_those_that_surely_fail_most_are_named():
    """By the median rate, of the jobs still sampled unless these are fewer; by the lower end of the newest interval."""
    samples = jobs(*(steady(number) for number in range(30)))
    ax = plot_throughput(rates_of(samples, "progress_percentage"), tz="UTC")
    assert named(ax) == {"job-000", "job-001", "job-002"}
    assert "job-002 median 2/s" in texts(ax)
    older = jobs(samples[samples["job_id"] > "job-009"], *(steady(n, seconds=STEPS[:20]) for n in range(10)))
    older = schema.validate(older)
    assert named(plot_throughput(rates_of(older, "progress_percentage"), tz="UTC")) == {"job-010", "job-011", "job-012"}
    few = schema.validate(
        jobs(samples[samples["job_id"] > "job-027"], *(steady(n, seconds=STEPS[:20]) for n in range(28)))
    )
    assert named(plot_throughput(rates_of(few, "progress_percentage"), tz="UTC")) == {"job-000", "job-001", "job-002"}
    failures = failures_of(samples, "progress_percentage")
    failures.loc[failures["job_id"] == "job-029", "failure_rate_low"] = 0.0
    assert named(plot_failure_rate(failures, tz="UTC")) == {"job-026", "job-027", "job-028"}


def test_a_job_that_has_ended_counts_on_as_it_ended():
    """25 of 40 are completed half-way: from there on the median is 100 %, though nobody asks for them any more."""
    first = [steady(number, status="completed", seconds=STEPS[:15], height=100.0) for number in range(25)]
    rest = [steady(number, height=10.0) for number in range(25, 40)]
    ax = plot_progress(jobs(*first, *rest), tz="UTC")
    assert drawn(ax, "median").get_ydata()[-1] == 100
    assert band(ax, "jobs at once")[0][:, 1].max() == pytest.approx(0.035)
    (corners,) = band(ax, "5 to 95 %")
    assert corners[:, 1].min() == 10


def test_a_job_that_is_not_asked_for_any_more_counts_until_its_next_sample_is_overdue():
    """25 of 40 running jobs are seen until 140 s; 25 s later the median is that of the others; at once after a gap."""
    rest = [steady(number, height=10.0) for number in range(25, 40)]
    for seen, until in ((STEPS[:15], 165), ([*STEPS[:10], 140], 140)):
        first = [steady(number, seconds=seen, height=80.0) for number in range(25)]
        x, y = drawn(plot_progress(jobs(*first, *rest), tz="UTC"), "median").get_data()
        seconds = x * 86_400 - START.timestamp()
        assert set(y[(seconds < 90) | ((seconds > 138) & (seconds < until - 1))]) == {80.0}
        assert set(y[seconds > until + 3]) == {10.0}


@every_plot
def test_where_no_job_was_sampled_a_crowd_is_broken_and_the_time_hatched(plot, height):
    """Ten minutes without a sample of any, some had ended: bands in two parts, NaN in the median, a hatched patch."""
    seconds = np.append(STEPS, STEPS + 900)
    frames = [steady(number, seconds=seconds) for number in range(40)]
    frames += [steady(number, seconds=STEPS[:9], status="completed", height=60.0) for number in range(40, 70)]
    ax = plot(jobs(*frames))
    assert len(band(ax, "5 to 95 %")) == 2
    x, y = drawn(ax, "median").get_data()
    left, right = (START.timestamp() + second for second in (290, 900))
    inside = (x * 86_400 > left + 30) & (x * 86_400 < right - 10)
    assert np.isnan(y[inside]).all()
    assert inside.any()
    (patch,) = [each for each in ax.patches if each.get_label() == "no samples"]
    assert np.array([patch.get_x(), patch.get_x() + patch.get_width()]) * 86_400 == pytest.approx([left, right])


def test_of_fewer_than_five_jobs_it_is_not_drawn_how_they_lie():
    """Thirty begin, one after another, 10 s apart: bands and median begin with the fifth."""
    frames = [steady(number, seconds=np.arange(10 * number, 600, 10)) for number in range(30)]
    x = drawn(plot_progress(jobs(*frames), tz="UTC"), "median").get_xdata()
    y = drawn(plot_progress(jobs(*frames), tz="UTC"), "median").get_ydata()
    begun = (x[np.isfinite(y)].min() * 86_400) - START.timestamp()
    assert begun == pytest.approx(40, abs=3)


def test_jobs_one_after_another_are_drawn_though_there_never_are_five():
    """The median is that one job, the time between two is hatched; not beside a job that goes on all along."""
    frames = [steady(number, seconds=STEPS[:10] + 200 * number) for number in range(30)]
    ax = plot_progress(jobs(*frames), tz="UTC")
    y = drawn(ax, "median").get_ydata()
    assert set(np.round(y[np.isfinite(y)])) >= {0.0, 14.0, 29.0}
    assert len(ax.patches) == 29
    assert not plot_progress(jobs(*frames, steady(30, seconds=np.arange(0, 6000, 10))), tz="UTC").patches


@every_plot
@pytest.mark.parametrize("count", [25, 60])
def test_jobs_of_one_sample_each_are_drawn_without_complaint(plot, height, count):
    """Nothing has moved yet: the median is a dot, or a line where they were asked at different times."""
    for apart in (0, 7):
        frames = [steady(number, seconds=[number * apart]) for number in range(count)]
        ax = plot(jobs(*frames))
        ax.figure.canvas.draw()
        assert np.isfinite(drawn(ax, "median").get_ydata()).any()


def test_of_a_crowd_without_rates_it_is_said():
    """No window was seen yet, and no item has finished: empty bands, and words for it."""
    samples = jobs(*(steady(number) for number in range(30))).assign(unknown=np.nan)
    for ax in (
        plot_throughput(rates_of(samples, "unknown"), tz="UTC"),
        plot_failure_rate(failures_of(samples, "unknown"), tz="UTC"),
    ):
        ax.figure.canvas.draw()
        assert "nothing known yet" in alt_text(ax)
        assert named(ax) == set()


def test_a_few_wild_jobs_do_not_flatten_a_crowd():
    """Two of sixty jobs, a thousand times as fast, or forecast for next year, leave the others most of the height."""
    samples = jobs(*(steady(number) for number in range(60)))
    wild = samples["job_id"].isin(["job-058", "job-059"])
    rates = rates_of(samples, "progress_percentage")
    rates.loc[wild, "items_per_s"] = 1e5
    assert plot_throughput(rates, tz="UTC").get_ylim()[1] < 100
    totals = failures_of(samples.assign(share=samples["progress_percentage"].mask(wild, 100)), "share")
    windowed = failures_of(samples.assign(share=samples["progress_percentage"] / 10), "share")
    assert plot_failure_rate(windowed, cumulative=totals, window=60, tz="UTC").get_ylim()[1] < 0.1
    forecast = forecasts_of(samples.assign(minutes=samples["progress_percentage"].mask(wild, 500_000)), "minutes")
    ax = plot_progress(samples, forecast=forecast, tz="UTC")
    seen = STEPS[-1] / 86_400
    assert np.diff(ax.get_xlim())[0] == pytest.approx(2 * seen, rel=0.02)


def test_on_an_axis_of_shares_the_columns_are_shares():
    """Rates over the share done: each job is faster by its number, from 0 to 100 %."""
    share = np.tile(np.linspace(0, 100, len(STEPS)), 30)
    samples = jobs(*(steady(number, seconds=np.where(STEPS < 150, STEPS, STEPS + 600)) for number in range(30)))
    ax = plot_throughput(
        rates_of(samples, "progress_percentage").assign(progress_percentage=share), tz="UTC", x="share"
    )
    x, y = drawn(ax, "median").get_data()
    assert y[np.isfinite(y)] == pytest.approx(14.5)
    assert (x[0], x[-1]) == pytest.approx((0, 100), abs=1)
    assert not ax.patches


def read_off(line, edges):
    """How high a line runs in each column, sample by sample."""
    found = np.full(len(edges) - 1, np.nan)
    breaks = set(line.breaks.tolist())
    points = [(i, line.x[i : i + 1][0], line.y[i : i + 1][0]) for i in range(len(line.x))]
    for (i, left, low), (_, right, high) in itertools.pairwise(points):
        for column in range(found.size):
            middle = (edges[column] + edges[column + 1]) / 2
            if i not in breaks and left < edges[column] and right >= edges[column + 1] and left <= middle <= right:
                found[column] = low + (high - low) * (middle - left) / (right - left)
    for _, x, y in points:
        for column in range(found.size):
            if edges[column] <= x < edges[column + 1] and np.isfinite(y):
                found[column] = y
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_line_is_read_off_as_it_is_drawn(seed):
    """In each column its last point, else the straight line, nothing across a break: as found point by point."""
    samples = schema.validate(likely(seed, count=8).drop_duplicates(["job_id", "sampled_at"]))
    found = tracks.tracks_of(samples)[0]
    ends = np.array([track.x.ends() for track in found])
    edges = np.linspace(ends.min(), np.nextafter(ends.max(), np.inf), 60)
    for track in found:
        line = track.line("processed_items")
        np.testing.assert_allclose(line.heights(edges), read_off(line, edges), rtol=1e-6)


def test_a_line_that_falls_back_on_an_axis_of_shares_counts_with_its_later_stretch():
    """0, 50, then again 0, 20 %: up to 20 % the second stretch, beyond it the first."""
    line = lines.Line(
        lines.Places(np.array([0.0, 50.0, 0.0, 20.0])),
        lines.Places(np.array([1.0, 1.0, 2.0, 2.0])),
        np.array([1]),
    )
    heights = line.heights(np.array([0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))
    np.testing.assert_array_equal(heights, [2, 2, 2, 1, 1, 1])


def test_a_crowd_of_real_jobs_is_drawn_by_every_chart():
    """40 jobs as they come: uneven steps, gaps, falls, waiting, growing totals; on the clock and dark, and elapsed."""
    samples = likely(3, count=40).drop_duplicates(["job_id", "sampled_at"])
    samples = samples[~samples["status"].isin(["thinking"])].reset_index(drop=True)
    forecast, rates, failures = forecast_of(samples), throughput(samples, window="30s"), failure_rate(samples)
    windowed = failure_rate(samples, window="60s")
    for theme, x in (("dark", "clock"), ("light", "elapsed")):
        for ax in (
            plot_progress(samples, forecast=forecast, tz="UTC", theme=theme, x=x),
            plot_progress(samples, y="items", tz="UTC", theme=theme, x=x),
            plot_throughput(rates, tz="UTC", theme=theme, x=x),
            plot_failure_rate(failures, tz="UTC", theme=theme, x=x),
            plot_failure_rate(windowed, cumulative=failures, tz="UTC", theme=theme, x=x),
            plot_eta(forecast, samples=samples, tz="UTC", theme=theme),
        ):
            ax.figure.canvas.draw()
            assert len(drawn(ax, "median").get_xdata()) < 300


def test_a_crowd_knows_nothing_where_a_quarter_of_the_others_is_not_seen():
    """Of 40 that go on 15 fall silent for ten minutes: the 30 that have ended are not taken for all."""
    silent = np.append(STEPS, STEPS + 900)
    frames = [steady(number, seconds=np.arange(0, 1200, 10)) for number in range(25)]
    frames += [steady(number, seconds=silent) for number in range(25, 40)]
    frames += [steady(number, seconds=STEPS[:9], status="completed", height=100.0) for number in range(40, 70)]
    samples = schema.validate(jobs(*frames))
    ax = plot_progress(samples, tz="UTC")
    x, y = drawn(ax, "median").get_data()
    seconds = x * 86_400 - START.timestamp()
    assert np.isnan(y[(seconds > 330) & (seconds < 880)]).all()
    assert np.isfinite(y[(seconds > 100) & (seconds < 280)]).all()

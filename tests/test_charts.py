"""The charts, read from their artists: what is drawn, in which zone, broken where nothing is known."""

import datetime as dt
import itertools
import subprocess
import sys
import textwrap
import zoneinfo

import matplotlib as mpl
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mops_analysis import eta, failure_rate, load_example, schema, throughput
from mops_analysis.charts import (
    alt_text,
    canvas,
    clock,
    lines,
    palette,
    plot_comparison,
    plot_eta,
    plot_failure_rate,
    plot_failures_by_job,
    plot_heatmap,
    plot_progress,
    plot_ranks,
    plot_throughput,
    plot_throughput_by,
    plot_timeline,
)
from mops_analysis.errors import ConfigurationError, SchemaError

START = pd.Timestamp("2026-11-18T12:00:00Z")
TERMINAL = ("completed", "partial_success", "failed", "cancelled")


def samples_at(seconds, processed, *, job_id="job-1", total=100, failed=0, status="in_progress", start=START):
    """Build the samples of one job; `status` is the word of the last one."""
    count = len(seconds)
    words = ["in_progress"] * (count - 1) + [status]
    return schema.to_frame(
        {
            "job_id": job_id,
            "sampled_at": (start + pd.Timedelta(seconds=second)).isoformat(),
            "status": word,
            "progress_percentage": 100 * done / max(goal, 1),
            "processed_items": done,
            "total_items": goal,
            "failed_items": bad,
            "latency_s": 0.1,
        }
        for second, done, goal, bad, word in zip(
            seconds, processed, np.broadcast_to(total, count), np.broadcast_to(failed, count), words, strict=True
        )
    )


def eta_frame(samples, remaining, *, low=0.8, high=1.5):
    """Build what `eta` returns, from the remaining seconds of each row."""
    remaining = np.asarray(remaining, dtype=float)
    at = samples["sampled_at"]
    ends = {name: at + pd.to_timedelta(remaining * f, unit="s") for name, f in zip(ETA, (1, low, high), strict=True)}
    return samples[["job_id", "sampled_at"]].assign(**{name: end.astype(at.dtype) for name, end in ends.items()})


def throughput_frame(samples, rates):
    """Build what `throughput` returns."""
    keys = samples[["job_id", "sampled_at"]]
    return keys.assign(finished_items=0.0, interval_items_per_s=rates, items_per_s=rates)


def failure_frame(samples, failed, finished):
    """Build what `failure_rate` returns, with an interval of 5 points to both sides."""
    failed, finished = np.asarray(failed, dtype=float), np.asarray(finished, dtype=float)
    rate = failed / finished
    columns = {"failure_rate": rate, "failure_rate_low": rate - 0.05, "failure_rate_high": rate + 0.05}
    return samples[["job_id", "sampled_at"]].assign(failed=failed, finished=finished, **columns)


ETA = ("eta", "eta_low", "eta_high")
STEADY = samples_at(range(0, 50, 10), [0, 10, 20, 30, 40])
GAPPED = samples_at([0, 10, 20, 60, 70], [0, 10, 20, 60, 70])

PLOTS = {
    "progress": lambda samples, **options: plot_progress(samples, **options),
    "throughput": lambda samples, **options: plot_throughput(throughput_frame(samples, 2.0), **options),
    "eta": lambda samples, **options: plot_eta(eta_frame(samples, np.full(len(samples), 60.0)), **options),
    "failures": lambda samples, **options: plot_failure_rate(
        failure_frame(samples, np.ones(len(samples)), samples["processed_items"] + 2), **options
    ),
}
every_plot = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


def drawn(ax, label):
    """Return the line of that label."""
    return next(line for line in ax.lines if line.get_label() == label)


def texts(ax):
    return " | ".join(text.get_text() for text in ax.texts)


def jobs(count, samples=STEADY):
    """Repeat the samples for so many jobs."""
    return pd.concat([samples.assign(job_id=f"job-{i:02d}") for i in range(count)]).astype({"job_id": "string"})


@every_plot
def test_a_plot_returns_the_given_axes(plot):
    """What is drawn on is what comes back."""
    ax = Figure().subplots()
    assert plot(STEADY, ax=ax, tz="UTC") is ax


@every_plot
def test_no_axes_given_makes_a_figure_that_pyplot_does_not_know(plot):
    """Nothing is left behind in pyplot, and no setting is changed."""
    before = dict(mpl.rcParams)
    ax = plot(STEADY, tz="UTC")
    assert isinstance(ax.figure.canvas, FigureCanvasAgg)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert dict(mpl.rcParams) == before


@every_plot
def test_the_question_is_the_title_and_the_axes_are_labelled(plot):
    """Title, method, unit and zone can be read."""
    ax = plot(STEADY, tz="Europe/Berlin")
    assert ax.get_title(loc="left").endswith("?")
    assert "job-1: " in texts(ax)
    assert ax.get_xlabel() == "clock time, Europe/Berlin (UTC+01:00), Wed 18 Nov 2026"
    assert ax.get_ylabel()


@every_plot
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_samples_give_empty_labelled_axes(plot, theme):
    """Nothing to show is said, not raised."""
    ax = plot(STEADY.iloc[:0], tz="UTC", theme=theme)
    assert "no samples" in texts(ax)
    assert ax.get_ylabel()
    assert alt_text(ax).endswith(": no samples.")


@every_plot
def test_the_input_is_unchanged(plot):
    """No plot writes into its frame."""
    samples = GAPPED.sample(frac=1, random_state=1)
    before = samples.copy(deep=True)
    plot(samples, tz="UTC")
    pd.testing.assert_frame_equal(samples, before)


@every_plot
def test_the_order_of_rows_does_not_matter(plot):
    """A shuffled frame draws the same line."""
    straight, shuffled = (plot(frame, tz="UTC") for frame in (STEADY, STEADY.iloc[[3, 0, 4, 1, 2]]))
    for one, two in zip(straight.lines, shuffled.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), two.get_xydata())


@every_plot
def test_naive_times_are_refused_with_the_cure(plot):
    """A time without a zone could mean any of 38 moments."""
    naive = STEADY.assign(sampled_at=STEADY["sampled_at"].dt.tz_localize(None))
    with pytest.raises(SchemaError, match=r"'sampled_at'.*tz_localize"):
        plot(naive, tz="UTC")


@every_plot
def test_times_of_any_zone_draw_the_same_line(plot):
    """The zone of the frame is not the zone of the chart."""
    moved = STEADY.assign(sampled_at=STEADY["sampled_at"].dt.tz_convert("America/New_York"))
    one, two = plot(STEADY, tz="UTC"), plot(moved, tz="UTC")
    assert one.get_xlabel() == two.get_xlabel()
    np.testing.assert_array_equal(one.lines[-1].get_xydata(), two.lines[-1].get_xydata())


@pytest.mark.parametrize("name", ["throughput", "progress", "eta"])
def test_a_line_breaks_at_a_gap_and_the_gap_is_hatched(name):
    """40 s without a sample, at one sample per 10 s, is a gap: NaN in the line, a hatched patch over the span."""
    ax = PLOTS[name](GAPPED, tz="UTC")
    line = drawn(ax, "job-1")
    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [3]
    (patch,) = [patch for patch in ax.patches if patch.get_label() == "no samples"]
    start = clock.days_of(GAPPED["sampled_at"])
    assert patch.get_hatch()
    assert patch.get_bbox().intervalx == pytest.approx(start[[2, 3]], abs=1e-9)


def test_a_lone_sample_between_two_gaps_is_a_dot():
    """A line through one point is invisible; a marker is not."""
    ax = plot_progress(samples_at([0, 10, 20, 100, 200, 210, 220], range(7)), tz="UTC")
    dots = [line for line in ax.lines if line.get_linestyle() == "None" and line.get_marker() == "o"]
    assert [line.get_ydata().tolist() for line in dots] == [[3.0]]


def test_the_gap_rule_is_two_and_a_half_median_steps():
    """25 s is no gap at 10 s a step; 26 s is one."""
    assert lines.gap_starts(np.array([0.0, 10, 20, 45, 55, 65])).tolist() == []
    assert lines.gap_starts(np.array([0.0, 10, 20, 46, 56, 66])).tolist() == [2]


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0]])
def test_without_steps_there_is_no_gap(times):
    """One sample, or two of one moment, have none."""
    assert lines.gap_starts(np.array(times)).size == 0


def test_progress_starts_at_zero_and_leaves_room_above_the_total():
    """A counter's axis starts at 0."""
    low, high = plot_progress(STEADY, tz="UTC").get_ylim()
    assert low == 0
    assert 100 < high < 120


def test_a_counter_reset_breaks_the_line_and_is_named():
    """A fall is no negative work: the line ends and starts again, and the fall is written beside it."""
    ax = plot_progress(samples_at(range(0, 40, 10), [10, 20, 5, 15]), tz="UTC")
    assert np.isnan(drawn(ax, "job-1").get_ydata()).tolist() == [False, False, True, False, False]
    assert "counter reset\n20 → 5" in texts(ax)


def test_a_growing_total_is_a_stepped_rule():
    """The total is drawn as it was at each time, and named at its start and its end."""
    ax = plot_progress(samples_at(range(0, 40, 10), [0, 1, 2, 3], total=[50, 50, 80, 80]), tz="UTC")
    rule = drawn(ax, "total")
    assert rule.get_drawstyle() == "steps-post"
    assert rule.get_ydata().tolist() == [50, 80, 80]
    assert "50 total" in texts(ax)
    assert "80 total" in texts(ax)


def test_an_unknown_total_draws_no_rule():
    """A total of 0 is not a goal."""
    ax = plot_progress(samples_at([0, 10], [0, 3], total=0), tz="UTC")
    assert not [line for line in ax.lines if line.get_label() == "total"]


@pytest.mark.parametrize("status", TERMINAL)
def test_the_end_of_a_job_has_the_colour_of_its_status(status):
    """A diamond at the last sample, named beside it with its mark."""
    ax = plot_progress(samples_at([0, 10], [0, 100], status=status), tz="UTC")
    assert to_hex(drawn(ax, status).get_markerfacecolor()) == palette.LIGHT.status[status]
    assert palette.status_mark(status) in texts(ax)


def test_a_job_in_review_is_tinted_and_not_ended():
    """Waiting is shown as a span with its name; there is no diamond."""
    samples = samples_at(range(0, 60, 10), [0, 50, 50, 50, 50, 50]).assign(
        status=pd.array(["in_progress"] + ["awaiting_review"] * 5, dtype="string")
    )
    ax = plot_progress(samples, tz="UTC")
    assert [patch for patch in ax.patches if patch.get_label() == "awaiting_review"]
    assert "awaiting review" in texts(ax)
    assert not [line for line in ax.lines if line.get_marker() == "D"]


def test_a_forecast_goes_from_the_newest_sample_to_the_predicted_finish():
    """60 s after the last sample, with a whisker from 48 s to 90 s."""
    ax = plot_progress(STEADY, forecast=eta_frame(STEADY, [np.nan, 90, 80, 70, 60]), tz="UTC")
    last = clock.days_of(STEADY["sampled_at"])[-1]
    finish = drawn(ax, "predicted finish").get_xydata()[0]
    assert (finish[0] - last) * 86_400 == pytest.approx(60, abs=1e-3)
    assert finish[1] == 100
    (band,) = [patch for patch in ax.patches if patch.get_label() == "forecast band"]
    assert (np.unique(band.get_xy()[:, 0]) - last) * 86_400 == pytest.approx([0, 48, 90], abs=1e-3)


def test_several_forecasts_are_a_fan():
    """Bands are drawn from the narrowest, darkest, to the widest, palest."""
    fan = [eta_frame(STEADY, [60] * 5, high=high) for high in (3, 1.5, 2)]
    ax = plot_progress(STEADY, forecast=fan, tz="UTC")
    bands = [patch for patch in ax.patches if patch.get_label() == "forecast band"]
    reach = [patch.get_xy()[:, 0].max() for patch in bands]
    opacity = [patch.get_alpha() for patch in bands]
    assert reach == sorted(reach)
    assert opacity == sorted(opacity, reverse=True)


def test_a_job_without_a_newest_forecast_has_none():
    """Where nothing can be said now, what was said before is not drawn."""
    ax = plot_progress(STEADY, forecast=eta_frame(STEADY, [90, 80, 70, 60, np.nan]), tz="UTC")
    assert not [line for line in ax.lines if line.get_label() == "predicted finish"]


def test_the_forecast_of_an_ended_job_is_that_of_half_its_way():
    """So that it can be held against what happened; `issued_at` chooses another."""
    samples = samples_at(range(0, 50, 10), [0, 25, 50, 75, 100], status="completed")
    forecast = eta_frame(samples, [40, 30, 25, 10, np.nan])
    starts = clock.days_of(samples["sampled_at"])
    for issued_at, finish in ((None, starts[2] + 25 / 86_400), (START + pd.Timedelta("15s"), starts[1] + 30 / 86_400)):
        ax = plot_progress(samples, forecast=forecast, issued_at=issued_at, tz="UTC")
        assert drawn(ax, "predicted finish").get_xdata()[0] == pytest.approx(finish, abs=1e-8)


def test_a_forecast_of_days_leaves_a_third_of_the_width_to_what_was_seen():
    """A wild band does not squeeze the samples into a line."""
    ax = plot_progress(STEADY, forecast=eta_frame(STEADY, [60] * 5, high=5_000), tz="UTC")
    low, high = ax.get_xlim()
    assert (clock.days_of(STEADY["sampled_at"])[-1] - low) / (high - low) > 0.3


def test_one_job_shows_elapsed_time_along_the_top():
    """The clock below, the elapsed time above."""
    ax = plot_progress(STEADY, tz="UTC")
    start = clock.days_of(STEADY["sampled_at"])[0]
    assert np.round((drawn(ax, "elapsed").get_xdata() - start) * 86_400).tolist() == [0, 6, 12, 18, 24, 30, 36]
    words = [text.get_text() for text in ax.texts if text.get_va() == "bottom" and text.xy[1] == 1]
    assert words[:3] == ["elapsed 0", "6 s", "12 s"]


@every_plot
def test_two_jobs_differ_in_colour_and_dash_and_are_named_at_the_right(plot):
    """No legend: the names stand at the line ends."""
    ax = plot(jobs(2), tz="UTC")
    one, two = drawn(ax, "job-00"), drawn(ax, "job-01")
    assert one.get_color() != two.get_color()
    assert (one.is_dashed(), two.is_dashed()) == (False, True)
    assert ax.get_legend() is None
    assert "job-00" in texts(ax)
    assert "job-01" in texts(ax)


def test_a_label_is_shown_in_place_of_the_id():
    """An analyst's own names win, in samples and in metrics; a missing one falls back on the id."""
    samples = jobs(2).assign(label=lambda frame: frame["job_id"].map({"job-00": "Northwind"}))
    rates = throughput_frame(samples, 1.0).assign(label=samples["label"])
    for ax in (plot_progress(samples, tz="UTC"), plot_throughput(rates, tz="UTC")):
        assert "Northwind" in texts(ax)
        assert "job-01" in texts(ax)
        assert "job-00" not in texts(ax)


@every_plot
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_name_is_text_and_no_formula(plot, count):
    """Dollar signs and backslashes in an id, or in a status that we do not know, are drawn as they are."""
    samples = jobs(count).assign(job_id=lambda frame: frame["job_id"] + r"$\frac{$", status=r"$\frac{$")
    plot(samples.astype({"job_id": "string", "status": "string"}), tz="UTC").figure.canvas.draw()


@every_plot
def test_seven_jobs_get_a_panel_each_on_one_scale(plot):
    """The panels are children of the Axes that is returned, and share its limits."""
    ax = plot(jobs(7), tz="UTC")
    assert ["job-0" in panel.get_title(loc="left") for panel in ax.child_axes] == [True] * 7
    assert {panel.get_ylim() for panel in ax.child_axes} == {ax.get_ylim()}
    assert {panel.get_xlim() for panel in ax.child_axes} == {ax.get_xlim()}


def test_several_jobs_are_compared_by_share():
    """Jobs of different size have one scale: the served percentage."""
    ax = plot_progress(jobs(2), tz="UTC")
    assert ax.get_ylabel() == "share done"
    assert drawn(ax, "job-00").get_ydata().tolist() == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("name", ["throughput", "progress", "failures"])
def test_elapsed_time_starts_each_job_at_zero(name):
    """Two jobs that started an hour apart lie over each other."""
    later = STEADY.assign(job_id="job-2", sampled_at=STEADY["sampled_at"] + pd.Timedelta("1h"))
    both = pd.concat([STEADY, later]).astype({"job_id": "string"})
    ax = PLOTS[name](both, tz="UTC", x="elapsed")
    for job_id in ("job-1", "job-2"):
        assert drawn(ax, job_id).get_xdata() == pytest.approx([0, 10, 20, 30, 40], abs=1e-3)
    assert ax.get_xlabel() == "elapsed since the job's first sample [s]"


@pytest.mark.parametrize(
    "plot",
    [
        lambda samples, share: plot_throughput(
            throughput_frame(samples, 2.0).assign(progress_percentage=share), tz="UTC", x="share"
        ),
        lambda samples, share: plot_failure_rate(
            failure_frame(samples, np.ones(10), np.arange(10) + 2).assign(progress_percentage=share),
            tz="UTC",
            x="share",
        ),
    ],
    ids=["throughput", "failures"],
)
def test_over_the_share_done_jobs_of_any_length_lie_over_each_other(plot):
    """The percentage of each sample is its place; a counter that starts again begins a new line."""
    restarted = STEADY.assign(job_id="job-2", progress_percentage=[0.0, 50.0, 0.0, 40.0, 100.0])
    both = pd.concat([STEADY, restarted], ignore_index=True).astype({"job_id": "string"})
    ax = plot(both, both["progress_percentage"])
    assert ax.get_xlabel() == "share done [%]"
    assert drawn(ax, "job-1").get_xdata().tolist() == STEADY["progress_percentage"].tolist()
    line = drawn(ax, "job-2")
    assert line.get_xdata().tolist() == [0, 50, 50, 0, 40, 100]
    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [2]
    assert ax.get_xlim()[1] == pytest.approx(100, abs=1)


def test_over_the_share_done_the_window_is_known():
    """With the share done added as the error says, the frame still says how wide its windows are."""
    samples = load_example().query("job_id == 'clean-import-1'")
    rates, failures = (metric(samples, window="10s") for metric in (throughput, failure_rate))
    with pytest.raises(SchemaError) as refused:
        plot_throughput(rates, tz="UTC", x="share")
    cure = str(refused.value).rpartition("it: ")[2]
    rates, failures = (eval(cure, {"frame": frame, "samples": samples}) for frame in (rates, failures))
    assert "90 % of the steps" in [each.get_label() for each in plot_throughput(rates, tz="UTC", x="share").collections]
    assert plot_failure_rate(failures, tz="UTC", x="share").get_xlabel() == "share done [%]"


def test_a_sample_of_unknown_share_has_no_place_among_shares():
    """It is left out; the others are where they are."""
    frame = throughput_frame(STEADY, 2.0).assign(progress_percentage=[0.0, 25.0, np.nan, 75.0, 100.0])
    assert drawn(plot_throughput(frame, tz="UTC", x="share"), "job-1").get_xdata().tolist() == [0, 25, 75, 100]
    unknown = frame.assign(progress_percentage=np.nan)
    assert "no samples" in alt_text(plot_throughput(unknown, tz="UTC", x="share"))


def test_ticks_of_elapsed_time_do_not_remember():
    """An axis that showed five minutes and then ninety has the ticks of ninety."""
    used, new = (clock._ElapsedTicks(nbins=7) for _ in range(2))
    used.tick_values(0, 5)
    assert used.tick_values(0, 90).tolist() == new.tick_values(0, 90).tolist() == [0, 15, 30, 45, 60, 75, 90]


def test_shares_have_to_be_there():
    """The error says how to add them; progress itself has no such axis."""
    with pytest.raises(SchemaError, match=r"for x='share' add it: frame\.assign"):
        plot_throughput(throughput_frame(STEADY, 1.0), x="share")
    with pytest.raises(ConfigurationError, match="expected 'clock' or 'elapsed', got 'share'"):
        plot_progress(STEADY, x="share")


def test_throughput_starts_at_zero_and_breaks_where_the_window_is_unknown():
    """A NaN of the metric is a break; the steps are drawn beneath as steps."""
    ax = plot_throughput(throughput_frame(STEADY, [np.nan, 2.0, np.nan, 3.0, 4.0]), tz="UTC")
    assert ax.get_ylim()[0] == 0
    np.testing.assert_array_equal(drawn(ax, "job-1").get_ydata(), [np.nan, 2, np.nan, 3, 4])
    assert drawn(ax, "steps").get_drawstyle() == "steps-pre"
    assert drawn(ax, "median").get_ydata()[0] == 3


@pytest.mark.parametrize(
    ("rate", "label", "shown"),
    [(2.0, "items per second", 2.0), (0.1, "items per minute", 6.0), (0.002, "items per hour", 7.2)],
)
def test_slow_jobs_are_shown_per_minute_or_hour(rate, label, shown):
    """0.1 items/s are 6 a minute; 0.002 are 7.2 an hour."""
    ax = plot_throughput(throughput_frame(STEADY, rate), tz="UTC")
    assert ax.get_ylabel() == label
    assert drawn(ax, "job-1").get_ydata() == pytest.approx([shown] * 5)


def test_the_average_over_a_gap_is_no_step():
    """The rate across a gap is not drawn as if it had been seen."""
    ax = plot_throughput(throughput_frame(GAPPED, 1.0), tz="UTC")
    assert np.isnan(drawn(ax, "steps").get_ydata()).tolist() == [False, False, False, True, False]


def test_a_rate_that_is_not_known_yet_is_said():
    """All NaN is no zero."""
    ax = plot_throughput(throughput_frame(STEADY, np.nan), tz="UTC")
    assert "no rate yet" in texts(ax)
    assert "no rate yet" in alt_text(ax)


def test_a_single_wild_step_is_cut_and_counted():
    """One step of 1,000/s among steps of 2/s does not flatten the rest, and the subtitle owns up."""
    samples = samples_at(range(0, 1000, 10), range(100))
    frame = throughput_frame(samples, 2.0)
    frame.loc[50, "interval_items_per_s"] = 1000.0
    ax = plot_throughput(frame, tz="UTC")
    assert ax.get_ylim()[1] < 5
    assert "1 step beyond the axis" in texts(ax).replace("\n", " ")


def test_the_convergence_chart_draws_the_truth_and_the_errors():
    """A rule at the true finish, and how wrong the forecast was at 25, 50 and 75 % done."""
    samples = samples_at(range(0, 500, 100), [0, 25, 50, 75, 100], status="completed")
    ax = plot_eta(eta_frame(samples, [400, 420, 260, 90, np.nan]), samples=samples, tz="UTC")
    assert drawn(ax, "true finish").get_ydata()[0] == pytest.approx(clock.days_of(samples["sampled_at"])[-1])
    for words in ("25 % done\n+2 m", "50 % done\n+1 m", "75 % done\n-10 s"):
        assert words in texts(ax)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_cut_short_has_an_end_and_no_errors(status):
    """No forecast promised that end."""
    samples = samples_at(range(0, 300, 100), [0, 25, 50], status=status)
    ax = plot_eta(eta_frame(samples, [400, 420, np.nan]), samples=samples, tz="UTC")
    assert f"true finish\n12:03:20\n{status}" in texts(ax)
    assert "% done" not in texts(ax)


def test_a_running_job_has_no_true_finish():
    """The newest forecast is written in its place."""
    ax = plot_eta(eta_frame(STEADY, [60] * 5), samples=STEADY, tz="UTC")
    assert not [line for line in ax.lines if line.get_label() == "true finish"]
    assert "newest forecast\n12:02 (12:01–12:02)" in texts(ax)


def test_no_forecast_is_not_no_samples():
    """A job may run for long before anything can be said of its end."""
    ax = plot_eta(eta_frame(STEADY, [np.nan] * 5), tz="UTC")
    assert alt_text(ax) == "Predicted finish: no forecast yet."


def test_now_is_the_diagonal():
    """On it the predicted finish is the present."""
    line = drawn(plot_eta(eta_frame(samples_at([0, 600, 1200], [0, 1, 2]), [900, 300, 0]), tz="UTC"), "now")
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


def test_windows_that_overlap_are_left_out():
    """Of 10 rows 10 s apart, windows of 30 s leave the last and each third before it."""
    samples = samples_at(range(0, 100, 10), range(10))
    frame = failure_frame(samples, [1] * 10, [20] * 10)
    ax = plot_failure_rate(frame, window=30, tz="UTC")
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    positions = clock.days_of(samples["sampled_at"])
    np.testing.assert_array_equal(dots.get_xdata(), positions[[0, 3, 6, 9]])


def test_only_what_is_above_the_baseline_is_a_filled_red_square():
    """A rate of 20 % +- 5 is above a usual 5 to 12 %; one of 15 % +- 5 may still be usual."""
    frame = failure_frame(samples_at([0, 30, 60], [0, 1, 2]), [10, 15, 20], [100] * 3)
    ax = plot_failure_rate(frame, window=30, baseline=(0.08, 0.05, 0.12), tz="UTC")
    above, inside = drawn(ax, "above baseline"), drawn(ax, "job-1")
    assert (above.get_marker(), to_hex(above.get_markerfacecolor())) == ("s", palette.LIGHT.alarm)
    assert above.get_ydata() == pytest.approx([0.2])
    assert (inside.get_marker(), to_hex(inside.get_markerfacecolor())) == ("o", palette.LIGHT.paper)
    assert inside.get_ydata() == pytest.approx([0.1, 0.15])


def test_a_rate_since_the_start_is_a_line_with_a_band():
    """No window, no dots."""
    ax = plot_failure_rate(failure_frame(STEADY, [1, 2, 3, 4, 5], [20, 40, 60, 80, 100]), tz="UTC")
    assert drawn(ax, "cumulative").get_ydata() == pytest.approx([0.05] * 5)
    assert len(ax.collections) == 1
    assert ax.get_ylim()[0] == 0


def test_the_window_is_read_from_the_frame():
    """`failure_rate` leaves it there, and choosing rows keeps it."""
    frame = failure_frame(STEADY, [1] * 5, [20] * 5)
    frame.attrs["window_s"] = 20.0
    ax = plot_failure_rate(frame[frame["job_id"] == "job-1"], tz="UTC")
    assert drawn(ax, "job-1").get_xdata().size == 3


def test_rates_of_a_window_are_not_taken_for_rates_since_the_start():
    """Where the finished items of the frame fall, it is windowed: the window must be said."""
    frame = failure_frame(STEADY, [1, 1, 1, 1, 1], [20, 40, 30, 20, 10])
    with pytest.raises(SchemaError, match="window="):
        plot_failure_rate(frame, tz="UTC")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_throughput(STEADY), "'interval_items_per_s' is missing.*throughput"),
        (lambda: plot_eta(STEADY), "'eta' is missing"),
        (lambda: plot_failure_rate(STEADY), "'failed' is missing"),
        (lambda: plot_throughput([1, 2]), "got list"),
        (lambda: plot_progress(STEADY, forecast=STEADY), "'eta' is missing"),
    ],
)
def test_a_frame_of_another_kind_is_refused(call, message):
    """The error names the column and who makes it."""
    with pytest.raises(SchemaError, match=message):
        call()


@pytest.mark.parametrize("options", [{"x": "share"}, {"y": "percent"}, {"tz": "Mars/Olympus"}, {"theme": "sepia"}])
def test_an_unknown_option_is_refused(options):
    """The error names the option and its words."""
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))}: expected"):
        plot_progress(STEADY, **options)


def test_both_offsets_are_named_across_a_clock_change():
    """The night of 25 October 2026 has two offsets in Berlin; ticks stay at round times on both sides."""
    samples = samples_at(range(0, 6 * 3600, 600), range(36), start=pd.Timestamp("2026-10-24T22:30:00Z"))
    ax = plot_progress(samples, tz="Europe/Berlin")
    assert "Europe/Berlin (UTC+02:00, then UTC+01:00)" in ax.get_xlabel()
    words = ax.xaxis.get_major_formatter().format_ticks(ax.xaxis.get_majorticklocs())
    assert words == ["01:00", "02:00", "03:00", "04:00", "05:00"]


def test_midnight_is_a_dated_line():
    """A job that runs into the next day says which day begins."""
    ax = plot_progress(samples_at(range(0, 7200, 600), range(12), start=pd.Timestamp("2026-11-18T22:30:00Z")), tz="UTC")
    assert "Thu 19 Nov" in texts(ax)
    assert "18 Nov to 19 Nov 2026" in ax.get_xlabel()


def test_without_a_zone_the_viewers_own_is_taken():
    """It is named as such."""
    code = """
        import os, time
        os.environ["TZ"] = "Europe/Berlin"; time.tzset()
        from mops_analysis.charts import clock
        print(clock.zone_text(clock.zone_of(None), 20775.5, 20775.6))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "local zone CET (UTC+01:00)"


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (dt.UTC, "UTC"),
        (zoneinfo.ZoneInfo("UTC"), "UTC"),
        (zoneinfo.ZoneInfo("Asia/Kathmandu"), "Asia/Kathmandu (UTC+05:45)"),
        (zoneinfo.ZoneInfo("America/New_York"), "America/New_York (UTC-05:00)"),
    ],
)
def test_a_zone_is_named_with_its_offset(zone, text):
    """Half and quarter hours too."""
    assert clock.zone_text(zone, 20775.5, 20775.6) == text


@pytest.mark.parametrize("span_s", [0.05, 5, 90, 3600, 86_400, 10 * 86_400, 400 * 86_400])
def test_a_clock_axis_has_a_few_ticks_for_any_span(span_s):
    """From milliseconds to years, 1 to 8 ticks, all inside."""
    low = 20775.51234
    ticks = clock.ClockTicks(zoneinfo.ZoneInfo("Europe/Berlin"), 7).tick_values(low, low + span_s / 86_400)
    assert 1 <= len(ticks) <= 8
    assert all(low <= tick <= low + span_s / 86_400 for tick in ticks)


def test_labels_at_line_ends_never_touch():
    """Six labels that all want the same height are spread around it, inside the room."""
    heights = np.full(6, 20.0)
    for wanted in (np.full(6, 150.0), np.zeros(6), np.array([300.0, 290, 300, 10, 5, 0])):
        middles = np.sort(canvas.spread(wanted, heights, 300.0))
        assert (np.diff(middles) >= 20 - 1e-9).all()
        assert middles[0] >= 10 - 1e-9
        assert middles[-1] <= 290 + 1e-9


def test_alt_text_is_made_from_the_numbers():
    """Subject, span, zone, values, status, gaps."""
    ax = plot_progress(GAPPED, tz="Europe/Berlin")
    assert alt_text(ax) == (
        "Progress, Wed 18 Nov 2026, 13:00:00 to 13:01:10 Europe/Berlin (UTC+01:00): job-1 70 % done (70 of 100 items "
        "processed), in_progress. No samples 13:00 to 13:01."
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_colours_paper_and_ink(theme):
    """The Axes and their figure, title and line."""
    colours = palette.theme_named(theme)
    ax = plot_progress(STEADY, tz="UTC", theme=theme)
    assert to_hex(ax.get_facecolor()) == to_hex(ax.figure.get_facecolor()) == colours.paper
    assert drawn(ax, "job-1").get_color() == colours.main


@every_plot
def test_every_word_stays_inside_the_figure(plot):
    """Nothing is clipped: with long names, wide numbers and end labels."""
    counts = range(0, 50_000_000, 1_000_000)
    samples = samples_at(range(0, 500, 10), counts, job_id="job_" + "8f21c4e0" * 3, total=10**8)
    both = pd.concat([samples, samples.assign(job_id="job_" + "x" * 40, status="completed_with_warnings")])
    for frame in (samples, both.astype({"job_id": "string"})):
        ax = plot(frame, tz="America/Argentina/ComodRivadavia")
        ax.figure.canvas.draw()
        whole = ax.figure.bbox
        for text in [*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]:
            box = text.get_window_extent()
            assert box.width == 0 or (box.x0 >= 0 and box.x1 <= whole.x1 and box.y0 >= 0 and box.y1 <= whole.y1), text


def summary_frame(**columns):
    """Build what `summary` returns: two jobs, of which the second runs."""
    moments = {
        "first_sampled_at": [0, 60],
        "started_before": [10, 70],
        "last_sampled_at": [100, 130],
        "eta": [np.nan, 190],
    }
    times = {name: START + pd.to_timedelta(seconds, unit="s") for name, seconds in moments.items()}
    rates = {"failure_rate": [0.1, 0.5], "failure_rate_low": [0.05, 0.4], "failure_rate_high": [0.2, 0.6]}
    statuses = {"status": ["cancelled", "in_progress"], "terminal": [True, False]}
    return pd.DataFrame({"job_id": ["a", "b"], **statuses, **times, **rates} | columns)


def test_a_job_is_compared_with_those_that_ended_well():
    """Two others took 40 s and 80 s: half of their way is usually done after 30 s."""
    others = [
        samples_at(np.arange(5) * step, range(0, 125, 25), job_id=f"o{step}", status="completed") for step in (10, 20)
    ]
    failed = samples_at([0, 10], [0, 50], job_id="failed", status="failed")
    late = samples_at([0, 10], [50, 100], job_id="late", status="completed")
    samples = pd.concat([STEADY, *others, failed, late]).astype({"job_id": "string"})
    ax = plot_comparison(samples, "job-1")
    assert len([line for line in ax.lines if line.get_label() == "others"]) == 2
    median = drawn(ax, "median")
    assert np.interp(50, median.get_ydata(), median.get_xdata()) == pytest.approx(30, abs=1e-3)
    assert alt_text(ax) == "Comparison: job-1 40 % done after 40 s, in_progress; the median of 2 others took 1 m."


def test_a_comparison_needs_the_job():
    """The error names it."""
    with pytest.raises(SchemaError, match="'nobody'.*1 jobs"):
        plot_comparison(STEADY, "nobody")


def test_failures_by_job_are_sorted_and_flagged():
    """The worst is on top; it is red only where its whole interval lies above the baseline."""
    ax = plot_failures_by_job(summary_frame(), baseline=(0.1, 0.05, 0.2))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert drawn(ax, "above baseline").get_xydata().tolist() == [[0.5, 1]]
    assert drawn(ax, "jobs").get_xydata().tolist() == [[0.1, 0]]
    assert "5.0× baseline" in texts(ax)


def test_the_usual_rate_is_taken_from_five_jobs_or_more():
    """Of fewer, nothing is usual."""
    assert not [line for line in plot_failures_by_job(summary_frame()).lines if line.get_label() == "baseline"]
    five = pd.concat([summary_frame()] * 3).assign(job_id=list("abcdef"))
    assert drawn(plot_failures_by_job(five), "baseline").get_xdata()[0] == pytest.approx(0.3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_mark_on_a_bar_can_be_read(theme):
    """It has that one of the theme's two inks which is farther from the colour of the bar."""
    colours = palette.theme_named(theme)
    on_bright, on_dark = (colours.ink, colours.paper) if theme == "light" else (colours.paper, colours.ink)
    for status, ink in (("partial_success", on_bright), ("cancelled", on_dark)):
        ax = plot_timeline(summary_frame().assign(status=status), tz="UTC", theme=theme)
        marks = {text.get_color() for text in ax.texts if text.get_text() == palette.status_mark(status)}
        assert marks == {ink}, status


def test_a_timeline_has_a_bar_per_job_and_a_tail_to_the_forecast():
    """Waiting is an outline, running a bar, the forecast a pale tail; the first job is on top."""
    ax = plot_timeline(summary_frame(), tz="UTC")
    start = clock.days_of(pd.Series([START]))[0]
    bars = {(p.get_label(), round(p.get_y() + 0.32)): p for p in ax.patches}
    spans = {
        key: np.round((np.array([p.get_x(), p.get_x() + p.get_width()]) - start) * 86_400).tolist()
        for key, p in bars.items()
    }
    assert spans == {
        ("waiting", 1): [0, 10],
        ("cancelled", 1): [10, 100],
        ("waiting", 0): [60, 70],
        ("in_progress", 0): [70, 130],
        ("forecast", 0): [130, 190],
    }
    assert bars["cancelled", 1].get_hatch()
    assert to_hex(bars["in_progress", 0].get_facecolor()) == palette.LIGHT.status["in_progress"]


def test_a_heat_map_shows_each_period_against_the_jobs_own_median():
    """1, 2, 4 items/s around a median of 2: -1, 0 and 1; the first and last period are left out, and none is blank."""
    rates = [9, 1, 2, 4, 2, 9]
    periods = START + pd.to_timedelta(np.arange(6) * 600, unit="s")
    frame = pd.DataFrame({"job_id": "a", "period_start": periods, "items_per_s": np.array(rates, dtype=float)})
    ax = plot_heatmap(frame.drop(index=4), tz="UTC")
    (mesh,) = ax.collections
    drawn_ratios = np.ma.filled(mesh.get_array(), np.nan).ravel()
    np.testing.assert_allclose(drawn_ratios, [np.nan, -1, 0, 1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("plot", "frame"),
    [(plot_failures_by_job, summary_frame()), (plot_timeline, summary_frame())],
    ids=["failures_by_job", "timeline"],
)
@pytest.mark.parametrize("count", [0, 1, 100])
def test_any_number_of_rows_is_drawn(plot, frame, count):
    """None, one, or more than there is room for: the axes stay labelled, and what is left out is said."""
    many = (
        pd.concat([frame.tail(1)] * count).assign(job_id=[f"{i:03d}$\\x{{" for i in range(count)])
        if count
        else frame[:0]
    )
    ax = plot(many)
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert (f"of {count:,} jobs" in texts(ax)) == (count == 100)


def dark(ax):
    """Return where the drawn Axes are dark."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].mean(axis=2) < 160


def grown(mask):
    """Return the mask with a pixel more on every side."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)


@pytest.mark.parametrize("kind", ["noise", "walk", "counter"])
def test_a_thinned_line_is_the_same_picture(kind, monkeypatch):
    """Every dark pixel of 30,000 points has one within a pixel in the thinned picture, and the other way round."""
    rng = np.random.default_rng(3)
    x = np.linspace(0, 1, 30_000)
    noise = rng.standard_normal(x.size)
    y = {"noise": noise, "walk": noise.cumsum(), "counter": np.arange(x.size, dtype=float)}[kind]
    y[9_000:9_400] = np.nan
    y[20_000] = 3 * np.nanmax(y)
    line = lines.Line(lines.Places(x), lines.Places(y), np.array([], dtype=np.int64))
    pictures, points = [], []
    for limit in (lines.THIN_ABOVE, 10**9):
        monkeypatch.setattr(lines, "THIN_ABOVE", limit)
        figure = Figure(figsize=(3, 2), dpi=100)
        FigureCanvasAgg(figure)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        points.append(lines.draw_line(ax, line, color="black", linewidth=1.2).get_ydata())
        pictures.append(dark(ax))
    thin, full = pictures
    assert points[0].size < points[1].size / 5
    assert not (thin & ~grown(full)).any()
    assert not (full & ~grown(thin)).any()


def test_thinning_keeps_breaks_spikes_and_the_last_point():
    """NaN, the one extreme value and the end survive."""
    x = np.arange(20_000.0)
    y = np.zeros(20_000)
    y[5_000], y[12_345] = np.nan, 99.0
    broken = np.array([7_777])
    kept = lines.thinned(
        lines.Places(x), (lines.Places(y),), broken, np.array([5_000]), low=0, high=20_000, columns=100
    )
    assert {0, 4_999, 5_001, 7_777, 7_778, 12_345, 19_999} <= set(kept.tolist())
    assert 5_000 not in kept
    assert kept.size < 450


def test_the_median_of_many_is_that_of_all():
    """Only those near it are sorted; a sample that misleads, or a value that most have, changes nothing."""
    rng = np.random.default_rng(1)
    misleading = np.where(np.arange(300_000) % 30 == 0, 0.0, rng.random(300_000))
    for values in (rng.integers(0, 10**12, 300_001), rng.normal(size=400_000), np.full(200_000, 3), misleading):
        assert lines.median(values) == np.median(values)
    values = np.where(rng.random(300_000) < 0.02, np.nan, rng.normal(size=300_000))
    assert lines.median(values) == np.nanmedian(values)


def test_the_gaps_of_many_times_are_those_of_all():
    """They are found from some steps where the median leaves no doubt, else from all; a step of nothing is no step."""
    rng = np.random.default_rng(1)
    even = rng.integers(4, 7, 150_000)
    even[[0, 65_535, 65_536, 149_999]] = 100
    halves = np.where(np.arange(150_000) % 2, 1, 3)
    misleading = np.where(np.arange(150_000) % 15 == 0, 1, 3)
    for steps in (even, halves, misleading, rng.integers(0, 3, 150_000), rng.exponential(9, 150_000).astype(int)):
        expected = np.flatnonzero(steps > 2.5 * np.median(steps[steps > 0]))
        assert lines.gap_starts(np.append(0, steps.cumsum())).tolist() == expected.tolist()


def test_words_change_wherever_they_do():
    """Also between the stretches that are compared at once; the first word is a change, of none there is none."""
    words = np.repeat("in_progress", 200_000).astype(object)
    words[[5, 65_536, 65_537, 131_073]] = "pending"
    found = schema.changes(pd.array(words, dtype="string"))
    assert found.tolist() == [0, 5, 6, 65_536, 65_538, 131_073, 131_074]
    assert schema.changes(pd.array([], dtype="string")).tolist() == []
    assert schema.changes(pd.array(["a"], dtype="string")).tolist() == [0]


def test_a_band_keeps_its_outermost_points():
    """Of the lower edge the lowest, of the upper the highest point of each pixel column."""
    x, low, high = np.arange(20_000.0), np.zeros(20_000), np.ones(20_000)
    low[4_444], high[15_555] = -9.0, 9.0
    ax = Figure().subplots()
    ax.set_xlim(0, 20_000)
    edges = (lines.Line(lines.Places(x), lines.Places(edge), np.array([9_999])) for edge in (low, high))
    band = lines.draw_band(ax, *edges)
    first, second = (path.vertices for path in band.get_paths())
    assert first[:, 1].min() == -9
    assert second[:, 1].max() == 9
    assert (first[:, 0].max(), second[:, 0].min(), second[:, 0].max()) == (9_999, 10_000, 19_999)
    assert len(first) + len(second) < 8_000


def test_a_gap_narrower_than_a_pixel_is_no_hatch():
    """A thousand of them would hide the chart; the words still count them."""
    seconds = np.arange(12_000) * 1.0
    seconds[6_000:] += 3.0
    seconds[9_000:] += 3_000.0
    ax = plot_progress(samples_at(seconds.tolist(), range(12_000), total=12_000), tz="UTC")
    assert len([patch for patch in ax.patches if patch.get_label() == "no samples"]) == 1
    assert alt_text(ax).endswith("No samples 13:40 to 13:40, 14:30 to 15:20.")


def test_the_band_holds_nine_in_ten_steps_of_each_window():
    """Of 100 steps of 1 to 100 items/s in one window, those from 6 to 95; without a window there is none."""
    steps = np.append(np.nan, np.arange(1.0, 101.0))
    samples = samples_at(range(101), range(101))
    frame = throughput_frame(samples, 10.0).assign(interval_items_per_s=steps)
    frame.attrs["window_s"] = 100
    (band,) = [each for each in plot_throughput(frame, tz="UTC").collections if each.get_label() == "90 % of the steps"]
    corners = band.get_paths()[0].vertices
    last = corners[corners[:, 0] == corners[:, 0].max()]
    assert sorted(set(last[:, 1])) == [6, 95]
    assert not plot_throughput(throughput_frame(samples, 10.0), tz="UTC").collections


def test_of_too_many_windows_the_worst_have_dots():
    """A burst of one minute in a day is seen, though a pixel holds several windows; how many were left out is said."""
    minutes = np.arange(2_000)
    frame = failure_frame(samples_at(60 * minutes, range(2_000)), np.where(minutes == 777, 90, 1), np.full(2_000, 100))
    ax = plot_failure_rate(frame, window="1min", baseline=0.05, tz="UTC")
    assert len(drawn(ax, "job-1").get_xdata()) < 100
    assert drawn(ax, "above baseline").get_ydata().tolist() == [0.9]
    assert "of 2,000 windows the" in texts(ax)


def test_a_notebook_shows_the_axes_as_a_picture_with_alt_text(tmp_path):
    """The last expression of a cell is shown, once, though pyplot's inline backend is on."""
    code = """
        import matplotlib.pyplot as plt
        import pandas as pd
        from mops_analysis.charts import plot_throughput
        times = pd.to_datetime([0, 60, 120], unit="s", utc=True)
        frame = pd.DataFrame({"job_id": "a<b", "sampled_at": times, "items_per_s": 2.0, "interval_items_per_s": 2.0})
        plot_throughput(frame, tz="UTC")
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(code))])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/plain", "image/png", "text/html"}
    assert '<img alt="Throughput, Thu 01 Jan 1970, 00:00 to 00:02 UTC: a&lt;b median 2/s' in output.data["text/html"]


def test_given_axes_stay_plain_axes():
    """Only Axes of our own have a picture of their own; pyplot's are shown by pyplot."""
    ax = plot_progress(STEADY, ax=Figure().subplots(), tz="UTC")
    assert type(ax) is Axes


def periods(finished, failed=0.0, *, missing=(), **keys):
    """Build what `throughput_by` returns: so many items on each day from 16 November on, in Berlin."""
    days = pd.date_range("2026-11-16", periods=len(finished), tz="Europe/Berlin")
    frame = pd.DataFrame({**keys, "period_start": days, "finished_items": finished, "failed_items": failed})
    return frame.assign(items_per_s=frame["finished_items"] / 86_400).drop(index=list(missing))


def test_a_bar_is_what_all_jobs_finished_in_a_period():
    """Its red top is what failed; a day without samples stays blank; the median of 10, 30 and 20 is 20."""
    ax = plot_throughput_by(periods([10.0, 30.0, 0.0, 20.0], [0.0, 3.0, 0.0, 0.0], missing=[2]))
    bars, failed = ax.containers
    assert [bar.get_height() for bar in bars] == [10, 30, 20]
    assert [(bar.get_y(), bar.get_height()) for bar in failed][1] == (27, 3)
    assert [round(bar.get_x() - bars[0].get_x(), 6) for bar in bars] == [0, 1, 3]
    assert drawn(ax, "median").get_ydata()[0] == 20
    assert ax.get_xlabel() == "clock time, Europe/Berlin (UTC+01:00), 16 Nov to 19 Nov 2026"
    assert "60 items finished, 3 of them failed; median 20 per 1 d, most 30 from 17 Nov 00:00" in alt_text(ax)


def test_groups_are_lines_and_the_largest_six_have_names():
    """A line breaks where a period is missing; the seventh group is grey."""
    groups = [
        periods([10.0 * n, 20.0, 30.0, 5.0], label=f"kind {n}", missing=[2] if n == 7 else []) for n in range(1, 8)
    ]
    ax = plot_throughput_by(pd.concat(groups))
    assert len([line for line in ax.lines if line.get_label() == "others"]) == 1
    assert np.isnan(drawn(ax, "kind 7").get_ydata()[2])
    assert not any(line.get_label() == "kind 1" for line in ax.lines)
    assert "7 values of label, the most: kind 6 115" in alt_text(ax)
    by_job = plot_throughput_by(periods([1.0, 2.0], job_id="job-1", label="import"))
    assert "1 jobs, the most: import 3" in alt_text(by_job)


def test_no_periods_give_an_empty_chart_and_other_frames_are_refused():
    """As of every chart."""
    assert alt_text(plot_throughput_by(periods([1.0]).iloc[:0])) == "Items by period: no samples."
    assert "5 items finished" in alt_text(plot_throughput_by(periods([5.0])))
    with pytest.raises(SchemaError, match="throughput_by"):
        plot_throughput_by(STEADY)


def ranked(*rows):
    columns = ["job_id", "elapsed_s", "mean_items_per_s", "failure_rate"]
    return pd.DataFrame(rows, columns=columns)


def test_ranks_count_the_jobs_beyond_which_one_lies():
    """60 s against 10, 20 and 100 s; as fast as all; of unknown failure rate. The diamond lies where its value does."""
    others = [("a", 10.0, 2.0, 0.0), ("b", 20.0, 2.0, 0.1), ("c", 100.0, 2.0, 0.2)]
    ax = plot_ranks(ranked(("me", 55.0, 2.0, np.nan), *others), "me")
    assert "duration 55 s, longer than 2 of 3; throughput 2/s, the same as all 3" in alt_text(ax)
    assert "failure rate –, not to be compared" in alt_text(ax)
    diamonds = [line for line in ax.lines if line.get_label() == "this job"]
    assert [float(line.get_xdata()[0]) for line in diamonds] == [0.0, 0.5]
    alone = plot_ranks(ranked(others[0]), "a")
    assert "not to be compared" in alt_text(alone)
    with pytest.raises(SchemaError, match="'nobody'"):
        plot_ranks(ranked(others[0]), "nobody")


def test_the_usual_rate_is_that_of_all_jobs_also_of_those_not_drawn():
    """60 jobs without a failure and 20 that fail by half: usual is 0, not the half of the 40 worst; 20 stand out."""
    rates = np.repeat([0.0, 0.5], [60, 20])
    frame = pd.DataFrame({"job_id": [f"job-{n:02d}" for n in range(80)], "failure_rate": rates})
    frame = frame.assign(failure_rate_low=rates * 0.9, failure_rate_high=rates * 1.1)
    ax = plot_failures_by_job(frame)
    assert drawn(ax, "baseline").get_xdata()[0] == 0
    assert len(drawn(ax, "jobs").get_xdata()) + len(drawn(ax, "above baseline").get_xdata()) == 40


def test_a_forecast_is_drawn_with_its_record() -> None:
    """How well forecasts held before stands under the question, and in the words."""
    samples = load_example()
    one = samples[samples["job_id"] == "stall-and-recovery-1"]
    forecast, record = eta(one), "80 % interval held 79 % over your last 30 jobs"
    for ax in (plot_progress(one, forecast=forecast, record=record), plot_eta(forecast, record=record)):
        assert any(record in text.get_text() for text in ax.texts)
        assert alt_text(ax).endswith(f" {record}.")


def test_words_about_errors_do_not_overlap():
    """A total that doubles late: a quarter, half and three quarters are all reached early, and two keep their words."""
    done = [*range(0, 100, 10), *range(100, 201)]
    samples = samples_at(range(len(done)), done, total=[100] * 11 + [200] * (len(done) - 11), status="completed")
    ax = plot_eta(eta(samples), samples=samples, tz="UTC")
    words = [text for text in ax.texts if "% done" in text.get_text()]
    renderer = ax.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in words]
    assert 1 <= len(words) <= 3
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert len([line for line in ax.lines if "% done" in str(line.get_label())]) == 3


def test_the_axis_of_several_jobs_ends_with_what_is_drawn():
    """Six ended jobs: no room is kept for the forecasts of one job alone, nor for steps that are not drawn."""
    samples = load_example()
    ended = samples[samples["job_id"].isin(samples["job_id"].unique()[:4])]
    newest = clock.days_of(ended["sampled_at"]).max()
    ax = plot_progress(ended, forecast=eta(ended), tz="UTC")
    assert ax.get_xlim()[1] - newest < 0.02 * (ax.get_xlim()[1] - ax.get_xlim()[0])
    ax = plot_throughput(throughput(ended, window="2min"), tz="UTC")
    assert ax.get_ylim()[1] == pytest.approx(1.08 * max(np.nanmax(line.get_ydata()) for line in ax.lines), rel=0.01)

"""Charts E and F: one job against the others, and the failures of all jobs side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from mops_analysis import schema
from mops_analysis.charts import canvas, clock
from mops_analysis.charts.canvas import EndLabel
from mops_analysis.charts.failures import percent_text
from mops_analysis.charts.lines import Floats, Line, draw_line, fall_starts
from mops_analysis.charts.palette import Theme, status_colour, theme_named
from mops_analysis.charts.tracks import Track, check_frame, names_of, tracks_of
from mops_analysis.errors import SchemaError

_COMPARED_MOST = 30
_ROWS_MOST = 40
_SEEN_FROM_START = 5.0  # a first sample beyond this share [%] tells nothing of how long the job took


def plot_comparison(
    samples: pd.DataFrame,
    job_id: str,
    *,
    ax: Axes | None = None,
    theme: str = "light",
) -> Axes:
    """Share done over elapsed time: one job against the others.

    Look where the bold line lies: left of the dashed median the job is faster than usual, right of it slower. Only
    jobs that ended well and were seen from their start are compared, the newest 30.

    Parameters
    ----------
    samples
        Frame as in `schema`, of the job and of those to compare it with.
    job_id
        The job to look at.
    ax, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no samples at all. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If `samples` is no samples frame, or has none of the job.
    ConfigurationError
        If there is no such theme.

    Examples
    --------
    >>> from mops_analysis import load_example
    >>> ax = plot_comparison(load_example(), "failure-burst-1")
    >>> ax.get_ylabel()
    'share done'
    """
    colours = theme_named(theme)
    tracks, unit = tracks_of(schema.validate(samples), x="elapsed")
    ax = canvas.open_axes(ax, colours)
    ax.set_ylabel("share done")
    ax.set_xlabel(f"elapsed since the job's first sample [{unit}]")
    question = "How does it compare?"
    if not tracks:
        return canvas.close_empty(ax, question, "Comparison", colours)
    mine = [track for track in tracks if track.job_id == job_id]
    if not mine:
        raise SchemaError(f"no samples of the job {job_id!r}; the frame has {len(tracks):,} jobs")
    (this,) = mine
    others = sorted((t for t in tracks if t is not this and _is_comparable(t)), key=lambda t: float(t.days[-1]))[
        -_COMPARED_MOST:
    ]
    canvas.set_time_limits(ax, [this, *others])
    ax.set_ylim(0, max(108.0, 1.08 * float(this.values("progress_percentage").max())))
    ax.yaxis.set_major_locator(ticker.FixedLocator([0, 25, 50, 75, 100]))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda percent, _: f"{percent:g} %"))
    clock.draw_elapsed_axis(ax.xaxis)
    for other in others:
        draw_line(ax, _line(other), color=colours.faint, linewidth=0.9, alpha=0.7, zorder=2, label="others")
    labels = [EndLabel(float(this.values("progress_percentage")[-1]), f"{this.short}\n{_took(this)}")]
    words = f"{this.name} {this.values('progress_percentage')[-1]:.0f} % done after {_took(this)}, {this.status}"
    if len(others) > 1:
        shares = np.linspace(0, 100, 101)
        median = np.median([_reached(other, shares) for other in others], axis=0)
        dashed: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.4, "zorder": 2.5}
        ax.plot(median, shares, color=colours.ink, label="median", **dashed)
        usual = clock.duration_text(float(np.median([_seconds(other) for other in others])))
        labels.append(EndLabel(100.0, f"median of {len(others)}\n{usual}"))
        words += f"; the median of {len(others)} others took {usual}"
    draw_line(ax, _line(this), color=colours.main, linewidth=2.4, zorder=3, label=this.name)
    if this.status in schema.TERMINAL_STATUSES:
        look: dict[str, Any] = {"marker": "D", "markersize": 7.5, "markeredgecolor": colours.ink, "zorder": 5}
        look["markerfacecolor"] = status_colour(this.status, colours)
        ax.plot(
            [this.x[-1]],
            [this.values("progress_percentage")[-1]],
            linestyle="none",
            label=this.status,
            clip_on=False,
            **look,
        )
    canvas.write_end_labels(ax, labels, colours)
    method = f"Share done by elapsed time: this job (bold), {len(others)} others (grey), their median (dashed)"
    if not others:
        method = "Share done by elapsed time; no other job to compare with"
    canvas.write_title(ax, question, method, colours)
    ax.set_label(f"Comparison: {words}.")
    return ax


def _is_comparable(track: Track) -> bool:
    share = track.values("progress_percentage")
    seen = share[0] <= _SEEN_FROM_START and not fall_starts(share).size
    return bool(seen and track.status in {*schema.GOOD_STATUSES, "partial_success"})


def _line(track: Track) -> Line:
    share = track.values("progress_percentage")
    return track.line("progress_percentage", breaks=np.union1d(track.gaps, fall_starts(share)))


def _reached(track: Track, shares: Floats) -> Floats:
    """When a job had reached these shares [on the x axis], straight from sample to sample; its share never falls."""
    share = track.values("progress_percentage")
    after = np.clip(np.searchsorted(share, shares), 0, track.size - 1)
    rows = np.unique(np.append(np.maximum(after - 1, 0), after))
    reached: Floats = np.interp(shares, share[rows], track.x[rows])
    return reached


def _seconds(track: Track) -> float:
    return float(track.days[-1] - track.days[0]) * clock.SECONDS_PER_DAY


def _took(track: Track) -> str:
    return clock.duration_text(_seconds(track))


def plot_failures_by_job(
    summary: pd.DataFrame,
    *,
    baseline: float | tuple[float, float, float] | None = None,
    ax: Axes | None = None,
    theme: str = "light",
) -> Axes:
    """Failure rate of each job with its confidence interval, the worst on top.

    Look for red squares: jobs whose whole interval lies above what is usual. A long whisker is a job of few items, of
    which little can be said. At most 40 jobs are drawn: those with the highest lower end.

    Parameters
    ----------
    summary
        What `summary(samples)` returned.
    baseline
        What is usual: a rate, or a median with the low and high end of the usual range. By default the median and the
        10 to 90 % range of all jobs of the summary, also those not drawn, where they are at least five.
    ax, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where no job has finished items. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `summary` returns.
    ConfigurationError
        If there is no such theme.

    Examples
    --------
    >>> from mops_analysis import load_example, summary
    >>> ax = plot_failures_by_job(summary(load_example()))
    >>> ax.get_xlabel()
    'failed share of finished items'
    """
    check_frame(summary, ("job_id", "failure_rate", "failure_rate_low", "failure_rate_high"), "summary()")
    colours = theme_named(theme)
    question = "Which jobs fail?"
    known = summary[summary["failure_rate"].notna()].sort_values(["failure_rate_low", "failure_rate", "job_id"])
    ax = canvas.open_rows(ax, min(len(known), _ROWS_MOST), colours)
    shown = known.tail(min(canvas.rows_that_fit(ax), _ROWS_MOST)).sort_values(["failure_rate", "job_id"])
    ax.set_xlabel("failed share of finished items")
    if shown.empty:
        return canvas.close_empty(ax, question, "Failures by job", colours, "no items finished yet")
    rate, low, high = (shown[name].to_numpy(dtype=float) for name in _RATES)
    usual = _usual(baseline, known["failure_rate"].to_numpy(dtype=float))
    places = np.arange(len(shown))
    worse = low > usual[2] if usual is not None else np.zeros(len(shown), dtype=bool)
    if usual is not None:
        ax.axvspan(usual[1], usual[2], color=colours.baseline, alpha=0.15, linewidth=0, label="usual range")
        ax.axvline(usual[0], color=colours.baseline, linestyle=(0, (4, 3)), linewidth=1.3, label="baseline")
    names = names_of(shown)
    size = canvas.name_rows(ax, names)
    for chosen, tint, marker in ((~worse, colours.muted, "o"), (worse, colours.alarm, "s")):
        ax.hlines(places[chosen], low[chosen], high[chosen], color=tint, linewidth=1.5, zorder=3)
        face = tint if marker == "s" else colours.paper
        look: dict[str, Any] = {"markeredgecolor": tint, "markerfacecolor": face, "zorder": 4}
        look["markersize"] = min(6.0, 0.8 * size)
        label = "above baseline" if marker == "s" else "jobs"
        ax.plot(rate[chosen], places[chosen], linestyle="none", marker=marker, clip_on=False, label=label, **look)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    right = float(np.quantile(high, 0.9)) if len(shown) > 3 else float(high.max())
    right = 1.12 * max(right, float(rate.max()), 0.0 if usual is None else usual[2])
    ax.set_xlim(0, min(right, 1.05) if right > 0 else 0.05)
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: percent_text(share)))
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=colours.grid, linewidth=0.8)
    if usual is not None:
        for place in places[worse] if usual[0] > 0 else ():
            text = f"{rate[place] / usual[0]:.1f}× baseline"
            words: dict[str, Any] = {"va": "center", "color": colours.alarm, "xytext": (6, 0), "fontsize": size}
            canvas.note(
                ax, text, colours, xy=(min(high[place], ax.get_xlim()[1]), place), textcoords="offset points", **words
            )
    method = "Share of failed items so far with its confidence interval"
    method += f"; dashed: usual, {percent_text(usual[0])}" if usual is not None else ""
    method += f"; the {len(shown)} worst of {len(known):,} jobs" if len(known) > len(shown) else ""
    canvas.write_title(ax, question, method, colours)
    worst = [f"{name} {percent_text(rate[place])}" for place, name in list(enumerate(names))[::-1][:3]]
    ax.set_label(f"Failures by job: {worse.sum()} of {len(shown)} jobs above usual; the highest: {', '.join(worst)}.")
    return ax


_RATES = ("failure_rate", "failure_rate_low", "failure_rate_high")


def _usual(baseline: float | tuple[float, float, float] | None, rate: Floats) -> tuple[float, float, float] | None:
    if isinstance(baseline, tuple):
        return baseline
    if baseline is not None:
        return (baseline,) * 3
    if rate.size < 5:
        return None
    median, low, high = np.quantile(rate, [0.5, 0.1, 0.9])
    return float(median), float(low), float(high)


# Name, words for less and more, and how it is said.
_RANKED = {
    "elapsed_s": ("duration", "shorter", "longer", clock.duration_text),
    "mean_items_per_s": ("throughput", "slower", "faster", lambda rate: f"{canvas.number_text(rate)}/s"),
    "failure_rate": ("failure rate", "lower", "higher", percent_text),
}


def plot_ranks(
    summary: pd.DataFrame,
    job_id: str,
    *,
    ax: Axes | None = None,
    theme: str = "light",
) -> Axes:
    """Where one job stands among others: a strip each for duration, throughput and failure rate.

    Look for a diamond at either end of its strip: the job is the extreme one. Each tick is another job; a strip goes
    from the least to the most of all.

    Parameters
    ----------
    summary
        Rows of what `summary(samples)` returned: the job and those to compare it with.
    job_id
        The job to look at.
    ax, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty Axes where there is no other job. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `summary` returns, or has no row of the job.
    ConfigurationError
        If there is no such theme.

    Examples
    --------
    >>> from mops_analysis import load_example, summary
    >>> ax = plot_ranks(summary(load_example()), "failure-burst-1")
    >>> ax.get_title(loc="left")
    'Where does it rank?'
    """
    check_frame(summary, ("job_id", *_RANKED), "summary()")
    colours = theme_named(theme)
    ax = canvas.open_axes(ax, colours)
    is_job = (summary["job_id"] == job_id).to_numpy()
    if not is_job.any():
        raise SchemaError(f"no row of the job {job_id!r}; the frame has {len(summary):,} jobs")
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.5, len(_RANKED) - 0.5)
    words = []
    for row, (column, (name, less, more, say)) in enumerate(reversed(_RANKED.items())):
        values = summary[column].to_numpy(dtype=float)
        value, others = float(values[is_job][0]), values[~is_job & np.isfinite(values)]
        text = _rank(value, others, less, more)
        _draw_strip(ax, row, value, others, colours)
        shown = say(value) if np.isfinite(value) else "–"
        style: dict[str, Any] = {"fontsize": 8.5, "color": colours.ink, "va": "bottom", "parse_math": False}
        ax.text(0, row + 0.17, name, **style | {"color": colours.muted})
        ax.text(1, row + 0.17, shown, ha="right", fontweight="bold", **style)
        ax.text(1, row - 0.17, text, ha="right", **style | {"va": "top", "fontsize": 8, "color": colours.muted})
        words.append(f"{name} {shown}, {text}")
    canvas.write_title(ax, "Where does it rank?", "Each tick: another job", colours)
    ax.set_label(f"Ranks: {'; '.join(reversed(words))}.")
    return ax


def _rank(value: float, others: Floats, less: str, more: str) -> str:
    """Say how many others a value exceeds, or falls below, whichever are more."""
    if not np.isfinite(value) or not others.size:
        return "not to be compared"
    below, above = int((others < value).sum()), int((others > value).sum())
    if below == above == 0:
        return f"the same as all {others.size}"
    return f"{more} than {below} of {others.size}" if below >= above else f"{less} than {above} of {others.size}"


def _draw_strip(ax: Axes, row: int, value: float, others: Floats, theme: Theme) -> None:
    known = np.append(others, value)[np.isfinite(np.append(others, value))]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    scale = (high - low) or 1.0
    ax.plot([0, 1], [row, row], color=theme.grid, linewidth=5, solid_capstyle="butt", zorder=1, label="range")
    ax.vlines((others - low) / scale, row - 0.09, row + 0.09, color=theme.muted, linewidth=1, alpha=0.8, zorder=2)
    if np.isfinite(value):
        at = (value - low) / scale
        look: dict[str, Any] = {"marker": "D", "markersize": 7, "markeredgecolor": theme.ink, "zorder": 3}
        ax.plot([at], [row], linestyle="none", color=theme.main, clip_on=False, label="this job", **look)

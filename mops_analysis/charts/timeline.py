"""Charts G and H: what ran when, and which jobs slowed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Rectangle

from mops_analysis.charts import canvas, clock
from mops_analysis.charts.lines import Floats
from mops_analysis.charts.palette import Theme, status_colour, status_mark, theme_named
from mops_analysis.charts.tracks import check_frame, names_of

_ROWS_MOST = 60
_SPREAD = 1.5  # log2 of the largest ratio that has a colour of its own


def plot_timeline(
    summary: pd.DataFrame,
    *,
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """What ran when: one bar per job, in the colour of its status and with its mark.

    Look for bars side by side, which ran at the same time, and for bars much longer than their neighbours. A dashed
    outline is waiting to begin; a pale tail is the forecast of a running job. A hatched bar was cancelled. At most 60
    jobs are drawn, and no more than can be named: those that have not ended, and of the others the newest.

    Parameters
    ----------
    summary
        What `summary(samples)` returned.
    ax, tz, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no jobs. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `summary` returns.
    ConfigurationError
        If there is no such zone or theme.

    Examples
    --------
    >>> from mops_analysis import load_example, summary
    >>> ax = plot_timeline(summary(load_example()), tz="UTC")
    >>> len(ax.get_yticklabels())
    10
    """
    needed = ("job_id", "status", "terminal", "first_sampled_at", "last_sampled_at", "started_before", "eta")
    check_frame(summary, needed, "summary()")
    zone, colours = clock.zone_of(tz), theme_named(theme)
    question = "What ran when?"
    ax = canvas.open_rows(ax, min(len(summary), _ROWS_MOST), colours)
    shown = _newest(summary, min(canvas.rows_that_fit(ax), _ROWS_MOST))
    if shown.empty:
        return canvas.close_empty(ax, question, "Timeline", colours)
    first, last, started, eta = (clock.days_of(shown[name]) for name in (*needed[3:6], "eta"))
    started = np.where(np.isfinite(started), started, last)
    eta = np.where(shown["terminal"].to_numpy(dtype=bool), np.nan, eta)
    low, high = float(first.min()), float(np.nanmax([*last, *eta]))
    pad = max(0.01 * (high - low), 0.5 / 1440)
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    size = canvas.name_rows(ax, names_of(shown))
    for row, status in enumerate(shown["status"].astype(str)):
        _draw_bar(ax, row, status, (first[row], started[row], last[row], eta[row]), size, colours)
    ax.grid(visible=False, axis="y")
    clock.draw_clock_axis(ax.xaxis, zone)
    ax.set_xlabel(clock.clock_label(zone, low, high))
    clock.draw_midnights(ax, zone, colours)
    method = "One bar per job; colour and mark: its status; dashed: waiting; pale: forecast"
    if len(summary) > len(shown):
        method += f"; {len(shown)} of {len(summary):,} jobs, those that go on and the newest"
    canvas.write_title(ax, question, method, colours)
    counts = ", ".join(f"{count} {status}" for status, count in summary["status"].value_counts().items())
    span = f"{clock.date_text(low, float(last.max()), zone)}, {clock.clock_text(low, zone)} to "
    span += f"{clock.clock_text(float(last.max()), zone)} {clock.zone_text(zone, low, high)}"
    ax.set_label(f"Timeline, {span}: {len(summary):,} jobs, {counts}.")
    return ax


def _newest(summary: pd.DataFrame, most: int) -> pd.DataFrame:
    """So many jobs, the newest first: those that have not ended before all others, and of these the newest."""
    order = ["first_sampled_at", "job_id"]
    chosen = summary.sort_values(["terminal", *order], ascending=[False, True, True]).tail(most)
    return chosen.sort_values(order, ascending=False).reset_index(drop=True)


def _draw_bar(
    ax: Axes, row: int, status: str, times: tuple[float, float, float, float], size: float, theme: Theme
) -> None:
    first, started, last, eta = times
    colour = status_colour(status, theme)
    if started > first:
        outline: dict[str, Any] = {"fill": False, "edgecolor": theme.muted, "linestyle": (0, (3, 2)), "linewidth": 0.9}
        ax.add_patch(Rectangle((first, row - 0.3), started - first, 0.6, label="waiting", **outline))
    if last > started or status != "pending":
        bar = Rectangle((started, row - 0.32), last - started, 0.64, facecolor=colour, linewidth=0, label=status)
        if status in ("cancelled", "canceled"):
            bar.set(hatch="////", edgecolor=theme.paper)
        ax.add_patch(bar)
    if np.isfinite(eta):
        tail = Rectangle((last, row - 0.32), eta - last, 0.64, color=colour, alpha=0.22, linewidth=0, label="forecast")
        ax.add_patch(tail)
    low, high = ax.get_xlim()
    wide = (last - started) / (high - low) * ax.get_window_extent().width > 16
    place = ((started + last) / 2, row) if wide else (max(last, eta if np.isfinite(eta) else last), row)
    ink = (
        max((theme.ink, theme.paper), key=lambda each: abs(_lightness(each) - _lightness(colour)))
        if wide
        else theme.ink
    )
    words: dict[str, Any] = {"ha": "center" if wide else "left", "va": "center", "fontsize": size, "color": ink}
    if wide and status in ("cancelled", "canceled"):  # a mark on hatching cannot be read
        words["bbox"] = {"boxstyle": "square,pad=0.1", "facecolor": colour, "edgecolor": "none"}
    ax.annotate(f"{'' if wide else ' '}{status_mark(status)}", place, annotation_clip=False, zorder=5, **words)


def _lightness(colour: str) -> float:
    """How light a colour looks, 0 to 1: the cube root of its luminance, as CIE L* has it."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92)
    return float(np.cbrt(linear @ [0.2126, 0.7152, 0.0722]))


def plot_heatmap(
    throughput_by: pd.DataFrame,
    *,
    ax: Axes | None = None,
    tz: str | dt.tzinfo | None = None,
    theme: str = "light",
) -> Axes:
    """Throughput of each job per period, relative to the job's own median period.

    Look for orange: periods in which a job ran at half its usual rate or less. A column of orange is not the jobs'
    fault: everything was slow at that time. White is as usual, blue is faster, blank is no samples. At most 60 rows are
    drawn, and no more than can be named: of more jobs those that slowed most, and on top the median of all.

    Parameters
    ----------
    throughput_by
        What `throughput_by(samples, by="job")` returned.
    ax, tz, theme
        As for `plot_progress`.

    Returns
    -------
    Axes
        With the chart; empty, labelled Axes where there are no periods. `alt_text(ax)` says it in words.

    Raises
    ------
    SchemaError
        If it is not a frame that `throughput_by` returns for each job.
    ConfigurationError
        If there is no such zone or theme.

    Examples
    --------
    >>> from mops_analysis import load_example, throughput_by
    >>> ax = plot_heatmap(throughput_by(load_example()), tz="UTC")
    >>> len(ax.get_yticklabels())
    10
    """
    check_frame(throughput_by, ("job_id", "period_start", "items_per_s"), 'throughput_by(by="job")')
    zone, colours = clock.zone_of(tz), theme_named(theme)
    question = "Which jobs slowed?"
    ordered = throughput_by.sort_values(["period_start", "job_id"], kind="stable").reset_index(drop=True)
    jobs = ordered.drop_duplicates("job_id").reset_index(drop=True)
    ax = canvas.open_rows(ax, min(len(jobs), _ROWS_MOST), colours)
    if throughput_by.empty:
        return canvas.close_empty(ax, question, "Heat map", colours)
    days = clock.days_of(ordered["period_start"])
    starts = np.unique(days)
    width = float(np.diff(starts).min()) if starts.size > 1 else 1 / 144
    columns = np.round((days - starts[0]) / width).astype(int)
    rates = np.full((len(jobs), columns.max() + 1), np.nan)
    rows = pd.Index(jobs["job_id"]).get_indexer(ordered["job_id"])
    rates[rows, columns] = ordered["items_per_s"].to_numpy(dtype=float, na_value=np.nan)
    ratio, names, method = _shown(_relative(rates), names_of(jobs), min(canvas.rows_that_fit(ax), _ROWS_MOST))
    edges = starts[0] + width * np.arange(rates.shape[1] + 1)
    paper = colours.paper
    tones = LinearSegmentedColormap.from_list(
        "slow to fast", ["#a8410b", "#f0a46b", _MIDDLE[paper], "#7fa8e0", "#174a96"]
    )
    mesh = ax.pcolormesh(
        edges,
        np.arange(len(names) + 1) - 0.5,
        ratio,
        cmap=tones,
        vmin=-_SPREAD,
        vmax=_SPREAD,
        edgecolor=paper,
        linewidth=0.4,
    )
    mesh.set_label("rate against usual")
    ax.set_ylim(len(names) - 0.5, -0.5)
    canvas.name_rows(ax, names)
    ax.grid(visible=False)
    clock.draw_clock_axis(ax.xaxis, zone)
    ax.set_xlabel(clock.clock_label(zone, float(edges[0]), float(edges[-1])))
    _draw_scale(ax, tones, colours)
    period = clock.duration_text(width * clock.SECONDS_PER_DAY)
    said = f"Throughput per {period} against the job's own median; blank: no samples, or not the whole period"
    canvas.write_title(ax, question, said + method, colours)
    slow = np.count_nonzero(ratio <= -1, axis=1)
    worst = int(slow.argmax())
    periods = "1 period" if slow[worst] == 1 else f"{slow[worst]} periods"
    text = f"{names[worst]} ran at half its usual rate or less in {periods} of {period}"
    ax.set_label(f"Heat map of {len(jobs):,} jobs: {text if slow[worst] else 'no job fell to half its usual rate'}.")
    return ax


def _shown(ratio: Floats, names: list[str], most: int) -> tuple[Floats, list[str], str]:
    """The rows to draw, their names, and what is to be said of that: of too many, those that slowed most."""
    if len(names) <= most:
        return ratio, names, ""
    slow = np.count_nonzero(ratio <= -1, axis=1)
    chosen = np.sort(np.lexsort((np.nansum(ratio, axis=1), -slow))[: most - 1])
    usual = [np.median(known) if (known := column[np.isfinite(column)]).size else np.nan for column in ratio.T]
    said = f"; on top the median of {len(names):,} jobs, below it the {most - 1} that slowed most"
    return np.vstack([usual, ratio[chosen]]), [f"median of {len(names):,}", *(names[row] for row in chosen)], said


_MIDDLE = {"#ffffff": "#f6f6f6", "#111111": "#3a3d42"}


def _relative(rates: Floats) -> Floats:
    """Log2 of each rate over the median of its row; a standstill has the lowest colour, unknown stays NaN.

    Of a job that has not moved yet nothing is usual.

    The first and last period of a job are left out: it ran in a part of them only.
    """
    rates = rates.copy()
    for row in rates:
        known = np.flatnonzero(np.isfinite(row))
        if known.size > 2:
            row[known[[0, -1]]] = np.nan
    working = np.where(rates > 0, rates, np.nan)
    usual = np.array([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in working])[:, None]
    return np.where((rates == 0) & np.isfinite(usual), -_SPREAD, np.log2(working / usual))


def _draw_scale(ax: Axes, tones: LinearSegmentedColormap, theme: Theme) -> None:
    """Draw what the colours mean, right of the Axes."""
    scale = ax.inset_axes((1.03, 0.25, 0.018, 0.5))
    scale.imshow(np.linspace(1, 0, 64)[:, None], aspect="auto", cmap=tones, extent=(0, 1, -_SPREAD, _SPREAD))
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.set_yticks([-1, 0, 1], ["½×", "usual", "2×"])
    scale.tick_params(labelsize=8, length=0, labelcolor=theme.muted)
    for spine in scale.spines.values():
        spine.set_visible(False)

"""Render every chart on the recorded example: `docs/gallery.md` and its pictures. Run by `make gallery`."""

import io
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import mops_analysis as mops
from mops_analysis.schema import to_frame
from mops_analysis.simulator import STORIES

HERE = Path(__file__).parent
ZONE = "Europe/Berlin"
SAMPLES = mops.load_example()
JOB = "failure-burst-1"
ONE = SAMPLES[SAMPLES["job_id"] == JOB]
THREE = SAMPLES[SAMPLES["job_id"].isin(["clean-import-1", "clean-import-2", "cancelled-1"])]
FORECASTS = mops.eta(SAMPLES)
SUMMARY = mops.summary(SAMPLES)

# Forty jobs of the simulator that begin one after another, and are seen for 50 minutes.
MANY = to_frame(
    {**asdict(story.status_at(second, number=number)), "latency_s": 0.1}
    | {"sampled_at": pd.Timestamp("2026-11-18T13:00:00Z") + pd.Timedelta(seconds=begin + second)}
    for number in range(1, 5)
    for nth, story in enumerate(list(STORIES.values())[:10])
    for begin in [150 * nth + 40 * number]
    for second in range(0, min(int(story.duration_s(number=number)) + 30, 3000 - begin), 15)
)


def of_job(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the one job."""
    return frame[frame["job_id"] == JOB]


# Name of the picture, the call, and the drawing of it.
CHARTS: list[tuple[str, str, Axes | Figure]] = [
    (
        "progress",
        "plot_progress(samples, forecast=eta(samples))",
        mops.plot_progress(ONE, forecast=of_job(FORECASTS), tz=ZONE),
    ),
    ("progress-of-three", "plot_progress(samples)", mops.plot_progress(THREE, tz=ZONE)),
    (
        "progress-of-forty",
        "plot_progress(samples, forecast=eta(samples))",
        mops.plot_progress(MANY, forecast=mops.eta(MANY), tz=ZONE),
    ),
    (
        "throughput-of-forty",
        "plot_throughput(throughput(samples))",
        mops.plot_throughput(mops.throughput(MANY), tz=ZONE),
    ),
    ("throughput", "plot_throughput(throughput(samples))", mops.plot_throughput(mops.throughput(ONE), tz=ZONE)),
    ("eta", "plot_eta(eta(samples), samples=samples)", mops.plot_eta(of_job(FORECASTS), samples=ONE, tz=ZONE)),
    (
        "failures",
        'plot_failure_rate(failure_rate(samples, window="5min"), cumulative=failure_rate(samples))',
        mops.plot_failure_rate(
            mops.failure_rate(ONE, window="5min"), cumulative=mops.failure_rate(ONE), baseline=0.01, tz=ZONE
        ),
    ),
    ("comparison", "plot_comparison(samples, job_id)", mops.plot_comparison(SAMPLES, JOB)),
    ("failures-by-job", "plot_failures_by_job(summary(samples))", mops.plot_failures_by_job(SUMMARY)),
    ("timeline", "plot_timeline(summary(samples))", mops.plot_timeline(SUMMARY, tz=ZONE)),
    (
        "heatmap",
        'plot_heatmap(throughput_by(samples, every="5min"))',
        mops.plot_heatmap(mops.throughput_by(SAMPLES, every="5min"), tz=ZONE),
    ),
    (
        "throughput-by",
        'plot_throughput_by(throughput_by(samples, every="10min", by=None))',
        mops.plot_throughput_by(mops.throughput_by(SAMPLES, every="10min", by=None, tz=ZONE)),
    ),
    ("ranks", "plot_ranks(summary(samples), job_id)", mops.plot_ranks(SUMMARY, JOB)),
    ("tear-sheet", "tear_sheet(samples, job_id)", mops.tear_sheet(SAMPLES, JOB, tz=ZONE)),
]


def write_png(picture: Axes | Figure, path: Path) -> None:
    """Write a picture with 256 colours, those of small marks kept: less than half the bytes."""
    buffer = io.BytesIO()
    figure = picture.get_figure(root=True)
    figure.savefig(buffer, format="png", dpi=100, facecolor=figure.get_facecolor())
    image = Image.open(buffer).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, 3, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


lines = [
    "# Gallery",
    "",
    "Every chart, drawn by `make gallery` on the recorded example, or on forty jobs of the simulator. "
    "Each question is the title of its chart.",
]
for name, call, picture in CHARTS:
    write_png(picture, HERE / "pictures" / f"{name}.png")
    words = str(picture.get_label()).replace("[", "(").replace("]", ")")
    lines += [
        "",
        f"## {name.replace('-', ' ').capitalize()}",
        "",
        f"`mops.{call}`",
        "",
        f"![{words}](pictures/{name}.png)",
    ]
lines += ["", "## Dashboard", "", "`mops.dashboard(store, client)`, live on the simulator; made by `make screenshots`."]
for theme, jobs in (("light", 4), ("dark", 40)):
    words = f"The dashboard, {theme}: the job picker at the left, six numbers on top, six charts of {jobs} jobs"
    lines += ["", f"![{words}](pictures/dashboard-{theme}-{jobs}.png)"]
(HERE / "gallery.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

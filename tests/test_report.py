"""Exports and reports: what is in the files, and what must not be."""

import json
import re
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

import mops_analysis
from mops_analysis import charts, schema
from mops_analysis.cli import main
from mops_analysis.errors import ConfigurationError, SchemaError
from mops_analysis.report import page as page_module
from mops_analysis.report import report, tables, tear_sheet
from mops_analysis.report.attention import attention
from mops_analysis.report.notebook import run_notebook
from mops_analysis.report.tables import export
from mops_analysis.report.vector import _steps

START = pd.Timestamp("2026-11-18T12:00:00Z")


def job(job_id="job-1", count=30, *, status="completed", step=10, total=300, failed_per_step=0, label=None):
    """Build a steady job of `count` samples; `status` is its last word."""
    rows = [
        {
            "job_id": job_id,
            "sampled_at": (START + pd.Timedelta(seconds=step * i)).isoformat(),
            "status": "in_progress" if i < count - 1 else status,
            "progress_percentage": 100 * i / (count - 1) if count > 1 else 0,
            "processed_items": total * i // max(count - 1, 1),
            "total_items": total,
            "failed_items": failed_per_step * i,
            "latency_s": 0.1,
            **({"label": label} if label else {}),
        }
        for i in range(count)
    ]
    return schema.to_frame(rows)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "CSV"])
def test_csv_holds_every_row_and_column(tmp_path, ending):
    """What was written is what is read, times with their offset."""
    samples = job()
    path = export(samples, tmp_path / f"samples.{ending}")
    assert path == tmp_path / f"samples.{ending}"
    read = pd.read_csv(path, parse_dates=["sampled_at"]).astype(schema.SAMPLE_DTYPES)
    pd.testing.assert_frame_equal(read, samples)


def test_parquet_holds_the_very_frame(tmp_path):
    """Dtypes, zone and attrs included."""
    samples = job().assign(sampled_at=lambda frame: frame["sampled_at"].dt.tz_convert("Europe/Berlin"))
    samples.attrs["window_s"] = 20.0
    read = pd.read_parquet(export(samples, tmp_path / "samples.parquet"))
    pd.testing.assert_frame_equal(read, samples)
    assert read.attrs == {"window_s": 20.0}


def test_a_worksheet_has_local_times_and_their_zone(tmp_path):
    """13:00 in Berlin is written as 13:00, with the zone beside it; the header stays in sight."""
    samples = job().assign(sampled_at=lambda frame: frame["sampled_at"].dt.tz_convert("Europe/Berlin"))
    sheet = openpyxl.load_workbook(export(samples, tmp_path / "samples.xlsx")).active
    header = [cell.value for cell in sheet[1]]
    row = dict(zip(header, [cell.value for cell in sheet[2]], strict=True))
    assert header[:3] == ["job_id", "sampled_at", "sampled_at_zone"]
    assert (str(row["sampled_at"]), row["sampled_at_zone"]) == ("2026-11-18 13:00:00", "Europe/Berlin")
    assert (row["total_items"], sheet.max_row, sheet.freeze_panes) == (300, 31, "A2")


HOSTILE = ['=cmd|"/c calc"!A1', "+1", "-1+2", "@SUM(1)", "\t=1"]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_no_id_is_a_formula(tmp_path, ending):
    """A hostile id stays text: an apostrophe stands before it."""
    path = export(pd.DataFrame({"job_id": [*HOSTILE, "job-1", None], "rate": -1.5}), tmp_path / f"jobs.{ending}")
    if ending == "csv":
        read = pd.read_csv(path)
    else:
        sheet = openpyxl.load_workbook(path).active
        assert {cell.data_type for row in sheet for cell in row} <= {"s", "n", "inlineStr"}
        read = pd.read_excel(path)
    assert read["job_id"].tolist()[:6] == [*(f"'{text}" for text in HOSTILE), "job-1"]
    assert read["rate"].tolist() == [-1.5] * 7


def test_a_control_character_does_not_stop_a_worksheet(tmp_path):
    """What XML cannot hold is replaced."""
    path = export(pd.DataFrame({"detail": ["a\x00b"]}), tmp_path / "faults.xlsx")
    assert pd.read_excel(path)["detail"].tolist() == ["a�b"]


def test_more_rows_than_a_worksheet_are_refused(tmp_path, monkeypatch):
    """The message has both numbers and the way out; nothing is written."""
    monkeypatch.setattr(tables, "EXCEL_ROWS", 29)
    with pytest.raises(SchemaError, match="29 rows, the frame 30; write .parquet"):
        export(job(), tmp_path / "samples.xlsx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "extra", "ending"), [("pyarrow", "parquet", "parquet"), ("openpyxl", "excel", "xlsx")]
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package, extra, ending):
    """The cure can be pasted."""
    samples = job()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf'{package}.*pip install "mops_analysis\[{extra}\]"'):
        export(samples, tmp_path / f"samples.{ending}")


@pytest.mark.parametrize("name", ["samples.txt", "samples", "samples.csv.zip"])
def test_an_unknown_ending_is_refused(tmp_path, name):
    """The message lists the known ones."""
    with pytest.raises(ConfigurationError, match=r"\.csv, \.csv\.gz, \.parquet, \.xlsx or \.md"):
        export(job(), tmp_path / name)


def test_only_a_frame_can_be_exported(tmp_path):
    """A list is no table."""
    with pytest.raises(SchemaError, match="got list"):
        export([1, 2], tmp_path / "samples.csv")


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx"])
def test_an_export_leaves_the_frame_alone_and_an_empty_one_has_its_header(tmp_path, ending):
    """No input is mutated; no rows are no error."""
    samples = job(job_id="=1").assign(ratio=np.nan)
    before = samples.copy(deep=True)
    export(samples, tmp_path / f"samples.{ending}")
    pd.testing.assert_frame_equal(samples, before)
    empty = export(samples.iloc[:0], tmp_path / f"empty.{ending}")
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "xlsx": pd.read_excel}[ending](empty)
    assert "job_id" in read.columns
    assert len(read) == 0


class Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


FLEET = pd.concat(
    [
        job("done-1"),
        job("failed-1", status="failed"),
        job("review-1", status="awaiting_review"),
        job("running-1", status="in_progress", failed_per_step=1),
    ]
).astype({"job_id": "string"})


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Return the report of four jobs."""
    return report(FLEET, tmp_path_factory.mktemp("fleet") / "report.html", tz="Europe/Berlin")


@pytest.fixture
def no_sections(monkeypatch):
    """Reports of the tables alone, which take a tenth of the time."""
    monkeypatch.setattr(page_module, "SECTIONS_MOST", 0)


def test_a_report_is_written_where_it_was_asked_for(tmp_path):
    """The path comes back, and an older file is replaced."""
    path = tmp_path / "report.html"
    path.write_text("old")
    assert report(job(), path, tz="UTC") == path
    assert Page(path).words.startswith("Job job-1")


def test_a_report_fetches_nothing(fleet):
    """No script, no link, no address: neither in attributes nor in styles."""
    page, source = Page(fleet), fleet.read_text()
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "img"})
    assert "http" not in source
    assert not re.search(r"url\((?!#)|@import", source)
    assert all(
        value.startswith("#") for _, attrs in page.tags for name, value in attrs.items() if name.endswith("href")
    )


def test_every_picture_has_words_and_every_table_a_caption(fleet):
    """For those who cannot see them."""
    page = Page(fleet)
    pictures = page.all("svg")
    assert len(pictures) == 1 + 4 * 4
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 40 for svg in pictures)
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("table")) == fleet.read_text().count('<div class="scroll">\n<table')
    assert all("scope" in cell for cell in page.all("th"))


def test_what_needs_attention_comes_first(fleet):
    """Failed, then waiting for a review, then what runs or ended well."""
    words = Page(fleet).words
    places = [words.index(job_id) for job_id in ("failed-1", "review-1", "done-1")]
    assert places == sorted(places)
    assert "Need attention 2" in words


def test_a_report_says_where_its_numbers_come_from(fleet):
    """Version, zone, span, samples, window, counting rule and its evidence."""
    words = Page(fleet).words
    for part in (
        f"mops_analysis {mops_analysis.__version__}",
        "Wed 18 Nov 2026, 13:00 to 13:05, Europe/Berlin (UTC+01:00) · 120 samples",
        "trailing window of 2 m",
        "undecided",
    ):
        assert part in words


def test_the_same_samples_give_the_same_file(tmp_path, fleet):
    """Byte for byte, so that a changed report means changed data; and the samples are not touched."""
    before = FLEET.copy(deep=True)
    assert report(FLEET, tmp_path / "again.html", tz="Europe/Berlin").read_bytes() == fleet.read_bytes()
    pd.testing.assert_frame_equal(FLEET, before)


def test_five_figures_stay_below_300_kilobytes(tmp_path):
    """Also for 20,000 samples."""
    two = pd.concat([job("a", 10_000, step=1), job("b", 10_000, step=1)]).astype({"job_id": "string"})
    path = report(two, tmp_path / "report.html", tz="UTC")
    assert path.stat().st_size / len(Page(path).all("svg")) < 30_000


def test_a_hostile_name_is_only_text(tmp_path):
    """Neither an id nor a label becomes markup, a formula or a template."""
    name = '<script>alert("x")</script>{{ 7*7 }}$\\frac{$ d="M x" style="a: b; c" x="1.23456" '
    samples = job(name, label=f"<b>{name}")
    page = Page(report(samples, tmp_path / "report.html", title=name, tz="UTC"))
    assert not page.all("script")
    assert not page.all("b")
    assert name.strip() in page.words
    assert page.words.count('d="M x" style="a: b; c" x="1.23456"') > 4


def test_a_path_is_steps_in_tenths_of_a_point():
    """From point to point and, after a closed shape, from where it began; errors do not add up along the way."""
    assert _steps("M 10 20 \nL 10.54 19.5 \nQ 1 2 3 4 \nz\nM 11 20 \nL 11 20.04 \n") == (
        "m10 20l.5-.5q-9.5-17.5-7.5-15.5zm1 0l0 0"
    )
    points = np.random.default_rng(1).uniform(0, 500, (2_000, 2))
    steps = _steps("".join(f"{'L' if i else 'M'} {x} {y} \n" for i, (x, y) in enumerate(points)))
    moves = np.array([float(number) for number in re.findall(r"-?\d*\.?\d+", steps)]).reshape(-1, 2)
    assert np.abs(moves.cumsum(axis=0) - points).max() < 0.0501


def test_only_the_jobs_asked_for_are_reported(tmp_path):
    """The others stay out; one that has no samples is an error."""
    page = Page(report(FLEET, tmp_path / "report.html", job_ids=["done-1"], tz="UTC"))
    assert "failed-1" not in page.words
    assert len(page.all("svg")) == 4
    with pytest.raises(SchemaError, match="'nobody'.*4 jobs"):
        report(FLEET, tmp_path / "report.html", job_ids=["nobody"])
    one = report(FLEET, tmp_path / "one.html", job_ids="done-1", tz="UTC")
    assert one.read_text() == (tmp_path / "report.html").read_text()


def test_many_jobs_are_all_in_the_table_and_the_first_have_charts(tmp_path, monkeypatch):
    """What is left out is said."""
    monkeypatch.setattr(page_module, "SECTIONS_MOST", 1)
    page = Page(report(FLEET, tmp_path / "report.html", tz="UTC"))
    assert len(page.all("section")) == 1
    assert "3 more jobs in the table above without charts here" in page.words
    assert all(job_id in page.words for job_id in ("done-1", "failed-1", "review-1", "running-1"))


def test_more_jobs_than_can_be_told_apart_are_shown_together_and_as_rows(tmp_path, no_sections):
    """Of 25 jobs: how far they are, what ran when, and which fail; a status is not repeated as its own reason."""
    many = pd.concat([job(f"job-{n}", 3, status="failed") for n in range(25)], ignore_index=True)
    page = Page(report(many, tmp_path / "report.html", tz="UTC"))
    shown = [svg["aria-label"].split(":")[0].split(",")[0] for svg in page.all("svg")]
    assert shown == ["Progress", "Timeline", "Failures by job"]
    assert page.words.count("✖ failed") == 25
    assert "failed failed" not in page.words


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_samples_make_a_report(tmp_path, count):
    """None, one or three: what is not known is a dash, never an error."""
    samples = job(count=count, status="in_progress") if count else job().iloc[:0]
    page = Page(report(samples, tmp_path / "report.html", tz="UTC"))
    assert ("There are no samples" in page.words) == (count == 0)


def test_times_of_several_days_have_their_date(tmp_path):
    """An hour alone would not say which day is meant."""
    page = Page(report(job(count=30, step=3600), tmp_path / "report.html", tz="UTC"))
    assert "ended 19 Nov 17:00" in page.words


def test_a_stall_is_urgent_only_while_it_lasts():
    """A job that has ended, or moves again, has got over it."""
    jobs = pd.DataFrame(
        {
            "job_id": ["stands", "moves", "ended"],
            "status": ["in_progress", "in_progress", "completed"],
            "last_items_per_s": [0.0, 1.0, 0.0],
            "last_sampled_at": START,
        }
    )
    ranked = attention(jobs, pd.DataFrame({"job_id": jobs["job_id"], "kind": "stalled"})).set_index("job_id")
    assert ranked["urgent"].to_dict() == {"stands": True, "moves": False, "ended": False}
    assert ranked.index[0] == "stands"
    assert ranked.loc["moves", "reasons"] == "stood still for a time"


def polls_of(samples, *faults):
    """Build the polls of samples, and one failed poll for each fault: job, outcome, seconds after the start."""
    good = samples[["job_id", "sampled_at"]].assign(outcome="ok")
    bad = [{"job_id": job_id, "sampled_at": START + pd.Timedelta(seconds=s), "outcome": o} for job_id, o, s in faults]
    return pd.concat([good, pd.DataFrame(bad)], ignore_index=True)


def test_failed_polls_are_counted_by_kind(tmp_path, no_sections):
    """Of each job, in all, and of a job that never answered; without polls nothing is claimed."""
    faults = [("done-1", "timeout", 3), ("done-1", "timeout", 4), ("done-1", "connection", 5), ("ghost", "auth", 0)]
    words = Page(report(FLEET, tmp_path / "report.html", tz="UTC", polls=polls_of(FLEET, *faults))).words
    assert "120 samples · 4 failed polls" in words
    assert "2 timeout, 1 connection" in words
    assert "Polled, but never answered: ghost (1 failed polls: 1 auth)" in words
    chosen = report(FLEET, tmp_path / "one.html", job_ids=["failed-1"], tz="UTC", polls=polls_of(FLEET, *faults))
    assert "0 failed polls" in Page(chosen).words
    assert "unknown: no store was read" in Page(report(job(), tmp_path / "none.html", tz="UTC")).words


def test_gaps_are_counted_with_the_longest(tmp_path, no_sections):
    """Two gaps in the samples, of 100 s and 60 s."""
    samples = job().drop(index=[*range(5, 14), *range(20, 25)])
    assert "2, longest 1 m 40 s" in Page(report(samples, tmp_path / "report.html", tz="UTC")).words


BEFORE = [
    job(f"old-{n}", label="import").assign(sampled_at=lambda f, n=n: f["sampled_at"] - pd.Timedelta(hours=n + 1))
    for n in range(5)
]


def test_a_job_is_held_against_the_jobs_before_it(tmp_path):
    """Twice as long as the five before it of its label, half as fast: both are bold."""
    samples = pd.concat([*BEFORE, job("new", step=20, label="import")], ignore_index=True)
    page = Page(report(samples, tmp_path / "report.html", job_ids=["new"], tz="UTC"))
    assert "the 5 jobs before it with the same label" in page.words
    assert "Duration 9 m 40 s 4 m 50 s 4 m 50 s to 4 m 50 s +100 %" in page.words
    assert "Mean throughput 0.517/s 1.03/s 1.03/s to 1.03/s -50 %" in page.words
    assert [row for row in page.all("tr") if row.get("class") == "unusual"] == [{"class": "unusual"}] * 2


def test_every_forecast_has_its_record_beside_it(fleet, tmp_path):
    """Under the table where a job still runs, and under the charts that show forecasts."""
    words = Page(fleet).words
    assert words.count("80 % interval held") == 1 + 1 + 2 * 4
    ended = Page(report(job(), tmp_path / "ended.html", tz="UTC")).words
    assert ended.count("80 % interval held") == 2


def test_days_and_weeks_are_told_from_two_days_on(tmp_path, no_sections):
    """A fortnight: a chart per day, a row per week, with the change on the days that both weeks have."""
    days = [
        job(f"job-{d}", total=100 * (1 + d // 7)).assign(
            sampled_at=lambda f, d=d: f["sampled_at"] + pd.Timedelta(days=d)
        )
        for d in (0, 1, 7, 8)
    ]
    page = Page(report(pd.concat(days, ignore_index=True), tmp_path / "report.html", tz="Europe/Berlin"))
    assert "Mon 16 Nov 2026 2 200 0 (0%) – Mon 23 Nov 2026 2 400 0 (0%) +100 %" in page.words
    assert any("Items by period" in svg["aria-label"] for svg in page.all("svg"))
    assert "Day by day" not in Page(report(job(), tmp_path / "short.html", tz="UTC")).words


def test_markdown_has_the_tables_and_the_charts_in_words(tmp_path):
    """And nothing that a name could make of it: no HTML, no link, no column more."""
    name = "<b>|[x](y)`_z_"
    text = report(job(name), tmp_path / "report.md", tz="UTC", title=name).read_text()
    assert text.startswith("# \\<b\\>\\|\\[x\\](y)\\`\\_z\\_\n")
    assert not re.search(r"(?<!\\\\)<b>|!\[", text)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "Throughput, Wed 18 Nov 2026" in text


def test_a_pdf_has_a_sheet_for_each_job(tmp_path):
    """With title and provenance in its metadata; other endings are refused, and so is a PDF of nothing."""
    content = report(FLEET, tmp_path / "report.pdf", job_ids=["done-1", "failed-1"], tz="UTC", title="Two").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page ") == 2
    assert b"(Two)" in content
    assert b"60 samples, times in UTC" in content
    for path, frame, error in (("r.txt", FLEET, ConfigurationError), ("r.pdf", FLEET.iloc[:0], SchemaError)):
        with pytest.raises(error, match="r.txt: expected a file ending in|no samples of any job"):
            report(frame, tmp_path / path, tz="UTC")


def head(figure):
    return " | ".join(text.get_text() for text in figure.texts)


def test_a_tear_sheet_has_five_charts_and_six_numbers():
    """Its header says which job, how it stands, when and where; its words are those of the charts."""
    figure = tear_sheet(FLEET, "failed-1", tz="Europe/Berlin")
    questions = [ax.get_title(loc="left") for ax in figure.axes[:5]]
    assert len(figure.axes) == 5
    assert all(question.endswith("?") for question in questions)
    for words in (
        "failed-1",
        "✖  failed",
        "300 items",
        "Europe/Berlin (UTC+01:00)",
        "30 samples",
        "Duration",
        "Failure rate",
    ):
        assert words in head(figure)
    bundle = figure._repr_mimebundle_()
    assert bundle["text/plain"].startswith("failed-1, failed: Duration 4 m 50 s (of work); ")
    assert "Progress, " in bundle["text/plain"]
    assert "Comparison: " in bundle["text/plain"]


@pytest.mark.parametrize(
    ("count", "theme", "status"),
    [
        (1, "light", "in_progress"),
        (1, "dark", "completed"),
        (3, "light", "completed"),
        (3, "dark", "in_progress"),
        (500, "light", "in_progress"),
        (500, "dark", "completed"),
    ],
)
def test_a_tear_sheet_is_good_for_any_job(tmp_path, count, theme, status):
    """One sample or many, running or ended, no other job: it draws, and says what is not known."""
    figure = tear_sheet(job(count=count, status=status, total=3), "job-1", tz="UTC", theme=theme)
    figure.savefig(tmp_path / "sheet.png", dpi=40)
    assert "no five jobs to compare with" in head(figure)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_tear_sheet_is_saved_as_picture_or_vector(tmp_path, ending):
    """PNG, SVG and PDF."""
    tear_sheet(job("$\\frac{"), "$\\frac{", tz="UTC").savefig(tmp_path / f"sheet.{ending}")
    assert (tmp_path / f"sheet.{ending}").stat().st_size > 10_000


def test_a_tear_sheet_compares_with_the_history_given():
    """The history replaces the other jobs of the samples."""
    figure = tear_sheet(FLEET, "running-1", history=pd.concat([job("old-1"), job("old-2")]), tz="UTC")
    assert "the median of 2 others" in figure.get_label()
    with pytest.raises(SchemaError, match="'nobody'"):
        tear_sheet(FLEET, "nobody")


def test_the_sixth_number_of_an_ended_job_is_the_error_of_its_forecast():
    """Half-way, with how often the band held: a job of constant pace is predicted to the poll."""
    words = head(tear_sheet(job(), "job-1", tz="UTC"))
    assert re.search(r"ETA error at 50% done \| [+-][\d.]+ s \| 80% band held at 5 of 5 moments", words)
    assert "ETA error at 50% done | – | no forecast to judge" in head(tear_sheet(FLEET, "failed-1", tz="UTC"))


def test_the_sixth_number_of_a_running_job_is_its_finish():
    """20 of 30 steps of 10 s done by 12:03:20: it ends at 12:05."""
    running = job(count=30).iloc[:21]
    words = head(tear_sheet(running, "job-1", tz="UTC"))
    assert re.search(r"Finish \| 12:05 \| 80% band 12:0\d to 12:0\d", words)
    nothing = job(count=1, status="in_progress")
    assert "Finish | – | no forecast" in head(tear_sheet(nothing, "job-1", tz="UTC"))
    assert "Finish | – | waits for a review" in head(tear_sheet(FLEET, "review-1", tz="UTC"))


@pytest.mark.parametrize("window", [120, 120.0, "2min"])
def test_a_window_in_seconds_is_said_as_such(window, tmp_path):
    """A number is seconds, in the tear sheet's head and foot and in the report."""
    figure = tear_sheet(job(), "job-1", window=window, tz="UTC")
    assert "2 m window: " in head(figure)
    assert "trailing window of 2 m." in head(figure)
    assert "window of 2 m." in report(job(), tmp_path / "report.md", window=window, tz="UTC").read_text("utf-8")


def test_five_comparable_jobs_make_ranks():
    """A strip each for duration, throughput and failure rate; with four there are none."""
    samples = pd.concat([*BEFORE, job("new", step=20)], ignore_index=True)
    figure = tear_sheet(samples, "new", tz="UTC")
    assert len(figure.axes) == 6
    ranks = " | ".join(text.get_text() for text in figure.axes[5].texts)
    assert "longer than 5 of 5" in ranks
    assert "slower than 5 of 5" in ranks
    assert "the same as all 5" in ranks
    assert "Ranks: duration 9 m 40 s, longer than 5 of 5; " in figure.get_label()
    assert len(tear_sheet(samples[samples["job_id"] != "old-0"], "new", tz="UTC").axes) == 5


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_says_what_it_shows(tmp_path, ending):
    """Title, words with the zone, what it rests on and the version stand in its metadata."""
    ax = charts.plot_progress(job(), tz="Europe/Berlin")
    path = export(ax, tmp_path / f"progress.{ending}", about="30 rows of samples.db")
    if ending == "png":
        found = " ".join(Image.open(path).text.values())
    else:
        found = path.read_bytes().decode("latin-1").replace("\\(", "(").replace("\\)", ")")
    for part in (
        "How far, and when done?",
        "Europe/Berlin (UTC+01:00)",
        "From 30 rows of samples.db.",
        "mops_analysis 0",
    ):
        assert part in found
    with pytest.raises(ConfigurationError, match=r"\.png, \.svg or \.pdf"):
        export(ax, tmp_path / "progress.gif")


def test_parquet_says_where_it_comes_from(tmp_path):
    """Version, rows, zones and source stand in the file's metadata."""
    path = export(job(), tmp_path / "samples.parquet", about="30 rows of samples.db")
    about = json.loads(parquet.read_schema(path).metadata[b"mops_analysis"])
    assert about == {
        "version": f"mops_analysis {mops_analysis.__version__}",
        "rows": 30,
        "about": "30 rows of samples.db",
        "zones": {"sampled_at": "UTC"},
    }


def test_several_tables_are_sheets_of_one_file(tmp_path):
    """A sheet each with its header frozen, and a last one with the unit of every column."""
    tables = {"samples": job(), "a/b": pd.DataFrame({"failure_rate": [0.5]})}
    book = openpyxl.load_workbook(export(tables, tmp_path / "tables.xlsx"))
    assert book.sheetnames == ["samples", "a b", "columns"]
    assert {sheet.freeze_panes for sheet in book} == {"A2"}
    units = {row[:2]: row[2] for row in book["columns"].iter_rows(min_row=2, values_only=True)}
    assert units["samples", "latency_s"] == "seconds"
    assert units["samples", "processed_items"] == "items"
    assert units["samples", "sampled_at"] == "time"
    assert units["a b", "failure_rate"] == "share, 0 to 1"
    with pytest.raises(ConfigurationError, match="several tables"):
        export(tables, tmp_path / "tables.csv")


def test_a_markdown_table_holds_any_text(tmp_path):
    """Pipes, line breaks and markup stay in their cell; several tables have a heading each."""
    frame = pd.DataFrame({"job|id": ["a|b\nc", None, "<b>"], "rate": [0.5, np.nan, 1e6]})
    lines = export(frame, tmp_path / "t.md").read_text().splitlines()
    assert lines == ["| job\\|id | rate |", "| --- | ---: |", "| a\\|b c | 0.5 |", "|  |  |", "| \\<b\\> | 1e+06 |"]
    both = export({"one": frame, "two": frame}, tmp_path / "both.md").read_text()
    assert re.findall(r"^## (.*)$", both, flags=re.MULTILINE) == ["one", "two"]


NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "06-throughput-report.ipynb"


def test_a_notebook_is_a_report(tmp_path, monkeypatch):
    """Run with the command line's parameters: its jobs alone, without code, widgets or addresses, pictures in words."""
    for place in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place.lower()))
    export(FLEET, tmp_path / "samples.csv")
    arguments = ["report", "done-1", "failed-1", "--notebook", "--store", "samples.csv", "--tz", "Asia/Tokyo"]
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbclient and jupyter_client warn of their own use of event loops and ports
        assert main([*arguments, "--out", "throughput.html"]) == 0
    page, source = Page(tmp_path / "throughput.html"), (tmp_path / "throughput.html").read_text()
    assert "2 jobs, 60 samples" in page.words
    assert "Asia/Tokyo" in source
    assert "running-1" not in source
    assert "http" not in source
    assert not re.search(r"import mops_analysis|JobPicker|jupyter-widgets", source)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe"})
    assert len(page.all("table")) == len(page.all("caption")) == 4
    assert len(page.all("img")) >= 4
    assert all(len(image["alt"]) > 40 and image["src"].startswith("data:image/png") for image in page.all("img"))


def test_a_cell_that_fails_is_named(tmp_path, monkeypatch):
    """The error of the cell, and no page."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    parameters, path = {"source": "service", "store": "missing.db"}, tmp_path / "x.html"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SchemaError, match=r"06-throughput-report.ipynb: StoreError: .*no such"):
            run_notebook(NOTEBOOK, path, parameters=parameters)
    assert not (tmp_path / "x.html").exists()


DOCS = Path(__file__).parent.parent / "docs"


def test_the_gallery_is_small_and_said_in_words():
    """Every picture has alt text; marks in the colour of a status keep it; altogether below 1.5 MB."""
    pictures = re.findall(r"!\[(.*?)\]\((pictures/[a-z-]+\.png)\)", (DOCS / "gallery.md").read_text())
    assert len(pictures) == 14
    assert all(len(words) > 40 for words, _ in pictures)
    assert sum((DOCS / file).stat().st_size for _, file in pictures) < 1_500_000
    colours = Image.open(DOCS / "pictures" / "tear-sheet.png").convert("RGB").getcolors(100_000)
    assert (0xDB, 0xAF, 0x03) in {colour for _, colour in colours}

"""Exports and reports: what is in the files, and what must not be."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import openpyxl
import pandas as pd
import pytest

import mops_analysis
from mops_analysis import schema
from mops_analysis.errors import ConfigurationError, SchemaError
from mops_analysis.report import page as page_module
from mops_analysis.report import report, tables, tear_sheet
from mops_analysis.report.attention import attention
from mops_analysis.report.page import baseline
from mops_analysis.report.tables import export

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
    with pytest.raises(ConfigurationError, match=r"\.csv, \.csv\.gz, \.parquet or \.xlsx"):
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
    assert path.stat().st_size / len(Page(path).all("svg")) < 60_000


def test_a_hostile_name_is_only_text(tmp_path):
    """Neither an id nor a label becomes markup, a formula or a template."""
    name = '<script>alert("x")</script>{{ 7*7 }}$\\frac{$'
    samples = job(name, label=f"<b>{name}")
    page = Page(report(samples, tmp_path / "report.html", title=name, tz="UTC"))
    assert not page.all("script")
    assert not page.all("b")
    assert name in page.words


def test_only_the_jobs_asked_for_are_reported(tmp_path):
    """The others stay out; one that has no samples is an error."""
    page = Page(report(FLEET, tmp_path / "report.html", job_ids=["done-1"], tz="UTC"))
    assert "failed-1" not in page.words
    assert len(page.all("svg")) == 4
    with pytest.raises(SchemaError, match="'nobody'.*4 jobs"):
        report(FLEET, tmp_path / "report.html", job_ids=["nobody"])


def test_many_jobs_are_all_in_the_table_and_the_first_have_charts(tmp_path, monkeypatch):
    """What is left out is said."""
    monkeypatch.setattr(page_module, "SECTIONS_MOST", 1)
    page = Page(report(FLEET, tmp_path / "report.html", tz="UTC"))
    assert len(page.all("section")) == 1
    assert "3 more jobs in the table above without charts here" in page.words
    assert all(job_id in page.words for job_id in ("done-1", "failed-1", "review-1", "running-1"))


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


def test_the_baseline_is_that_of_the_other_ended_jobs():
    """Five or more of them; the job itself and what still runs do not count."""
    jobs = pd.DataFrame({"job_id": list("abcdefg"), "terminal": [True] * 6 + [False]})
    jobs["failure_rate"] = [0.9, 0.01, 0.02, 0.03, 0.04, 0.05, 0.9]
    assert baseline(jobs, "a") == pytest.approx((0.03, 0.014, 0.046))
    assert baseline(jobs.iloc[:5], "a") is None


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
    assert "Progress, " in bundle["text/plain"]
    assert "Comparison: " in bundle["text/plain"]


@pytest.mark.parametrize("count", [1, 3, 500])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("status", ["in_progress", "completed"])
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

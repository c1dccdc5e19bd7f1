"""The panels by their attributes; `test_browser.py` shows them to a real browser."""

from __future__ import annotations

import _thread
import base64
import contextlib
import datetime as dt
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty

import numpy as np
import pandas as pd
import pytest
from frames import job, likely
from ipywidgets import SelectMultiple
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure

from mops_analysis import metrics, schema
from mops_analysis.cli import build_parser, main
from mops_analysis.cli.dashboard import code_of
from mops_analysis.client import JobStatusClient
from mops_analysis.dashboard import JobPicker, LiveView, dashboard, follow, panels
from mops_analysis.dashboard.follow import Follower
from mops_analysis.dashboard.listbox import ListBox
from mops_analysis.dashboard.panels import Settings, numbers
from mops_analysis.dashboard.picker import MAX_SHOWN
from mops_analysis.errors import ConfigurationError, SchemaError
from mops_analysis.simulator import Simulator
from mops_analysis.store import SampleStore

# The package has a function of the same name.
VIEW = sys.modules["mops_analysis.dashboard.view"]


def summary(**columns: list[object]) -> pd.DataFrame:
    """Six jobs, one row each."""
    rows = {
        "job_id": ["job-1", "job-2", "job-3", "job-4", "job-5", "job-6"],
        "status": ["failed", "in_progress", "in_progress", "completed", "failed", "pending"],
        "label": ["Acme", "Acme", "Globex", "Globex", "Initech", None],
        "share_done": [0.5, 0.25, 0.75, 1.0, 0.1, 0.0],
        "last_items_per_s": [None, 4.0, 2.0, None, None, None],
        "mean_items_per_s": [3.0, 4.0, 2.0, 9.0, 1.0, None],
        "eta": pd.to_datetime([None, "2026-11-18T14:57Z", "2026-11-18T15:06Z", None, None, None], utc=True),
        "ended_before": pd.to_datetime(["2026-11-18T13:52Z", None, None, "2026-11-18T12:31Z", None, None], utc=True),
    }
    return pd.DataFrame({**rows, **columns})


def entries(picker: JobPicker) -> list[str]:
    """The list as the analyst reads it."""
    return [text.replace("\u00a0", " ") for text, _ in picker._list.options]


@pytest.fixture(params=["anywidget", "plain"])
def each_list(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picker with anywidget, and without it."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "mops_analysis.dashboard.listbox", None)


def test_choosing_in_code() -> None:
    """`select` chooses all jobs that every word matches, and no others."""
    picker = JobPicker(summary())
    picker.select("failed acme")
    assert picker.selected == ("job-1",)
    picker.select("status:in_progress,pending")
    assert picker.selected == ("job-2", "job-3", "job-6")
    picker.select("")
    assert len(picker.selected) == 6


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("acme", ("job-1", "job-2")),
        ("ACME failed", ("job-1",)),
        ("label:acme", ("job-1", "job-2")),
        ("id:job-4", ("job-4",)),
        ("status:comp", ("job-4",)),
        ("status:", ("job-1", "job-2", "job-3", "job-4", "job-5", "job-6")),
        ("id:acme", ()),
        ('label:"init"', ("job-5",)),
        ("status:failed label:globex", ()),
    ],
)
def test_the_words_of_a_filter(text: str, chosen: tuple[str, ...]) -> None:
    """A bare word looks everywhere, a keyed one in its column; all must match."""
    picker = JobPicker(summary())
    picker.select(text)
    assert picker.selected == chosen


def test_a_whole_status_word_means_that_status_alone() -> None:
    """`status:completed` leaves out the jobs completed with warnings."""
    frame = pd.DataFrame({"job_id": ["a", "b"], "status": ["completed", "completed_with_warnings"]})
    picker = JobPicker(frame)
    picker.select("status:completed")
    assert picker.selected == ("a",)
    picker.select("status:complet")
    assert picker.selected == ("a", "b")


@pytest.mark.usefixtures("each_list")
def test_filtering_leaves_the_choice_alone() -> None:
    """A chosen job that the filter hides stays chosen, and is marked again when it is shown again."""
    picker = JobPicker(summary(), selected=["job-1", "job-3"])
    picker.filter.value = "globex"
    assert picker.selected == ("job-1", "job-3")
    assert picker._list.value == ("job-3",)
    picker.filter.value = "nothing like it"
    assert picker.selected == ("job-1", "job-3")
    picker.filter.value = ""
    assert set(picker._list.value) == {"job-1", "job-3"}


@pytest.mark.usefixtures("each_list")
def test_clicking_in_the_list_leaves_hidden_jobs_alone() -> None:
    """What the list says counts for the jobs that it shows."""
    picker = JobPicker(summary(), selected=["job-1", "job-3"])
    picker.filter.value = "globex"
    picker._list.value = ("job-4",)
    assert picker.selected == ("job-1", "job-4")


@pytest.mark.usefixtures("each_list")
def test_live_updates_leave_the_choice_alone() -> None:
    """New facts, another order and vanished jobs never change what is chosen or typed."""
    picker = JobPicker(summary(), selected=["job-2", "job-6"])
    picker.filter.value = "job"
    picker.update(summary(status=["failed", "completed", "in_progress", "completed", "failed", "in_progress"]))
    assert picker.selected == ("job-2", "job-6")
    assert set(picker._list.value) == {"job-2", "job-6"}
    picker.update(summary().head(1))
    assert picker.selected == ("job-2", "job-6")
    assert picker.filter.value == "job"


def test_an_update_sends_only_what_differs() -> None:
    """The same facts again change no trait; a new share done changes the list alone."""
    picker = JobPicker(summary())
    changes: list[str] = []
    for name in ("_list", "_count", "_call", "_chip_row", *picker._chips):
        part = picker._chips.get(name) or getattr(picker, name)
        part.observe(lambda _, name=name: changes.append(name))
    picker.update(summary())
    assert changes == []
    picker.update(summary(share_done=[0.6, 0.25, 0.75, 1.0, 0.1, 0.0]))
    assert set(changes) == {"_list"}


@pytest.mark.usefixtures("each_list")
def test_the_list() -> None:
    """Running jobs first, each with mark, label or id, share done, and the time that it will or did end."""
    picker = JobPicker(summary(), tz="Europe/Berlin")
    assert entries(picker)[0] == "▶ Acme job-2   █░░░░░  25% 15:57"
    assert [entry.split()[0] for entry in entries(picker)] == ["▶", "▶", "○", "✖", "✔", "✖"]
    assert entries(picker)[2].split() == ["○", "job-6", "░░░░░░", "0%"]


@pytest.mark.usefixtures("each_list")
def test_equal_entries_stay_apart() -> None:
    """Jobs that look the same are still chosen one by one."""
    ids = ["a" * 40 + "1" + "b" * 20, "a" * 40 + "2" + "b" * 20]
    picker = JobPicker(pd.DataFrame({"job_id": ids, "status": ["failed", "failed"]}))
    seen: list[tuple[str, ...]] = []
    picker.observe(lambda change: seen.append(change["new"]), "selected")
    picker._list.index = (1,)
    assert seen == [(ids[1],)]


def test_the_count_line_and_the_call() -> None:
    """A screen reader hears how many match; the call shows how to do it in code."""
    picker = JobPicker(summary(), selected=["job-1"])
    picker.filter.value = 'failed "acme"'
    assert 'role="status">1 of 6 jobs match · 1 selected' in picker._count.value
    assert '.select("failed \\"acme\\"")' in picker._call.value


def test_markup_in_names_is_text() -> None:
    """What is typed or served cannot become a tag."""
    picker = JobPicker(summary())
    picker.filter.value = "<img src=x onerror=alert(1)>"
    assert "<img" not in picker._call.value


@pytest.mark.usefixtures("each_list")
def test_the_chips() -> None:
    """A chip counts its status, and puts it into the filter or takes it out."""
    picker = JobPicker(summary())
    assert picker._chips["failed"].description == "✖ failed 2"
    picker._chips["failed"].value = True
    picker._chips["pending"].value = True
    assert picker.filter.value == "status:failed,pending"
    assert len(picker._list.options) == 3
    picker._chips["failed"].value = False
    assert picker.filter.value == "status:pending"
    picker.filter.value = ""
    assert picker._chips["pending"].value is False
    picker.update(summary(status=["failed"] * 6))
    assert picker._chips["failed"].description == "✖ failed 6"
    assert picker._chips["pending"].description == "○ pending 0"


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("all matches", ("job-1", "job-2")),
        ("none", ()),
        ("running", ("job-2", "job-3")),
        ("failed", ("job-1", "job-5")),
        ("slowest five", ("job-2", "job-3")),
    ],
)
def test_the_buttons(name: str, chosen: tuple[str, ...]) -> None:
    """Each button makes one choice."""
    picker = JobPicker(summary(), selected=["job-4"])
    picker.filter.value = "acme"
    next(button for button in picker._buttons.children if button.description == name).click()
    assert picker.selected == chosen


def test_enter_chooses_all_matches() -> None:
    """The filter's Enter key is the keyboard's way to choose."""
    picker = JobPicker(summary())
    picker.filter.value = "globex"
    message = {"data": {"method": "custom", "content": {"event": "submit"}}}
    picker.filter._handle_msg({"content": message, "buffers": []})
    assert picker.selected == ("job-3", "job-4")


def test_the_slowest_of_ended_jobs() -> None:
    """Where nothing runs, the slowest are those with the lowest mean rate."""
    picker = JobPicker(summary(status=["completed"] * 6))
    next(button for button in picker._buttons.children if button.description == "slowest five").click()
    assert picker.selected == ("job-1", "job-2", "job-3", "job-4", "job-5")


@pytest.mark.usefixtures("each_list")
def test_observing_the_choice() -> None:
    """`selected` is a sorted tuple without doubles, and a trait that tells of each change once."""
    picker = JobPicker(summary())
    seen: list[tuple[str, ...]] = []
    picker.observe(lambda change: seen.append(change["new"]), "selected")
    picker.selected = ("job-3", "job-1", "job-3")
    picker.selected = ("job-1", "job-3")
    assert seen == [("job-1", "job-3")]
    assert set(picker._list.value) == {"job-1", "job-3"}


@pytest.mark.usefixtures("each_list")
def test_five_thousand_jobs() -> None:
    """A key stroke costs the kernel far less than 200 ms, and the browser gets at most 200 entries."""
    count = 5_000
    statuses = ["in_progress", "completed", "failed", "pending", "partial_success"]
    picker = JobPicker(
        pd.DataFrame(
            {
                "job_id": [f"job-{job:05}" for job in range(count)],
                "status": [statuses[job % 5] for job in range(count)],
                "label": [f"Merchant {job % 37}" for job in range(count)],
                "share_done": [job / count for job in range(count)],
            }
        )
    )
    slowest_s = 0.0
    for end in range(1, len("failed merchant 12") + 1):
        begun = time.perf_counter()
        picker.filter.value = "failed merchant 12"[:end]
        slowest_s = max(slowest_s, time.perf_counter() - begun)
    assert "of 5,000 jobs match" in picker._count.value
    assert slowest_s < 0.2


def test_without_anywidget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser's own list takes its place; it gets no more rows than a browser can bear."""
    frame = pd.DataFrame({"job_id": [f"job-{job:03}" for job in range(300)], "status": "failed"})
    assert isinstance(JobPicker(frame)._list, ListBox)
    assert len(JobPicker(frame)._list.options) == 300
    monkeypatch.setitem(sys.modules, "mops_analysis.dashboard.listbox", None)
    plain = JobPicker(frame)
    assert isinstance(plain._list, SelectMultiple)
    assert len(plain._list.options) == MAX_SHOWN
    assert "the first 200 are listed" in plain._count.value
    assert "Enter in the box" in plain._keys.value
    assert "Space" not in plain._keys.value  # there a key is taken for a command of the notebook


def test_a_frame_that_is_no_list_of_jobs() -> None:
    """The error names the column, and what was expected."""
    with pytest.raises(SchemaError, match="column 'status' is missing: expected samples, a summary"):
        JobPicker(pd.DataFrame({"job_id": ["job-1"]}))
    with pytest.raises(SchemaError, match="a job stands there twice"):
        JobPicker(pd.DataFrame({"job_id": ["job-1", "job-1"], "status": ["failed", "failed"]}))
    with pytest.raises(SchemaError, match="expected samples or a summary"):
        JobPicker([])  # type: ignore[arg-type]


def test_the_frame_is_not_changed() -> None:
    """Whoever gives the frame keeps it."""
    frame = summary()
    before = frame.copy(deep=True)
    JobPicker(frame, selected=["job-1"]).select("acme")
    pd.testing.assert_frame_equal(frame, before)


def test_no_jobs() -> None:
    """An empty store gives an empty panel."""
    picker = JobPicker(pd.DataFrame({"job_id": pd.Series(dtype="string"), "status": pd.Series(dtype="string")}))
    picker.select("acme")
    assert picker.selected == ()
    assert "0 of 0 jobs match" in picker._count.value


def started(minutes: int) -> pd.Timestamp:
    """So many minutes after two o'clock."""
    return pd.Timestamp("2026-11-18T14:00Z") + pd.Timedelta(minutes=minutes)


def samples_of(
    job_id: str, minutes: range, *, status: str = "in_progress", failed: int = 0, per_minute: int = 10
) -> pd.DataFrame:
    """A job that finishes ten items a minute of one hundred; the last sample has the status."""
    return schema.to_frame(
        {
            "job_id": job_id,
            "sampled_at": started(minute),
            "status": status if minute == minutes[-1] else "in_progress",
            "progress_percentage": per_minute * minute,
            "processed_items": per_minute * minute,
            "total_items": 100,
            "failed_items": failed,
            "latency_s": 0.1,
        }
        for minute in minutes
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SampleStore]:
    """A store with a running job and one that ended well."""
    with SampleStore(tmp_path / "samples.db") as opened:
        opened.append_samples(samples_of("job-1", range(6)))
        opened.append_samples(samples_of("job-2", range(11), status="completed"))
        yield opened


@pytest.fixture
def view(store: SampleStore) -> Iterator[LiveView]:
    """A view of it that has drawn once."""
    with dashboard(store, key="test", labels={"job-1": "Acme"}, refresh_s=0.02, tz="UTC") as opened:
        until(lambda: "your last 1 job" in opened._charts[2].value and not opened._behind)
        yield opened


def until(is_so: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_following_a_store(store: SampleStore) -> None:
    """What the follower has is what the store has, after each look."""
    follower = Follower(store)
    assert follower.read()
    assert len(follower.samples) == 17
    assert not follower.read()
    store.append_samples(samples_of("job-1", range(6, 8)))
    store.append_samples(samples_of("job-3", range(1)))
    assert follower.read()
    assert follower.summary.set_index("job_id")["samples"].to_dict() == {"job-1": 8, "job-2": 11, "job-3": 1}
    assert follower.samples.groupby("job_id")["sampled_at"].max()["job-1"] == started(7)
    pd.testing.assert_frame_equal(follower.samples, store.read_samples())


def test_a_little_at_a_time(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time, each look takes in the jobs that wait longest; in the end all metrics are those of the whole."""
    monkeypatch.setattr(follow, "_ROWS_AT_ONCE", 1)
    follower = Follower(store)
    for count, jobs in ((6, 3), (8, 1)):
        store.append_samples(samples_of("job-3", range(count - 2, count)))
        looks = 0
        while follower.read(0.0):
            looks += 1
            follower.fleet("2min", dt.UTC)
        assert looks == jobs
    samples = store.read_samples()
    pd.testing.assert_frame_equal(follower.samples, samples)
    pd.testing.assert_frame_equal(follower.summary, metrics.summary(samples))
    pd.testing.assert_frame_equal(follower.forecasts_of(set(samples["job_id"])), metrics.eta(samples))
    for window in ("2min", "4min"):
        pd.testing.assert_frame_equal(follower.fleet(window, dt.UTC), metrics.fleet(samples, window=window))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_counting_as_among_all_jobs(store: SampleStore, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """In whatever order samples come, a job that cannot tell how it counts takes the word of all jobs."""
    monkeypatch.setattr(follow, "_ROWS_AT_ONCE", 1)
    samples = likely(seed, count=6).drop_duplicates(["job_id", "sampled_at"])
    rng = np.random.default_rng(seed)
    # One job after the other, or some rows of each.
    comes = samples["job_id"].map(dict(zip(samples["job_id"].unique(), rng.permutation(6), strict=True)))
    if seed % 2:
        comes = rng.integers(0, 3, len(samples))
    follower = Follower(store)
    for turn in range(6):
        store.append_samples(samples[comes == turn])
        while follower.read(0.0):
            pass
        samples_so_far = store.read_samples()
        pd.testing.assert_frame_equal(follower.fleet("2min", dt.UTC), metrics.fleet(samples_so_far, window="2min"))
    everything = store.read_samples()
    pd.testing.assert_frame_equal(follower.summary, metrics.summary(everything))
    pd.testing.assert_frame_equal(follower.fleet("2min", dt.UTC), metrics.fleet(everything, window="2min"))


def test_charts_count_as_among_all_jobs(store: SampleStore) -> None:
    """What is drawn of a chosen job that cannot tell how it counts is what the metrics say of it among all jobs."""
    store.append_samples(job([0, 60], [10, 100], failed=[0, 5], total=100, status="completed", job_id="knows"))
    store.append_samples(job([0, 60], [10, 50], failed=[0, 5], total=100, percentage=0, job_id="asks"))
    with dashboard(store, key="test", refresh_s=0.02) as view:
        view.select("asks")
        until(lambda: view._shown is not None and view._shown.names == {"asks": "asks"})
        shown = view._shown
    everything = store.read_samples()
    assert shown is not None
    for own, metric in ((shown.throughput, metrics.throughput), (shown.failure_rate, metrics.failure_rate)):
        among_all = metric(everything)
        expected = among_all[among_all["job_id"] == "asks"].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, expected)
        assert not own.equals(metric(everything[everything["job_id"] == "asks"].reset_index(drop=True)))
    assert shown.by_period["finished_items"].sum() == 40


def test_following_a_store_that_is_given_older_samples(store: SampleStore) -> None:
    """Samples from a file, older than those read already, are read as well."""
    store.append_samples(samples_of("job-3", range(5, 8)))
    follower = Follower(store)
    follower.read()
    store.append_samples(samples_of("job-3", range(5)))
    follower.read()
    follower.read()
    pd.testing.assert_frame_equal(follower.samples, store.read_samples())
    assert not follower.read()


def test_a_new_view(view: LiveView) -> None:
    """Running jobs first, up to six are chosen, all charts are drawn in a fixed size, each said in words."""
    assert view.picker.selected == ("job-1", "job-2")
    assert entries(view.picker)[0].startswith("▶ Acme")
    for chart in view._charts:
        assert re.match(
            r'<figure style="margin:0;width:536px;height:310px"><img alt="[^"]{20,}" width="536"', chart.value
        )
    assert "live · last sample 14:10:00 UTC" in view._bar.status
    assert "Acme" in view._charts[0].value


def test_charts_take_turns(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is time for one chart at each look, the one that waits longest is drawn; a choice draws all."""
    monkeypatch.setattr(VIEW, "_DRAWING_S", 0.0)
    view = dashboard(store, key="test", refresh_s=60, tz="UTC")
    view._end()
    view.select("job")
    drawn = dict(view._pictures)
    assert len(drawn) == 6
    for look in range(9):
        store.append_samples(samples_of("job-1", range(6 + look, 7 + look)))
        view._refresh()
        moved = [chart for chart in range(6) if view._pictures[chart] is not drawn[chart]]
        assert moved == [[], [0], [1], [2], [3], [4], [5]][look % 7]  # the numbers come first
        drawn = dict(view._pictures)


def test_the_record_under_the_forecasts(view: LiveView, store: SampleStore) -> None:
    """Both charts of forecasts say how well they held, and say it anew when a job ends."""
    for chart in (0, 2):
        assert "80 % interval held" in view._charts[chart].value
        assert "over your last 1 job" in view._charts[chart].value
    store.append_samples(samples_of("job-1", range(6, 11), status="completed"))
    until(lambda: "over your last 2 jobs" in view._charts[0].value)
    assert view._follower.record == metrics.backtest_summary(metrics.eta_backtest(store.read_samples()))


def test_choosing_before_the_first_look(store: SampleStore) -> None:
    """`select` looks at the store itself; jobs that come soon after are chosen as they come, later ones are not."""
    with dashboard(store, key="test", refresh_s=0.02, tz="UTC") as view:
        view.select("job-2")
        assert view.picker.selected == ("job-2",)
        time.sleep(0.2)
        assert view.picker.selected == ("job-2",)


def test_choosing_jobs_that_are_still_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A choice in an empty store waits for the jobs; when they are all there, it is closed."""
    monkeypatch.setattr(VIEW, "_SETTLING_S", 0.3)
    with SampleStore(tmp_path / "new.db") as opened, dashboard(opened, key="test", refresh_s=0.02) as view:
        view.select("good")
        assert view.picker.selected == ()
        for job_id in ("good-1", "bad-1", "good-2"):
            opened.append_samples(samples_of(job_id, range(3)))
            until(lambda job_id=job_id: job_id in set(view._follower.summary["job_id"]))
        until(lambda: view.picker.selected == ("good-1", "good-2"))
        until(lambda: view._wanted is None)
        opened.append_samples(samples_of("good-3", range(3)))
        until(lambda: "good-3" in view.picker.listed)
        assert view.picker.selected == ("good-1", "good-2")


def test_rates_over_the_share_done(view: LiveView) -> None:
    """The menu of the x axis reaches the chart of rates; progress, a straight line there, stays over elapsed time."""
    view.picker.selected = ("job-2",)
    view._bar.menus["x"].value = "share"
    until(lambda: not view._behind and view._shown.settings.x == "share" and len(view._shown.summary) == 1)
    view.stop()
    drawn = []
    for chart in panels.charts_of(view._shown)[:2]:
        ax = Figure().add_subplot()
        chart.draw(ax)
        drawn.append(ax)
    x_labels = [ax.get_xlabel() for ax in drawn]
    assert x_labels == ["elapsed since the job's first sample [min]", "share done [%]"]
    assert "90 % of the steps" in [each.get_label() for each in drawn[1].collections]


def test_the_theme_of_the_page(view: LiveView) -> None:
    """As long as no theme is chosen, the charts follow the page; an export is for paper, and stays light."""
    view.stop()
    light = view._charts[0].value
    view.picker._list.is_dark = True
    dark = view._charts[0].value
    assert dark != light
    assert view._measure(view._settings(page_is_dark=False)).settings.theme == "light"
    view._bar.menus["theme"].value = "light"
    assert view._charts[0].value == light


def test_nothing_is_drawn_when_nothing_came(view: LiveView, store: SampleStore) -> None:
    """The charts change with a new sample, and not before."""
    drawn = dict(view._pictures)
    for _ in range(2):  # it goes on looking, as the seconds since the last sample show
        before = view._bar.status
        until(lambda before=before: view._bar.status != before)
    assert all(view._pictures[chart] is picture for chart, picture in drawn.items())
    store.append_samples(samples_of("job-1", range(6, 7)))
    until(lambda: all(view._pictures[chart] is not picture for chart, picture in drawn.items()))


def test_choosing_redraws(view: LiveView) -> None:
    """The charts show the chosen jobs, also after the view was stopped."""
    view.select("completed")
    until(lambda: "Acme" not in view._charts[1].value)
    view.stop()
    view.select("acme")
    assert "Acme" in view._charts[1].value


def test_settings_redraw(view: LiveView) -> None:
    """A menu changes all charts."""
    before = view._charts[1].value
    view._bar.menus["window"].value = "10min"
    until(lambda: view._charts[1].value != before)


def test_one_view_per_key(view: LiveView, store: SampleStore) -> None:
    """A second view of the same key stops the first; one of another key does not."""
    with dashboard(store, key="another", refresh_s=0.02):
        assert view.running
    with dashboard(store, key="test", refresh_s=0.02) as second:
        assert not view.running
        assert second.running


def test_stopping(view: LiveView) -> None:
    """The thread ends with it, and a second stop does no harm."""
    view.stop()
    view.stop()
    assert not any(thread.name == "mops-dashboard" for thread in threading.enumerate())
    assert "stopped" in view._bar.status
    view.start()
    assert view.running


def test_a_pause(view: LiveView, store: SampleStore) -> None:
    """The charts stand still until the view is live again."""
    view.pause()
    until(lambda: "paused" in view._bar.status)
    before = view._charts[0].value
    store.append_samples(samples_of("job-1", range(6, 8)))
    time.sleep(0.2)
    assert view._charts[0].value == before
    view.start()
    until(lambda: view._charts[0].value != before)


def test_the_button_that_says_how_the_view_stands(view: LiveView) -> None:
    """Live is marked while it is, then Pause, then Stop; the status line says the same in words, and stays one line."""

    def marked() -> dict[str, str]:
        return {name: button.button_style for name, button in view._bar._buttons.items() if button.button_style}

    until(lambda: marked() == {"● Live": "success"})
    assert "white-space:nowrap" in view._bar.status
    view.pause()
    until(lambda: marked() == {"Pause": "warning"})
    view.stop()
    assert marked() == {"Stop": "warning"}
    view._bar.say("wrong", alert=True)
    assert "nowrap" not in view._bar.status


def test_a_look_while_samples_are_taken_in(view: LiveView, store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and forecasts go together, row by row, at any moment."""
    view.stop()
    eta, found = metrics.eta, []

    def look_on(*frames: pd.DataFrame, **options: pd.DataFrame) -> pd.DataFrame:
        found.append(view._measure(view._settings(page_is_dark=False)))
        return eta(*frames, **options)

    store.append_samples(samples_of("job-1", range(6, 8)))
    monkeypatch.setattr(metrics, "eta", look_on)
    view._follower.read()
    [shown] = found
    assert len(shown.samples) == 17
    assert len(shown.table) == 17
    pd.testing.assert_frame_equal(shown.eta[["job_id", "sampled_at"]], shown.samples[["job_id", "sampled_at"]])


def test_what_could_not_be_taken_in_waits(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that were read are not lost when something goes wrong on their way to the summary."""
    follower = Follower(store)
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "eta", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            follower.read()
    assert follower.read()
    pd.testing.assert_frame_equal(follower.summary, metrics.summary(store.read_samples()))


def test_an_interrupted_run(store: SampleStore) -> None:
    """The Stop button of Jupyter ends `run`, and the view still draws what is chosen then."""
    view = dashboard(store, key="test", refresh_s=0.02, tz="UTC")
    view.stop()
    threading.Timer(1.0, _thread.interrupt_main).start()
    begun = time.monotonic()
    view.run(timeout_s=30)
    assert time.monotonic() - begun < 25
    before = view._charts[1].value
    view.select("job-2")
    assert view._charts[1].value != before


def test_waiting_for_the_end(view: LiveView, store: SampleStore) -> None:
    """`wait` returns whether all jobs have ended; then all is drawn, the record of the job that ended last too."""
    assert not view.wait(0.05)
    store.append_samples(samples_of("job-1", range(6, 11), status="completed"))
    assert view.wait(10)
    assert "over your last 2 jobs" in view._charts[0].value
    until(lambda: "all jobs have ended" in view._bar.status)


def test_an_error_in_words(view: LiveView, store: SampleStore, capsys: pytest.CaptureFixture[str]) -> None:
    """What goes wrong in the thread stands in the status line, nowhere else; the view recovers."""
    whole = store.path.with_suffix(".away")
    store.close()
    store.path.rename(whole)
    until(lambda: 'role="alert"' in view._bar.status)
    assert re.search(r"StoreError: .*; trying again in \d+ s", view._bar.status)
    whole.rename(store.path)
    until(lambda: "live" in view._bar.status)
    assert capsys.readouterr() == ("", "")


def test_a_chart_that_cannot_be_drawn(view: LiveView, store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so for as long as it stands there undrawn; the others are drawn, and so is it when it can be."""
    before = dict(view._pictures)

    def charts_of(shown: panels.Shown) -> list[panels.Chart]:
        return [panels.Chart(lambda _: 1 / 0) if at == 1 else chart for at, chart in enumerate(whole(shown))]

    whole = panels.charts_of
    with monkeypatch.context() as broken:
        broken.setattr(panels, "charts_of", charts_of)
        store.append_samples(samples_of("job-1", range(6, 7)))
        until(lambda: all(view._pictures[at] is not before[at] for at in (0, 2, 3, 4, 5)) and not view._behind)
        for _ in range(3):  # it goes on looking
            said = view._bar.status
            until(lambda said=said: view._bar.status != said)
            assert "live" in view._bar.status
            assert 'role="alert">ZeroDivisionError' in view._bar.status
        view.stop()
        assert "stopped" in view._bar.status
    view.select("job-2")
    assert view._pictures[1] is not before[1]
    assert "ZeroDivisionError" not in view._bar.status


@pytest.mark.parametrize("bad", [{"window": "bananas"}, {"refresh_s": 0}, {"theme": "sepia"}, {"tz": "Mars/Olympus"}])
def test_a_bad_setting(view: LiveView, store: SampleStore, bad: dict[str, object]) -> None:
    """It is refused at once, and the view that is there goes on."""
    with pytest.raises((SchemaError, ConfigurationError), match=f"{next(iter(bad))}: expected"):
        dashboard(store, key="test", **bad)  # type: ignore[arg-type]
    assert view.running


def test_a_choice_while_the_view_chooses(view: LiveView) -> None:
    """What the analyst clicks while jobs still come in stays chosen, at whichever moment it is clicked."""
    view.stop()

    def click() -> None:
        clicking = threading.Thread(target=lambda: setattr(view.picker, "selected", ("job-2",)))
        clicking.start()
        clicking.join()

    def wanted() -> tuple[str, ...]:
        click()
        return ("job-1",)

    view._wanted = wanted
    view._choose_wanted()
    assert view.picker.selected == ("job-2",)
    view._wanted = lambda: ("job-1",)
    view.picker.observe(lambda change: click() if change["new"] == ("job-1",) else None, "selected")
    for _ in range(2):
        view._choose_wanted()
        assert view.picker.selected == ("job-2",)


def test_six_numbers(store: SampleStore) -> None:
    """Each number says what it is, and of what."""
    failing = samples_of("job-3", range(3), status="failed", failed=5)
    store.append_samples(failing.assign(failed_items=[0, 0, 5]))
    store.append_samples(samples_of("job-4", range(6), per_minute=5))
    follower = Follower(store)
    follower.read()
    six = numbers(follower.fleet("2min", dt.UTC), {"job-4": "Acme"}, Settings(tz="UTC"))
    found = {name: (number, detail) for name, number, detail in six}
    assert found["Running"] == ("2", "0 pending")
    assert found["All done by"][0] == "14:20"
    assert found["Throughput"] == ("0.25/s", "all running jobs together")
    # 5 of the 100 + 50 + 20 + 25 items that finished; those that failed are among them.
    assert found["Failed share, last 30 min"][0] == "2.56%"
    assert found["Ended today"] == ("2", "1 well · 0 partly · 1 not")
    assert found["Slowest against its own median"][1].startswith("1.00×, now 0.")


def test_a_failed_share_that_is_surely_worse_than_usual_is_red(store: SampleStore) -> None:
    """Red only where the whole interval lies above what is usual, and no other number; nothing usual, no red."""
    follower = Follower(store)
    follower.read()
    fleet = follower.fleet("2min", dt.UTC)
    for low, worse in ((0.05, True), (0.005, False)):
        said = fleet.assign(failure_rate=0.1, failure_rate_low=low, failure_rate_high=0.2, failure_rate_usual=0.01)
        found = panels.numbers_html(numbers(said, {}, Settings(tz="UTC")), alarms=panels.alarms(said))
        assert ('--jp-error-color1,#b12a0c)" title="10%"' in found) == worse
        assert found.count("--jp-error-color1") == worse
    assert panels.alarms(fleet.assign(failure_rate_usual=np.nan)) == set()


def test_an_empty_store(tmp_path: Path) -> None:
    """A view may be there before the first sample."""
    with SampleStore(tmp_path / "new.db") as opened, dashboard(opened, key="test", refresh_s=0.02) as empty:
        until(lambda: "no sample yet" in empty._bar.status)
        assert "Error" not in empty._bar.status
        opened.append_samples(samples_of("job-1", range(3)))
        until(lambda: empty.picker.selected == ("job-1",))


def test_sampling_from_the_panel(tmp_path: Path) -> None:
    """With a client the panel samples what is typed, pauses, resumes, and says what went wrong."""
    with (
        Simulator(speed=60, stories=["clean-import", "cancelled"]) as simulator,
        SampleStore(tmp_path / "samples.db") as opened,
        JobStatusClient(base_url=simulator.url, token="any") as client,
        dashboard(opened, client, key="test", job_ids=["clean-import-1"], interval_s=0.1, refresh_s=0.02) as panel,
    ):
        row = panel.sampling
        buttons = {button.description: button for button in row.children if hasattr(button, "click")}
        until(lambda: re.search(r"sampling 1 of 1 jobs, [1-9]\d* polls", panel._bar.status))
        row.job_ids.value = "cancelled-1, ."
        buttons["Sample"].click()
        until(lambda: "job id" in panel._bar.status)
        row.job_ids.value = "cancelled-1\n"
        buttons["Sample"].click()
        assert row.job_ids.value == ""
        until(lambda: len(opened.jobs()) == 2)
        buttons["Pause sampling"].click()
        until(lambda: "2 paused" in panel._bar.status)
        buttons["Pause sampling"].click()  # once more does no harm
        polls = int(opened.jobs()["polls"].sum())
        buttons["Resume sampling"].click()
        until(lambda: opened.jobs()["polls"].sum() > polls)
        buttons["Stop sampling"].click()
        until(lambda: "sampling 0 of 2 jobs" in panel._bar.status and "paused" not in panel._bar.status)
        assert panel.running


def test_job_ids_from_a_file(tmp_path: Path) -> None:
    """A list, or a table with a column `job_id`, adds its jobs; what is neither is told in the status line."""

    def upload(content: bytes, name: str = "jobs.txt") -> None:
        file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
        panel.sampling.file.value = ({**file, "last_modified": dt.datetime.now(dt.UTC)},)

    with (
        Simulator(speed=60, stories=["clean-import", "cancelled", "slow-warm-up"]) as simulator,
        SampleStore(tmp_path / "samples.db") as opened,
        JobStatusClient(base_url=simulator.url, token="any") as client,
        dashboard(opened, client, key="test", interval_s=0.1, refresh_s=0.02) as panel,
    ):
        upload(b"\xef\xbb\xbfclean-import-1\r\ncancelled-1\r\n")
        until(lambda: len(opened.jobs()) == 2)
        upload(b'label,job_id\n"Acme, Berlin",slow-warm-up-1\n', "jobs.csv")
        until(lambda: len(opened.jobs()) == 3)
        assert panel.sampling.file.value == ()
        for content, words in (
            (b"\x89PNG\r\n", "expected a text file of job ids"),
            (b"\n", "there is no job id"),
        ):
            upload(content, "picture.png")
            until(lambda words=words: f"picture.png: {words}" in panel._bar.status)


def test_what_fails_is_said_in_words(tmp_path: Path) -> None:
    """Polls that fail stand in the status line, with the reason and the job."""
    with (
        Simulator(speed=60, stories=["clean-import"]) as simulator,
        SampleStore(tmp_path / "samples.db") as opened,
        JobStatusClient(base_url=simulator.url, token="any") as client,
        dashboard(opened, client, key="test", interval_s=0.1, refresh_s=0.02) as panel,
    ):
        panel.sampling.add(["missing-job"])
        until(lambda: "polls failed" in panel._bar.status)
        assert "missing-job: Job not found" in panel._bar.status


def test_sampling_needs_a_client(store: SampleStore) -> None:
    """Job ids without a client are refused."""
    with pytest.raises(ConfigurationError, match="sampling needs a client"):
        dashboard(store, key="test", job_ids=["job-1"])


@pytest.fixture
def seen(view: LiveView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveView:
    """The view, stopped, in a folder of its own."""
    view.stop()
    monkeypatch.chdir(tmp_path)
    return view


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_exporting_the_charts(seen: LiveView, tmp_path: Path, ending: str, begins: bytes) -> None:
    """One picture of all charts, called after its jobs and the time of the newest sample."""
    path = seen.export(ending)
    assert path == tmp_path / f"Acme-and-1-more-20261118-141000Z.{ending}"
    assert path.read_bytes().startswith(begins)
    if ending == "svg":
        text = path.read_text()
        assert "Progress" in text
        assert "Timeline" in text
        assert "17 samples" in text


def test_exporting_the_numbers(seen: LiveView) -> None:
    """Each sample of the chosen jobs with all that the charts say of it; a worksheet of the jobs beside it."""
    seen.select("acme")
    by_csv = pd.read_csv(seen.export("csv"))
    by_parquet = pd.read_parquet(seen.export("parquet"))
    sheets = pd.read_excel(seen.export("xlsx"), sheet_name=None)
    for frame in (by_csv, by_parquet, sheets["samples"]):
        assert frame["job_id"].tolist() == ["job-1"] * 6
        assert {"processed_items", "items_per_s", "eta_low", "failure_rate_high", "label"} <= set(frame.columns)
    assert sheets["jobs"]["status"].tolist() == ["in_progress"]
    pd.testing.assert_series_equal(
        by_parquet["items_per_s"],
        metrics.throughput(seen._follower.samples.head(6))["items_per_s"].reset_index(drop=True),
    )


def test_exporting_reports(seen: LiveView) -> None:
    """A page and a text on the chosen jobs, under their labels."""
    seen.select("acme")
    for ending in ("html", "md"):
        text = seen.export(ending).read_text()
        assert "Acme" in text
        assert "job-2" not in text


def test_exporting_by_the_button(seen: LiveView, tmp_path: Path) -> None:
    """The path stands there as a link that carries the file; Markdown is in a box to copy from."""
    panel = seen.exports
    panel.button.click()
    link = re.search(r'<a download="([^"]+)" href="data:image/png;base64,([^"]+)">([^<]+)</a>', panel.said.value)
    assert link is not None
    assert link[3] == str(tmp_path / link[1])
    assert base64.b64decode(link[2]) == (tmp_path / link[1]).read_bytes()
    assert panel.text.layout.display == "none"
    panel.format.value = "md"
    panel.button.click()
    assert panel.text.value == panel.path.read_text()
    assert panel.text.layout.display == ""


def test_an_export_replaces_no_file(seen: LiveView) -> None:
    """The same export twice is two files."""
    assert [seen.export("csv").stem[-2:] for _ in range(2)] == ["0Z", "-2"]


def test_a_file_name_from_a_hostile_label(store: SampleStore, tmp_path: Path) -> None:
    """A label cannot lead out of the folder."""
    with dashboard(store, key="test", labels={"job-1": "../../a b/<i>"}, refresh_s=0.02, tz="UTC") as opened:
        until(lambda: "live" in opened._bar.status)
        opened.select("job-1")
        assert opened.export("csv", folder=str(tmp_path)).name == "a-b-i-20261118-140500Z.csv"


def test_an_export_of_nothing(tmp_path: Path) -> None:
    """It is refused in words, beside the button."""
    with SampleStore(tmp_path / "new.db") as opened, dashboard(opened, key="test", refresh_s=0.02) as empty:
        empty.exports.button.click()
        assert 'role="alert">there is nothing to export yet' in empty.exports.said.value


def test_the_charts_of_one_job_and_of_several(view: LiveView) -> None:
    """Several jobs are compared by their failures; one is followed over time."""
    until(lambda: "Failures by job" in view._charts[3].value)
    view.select("acme")
    until(lambda: "Failures by job" not in view._charts[3].value)
    assert "Timeline" in view._charts[4].value
    assert "Heat map" in view._charts[5].value


def test_the_zone(view: LiveView) -> None:
    """A zone typed into its box counts for charts, list and status line; one that does not exist is told."""
    view._bar.zone.value = "Asia/Tokyo"
    until(lambda: "Asia/Tokyo" in view._charts[0].value)
    until(lambda: "23:10:00 JST" in view._bar.status)
    assert "23:10" in entries(view.picker)[1]
    view.stop()
    view._bar.zone.value = "Mars/Olympus"
    assert "expected a zone such as" in view._bar.status
    view.start()
    until(lambda: "live" in view._bar.status)
    assert "expected a zone such as" in view._bar.status  # for as long as it stands in its box
    view._bar.zone.value = "UTC"
    assert "expected a zone" not in view._bar.status


def test_following_in_the_foreground(store: SampleStore) -> None:
    """`run` needs no thread: it draws in the caller's own, until all jobs have ended or the time is over."""
    view = dashboard(store, key="test", refresh_s=0.02, tz="UTC")
    view.run(timeout_s=0.1)
    assert not any(thread.name == "mops-dashboard" for thread in threading.enumerate())
    drawn = dict(view._pictures)
    assert len(drawn) == 6
    store.append_samples(samples_of("job-1", range(6, 11), status="failed"))
    begun = time.monotonic()
    view.run(timeout_s=20)
    assert time.monotonic() - begun < 15
    assert view._pictures[0] is not drawn[0]
    assert "all jobs have ended" in view._bar.status


def test_the_page_for_a_browser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's code compiles, whatever the file is called; a store that is not there is told, and none is made."""
    store = tmp_path / 'it\'s "mine".db'
    store.touch()
    arguments = ["dashboard", "--store", str(store), "--tz", "UTC"]
    code = code_of(build_parser().parse_args(arguments))
    assert repr(str(store)) in code
    compile(code, "page", "exec")
    compile(code_of(build_parser().parse_args(["dashboard", "--simulate"])), "page", "exec")
    assert main(["dashboard", "--store", str(tmp_path / "no.db")]) == 8
    assert "mops watch JOB_ID --store no.db" in capsys.readouterr().err
    assert not (tmp_path / "no.db").exists()


#: Three pictures that wait to be sent when the kernel begins to end.
LATE = """
import atexit, time
import ipywidgets as widgets
import mops_analysis as mops
store = mops.SampleStore("samples.db")
store.append_samples(mops.load_example())
view = mops.dashboard(store, refresh_s=60)
while not view._charts[0].value: time.sleep(0.05)
time.sleep(1)  # its looks are over
def late():
    get_ipython().kernel.iopub_thread.schedule(lambda: time.sleep(1))
    for _ in range(3): widgets.Image(value=bytes(10**6))
atexit.register(late)
"""


def test_what_waits_is_sent_before_a_kernel_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages with pictures are whole, also those that a kernel has not sent when it begins to end."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jupyter_client warns of its own use of event loops and ports
        manager, kernel = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
        try:
            assert kernel.execute(LATE, reply=True, timeout=60)["content"]["status"] == "ok"
            kernel.shutdown()
            with contextlib.suppress(Empty):
                while len(sizes) < 3:
                    message = kernel.get_iopub_msg(timeout=10)
                    if message["msg_type"] == "comm_open" and message["buffers"]:
                        sizes.append([len(buffer) for buffer in message["buffers"]])
        finally:
            kernel.stop_channels()
            manager.shutdown_kernel(now=True)
    assert sizes == [[10**6]] * 3

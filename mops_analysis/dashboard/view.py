"""The live view: the picker on the left, numbers and charts of the chosen jobs on the right, one thread behind it.

The thread only reads the store, draws with figures of its own and sets traits; it never prints, never enters an
`Output` widget, and needs no event loop, so it goes on while another cell runs. Errors stand in the status line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
import pandas as pd

from mops_analysis import schema
from mops_analysis.charts.clock import zone_of
from mops_analysis.dashboard import ending, panels
from mops_analysis.dashboard.bar import ControlBar
from mops_analysis.dashboard.exporting import ExportPanel
from mops_analysis.dashboard.figures import Picture, picture
from mops_analysis.dashboard.follow import Follower
from mops_analysis.dashboard.panels import Settings, Shown
from mops_analysis.dashboard.picker import JobPicker
from mops_analysis.dashboard.sampling import SamplingPanel
from mops_analysis.dashboard.still import Still
from mops_analysis.errors import ConfigurationError
from mops_analysis.metrics.arrays import seconds

if TYPE_CHECKING:
    from mops_analysis.client import JobStatusClient
    from mops_analysis.store import SampleStore

_WIDTH = 536  # of one chart [CSS pixels]
_HEIGHT, _HEIGHT_OF_MANY = 310, 520  # where a chart has a panel or a row for each of many jobs, it needs the room
_LIST_HEIGHT = 520
_FIRST_CHOICE = 6  # jobs that one chart can tell apart by colour
_LONGEST_WAIT_S = 60.0
_SETTLING_S = 3.0  # when no new job came for so long, all that were to come are there
# The most that one look takes, so that the kernel stays free: jobs and charts that are left wait for the next.
_READING_S, _FIRST_READING_S, _DRAWING_S = 0.05, 1.0, 0.05
_LINGER_S = 30.0  # after the last job has ended, another process may still add one
_COPY_EVERY_S = 60.0  # a kernel may be gone without a word

_NUMBERS = panels.CHARTS
_PLACES = (_NUMBERS, *range(panels.CHARTS))  # what takes turns in being drawn: the numbers, and each chart

# The view of each key: a cell that is run again takes the place of its former view.
_VIEWS: dict[str, LiveView] = {}


def dashboard(
    store: SampleStore,
    client: JobStatusClient | None = None,
    *,
    key: str = "main",
    job_ids: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    refresh_s: float = 1.0,
    interval_s: float = 3.0,
    window: str = "2min",
    tz: str | None = None,
    theme: str = "auto",
) -> LiveView:
    """Show the jobs of a store while they are sampled; the last expression of a cell.

    Parameters
    ----------
    store
        Where samples arrive, from this process or another one.
    client
        With a client, the panel can sample by itself: start, pause, more jobs. Without, it only looks on.
    key
        The name of the view: a second view of the same name stops the first, so that a cell can be run again.
    job_ids
        Jobs to sample from the start; needs a client.
    labels
        Job id to the words to show for it. A name alone: unlike the column `label` of `eta` and `report`, and so of a
        report written from here, forecasts on display do not learn from jobs of the same label.
    refresh_s
        Time between two looks at the store [s]; nothing is drawn when nothing came.
    interval_s
        Time between two polls of a job, where this view samples [s].
    window
        Width of the trailing windows, as a pandas offset string.
    tz
        Zone of all times, None for the viewer's own.
    theme
        "light", "dark", or "auto" for that of the page (light where it cannot be told, as without the extra `picker`).

    Returns
    -------
    LiveView
        Running. ``view.select("failed acme")`` chooses jobs, ``view.stop()`` ends it and leaves a picture behind.

    Raises
    ------
    SchemaError
        If `window` or `refresh_s` is no duration.
    ConfigurationError
        If there is no such zone or theme, or there are job ids and no client.

    Examples
    --------
    >>> import tempfile
    >>> from mops_analysis import SampleStore, load_example
    >>> with tempfile.TemporaryDirectory() as folder, SampleStore(f"{folder}/samples.db") as store:
    ...     _ = store.append_samples(load_example())
    ...     with dashboard(store, key="example", tz="UTC") as view:
    ...         was_running = view.running
    >>> was_running, view.running
    (True, False)
    """
    seconds(window, "window")
    if theme not in ("auto", "light", "dark"):
        raise ConfigurationError(f"theme: expected 'auto', 'light' or 'dark', got {theme!r}")
    view = LiveView(
        store,
        client,
        labels=labels,
        refresh_s=seconds(refresh_s, "refresh_s"),
        interval_s=interval_s,
        settings=Settings(window=window, tz=tz, theme=theme),
    )
    if (former := _VIEWS.pop(key, None)) is not None:
        former.stop()
    _VIEWS[key] = view
    if wanted := list(job_ids):
        view.sampling.add(wanted)
    view.start()
    return view


def _end_threads() -> None:
    for view in _VIEWS.values():
        view._end()


class LiveView(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A running dashboard; made by `dashboard`. A context manager, closed by `stop`.

    Attributes
    ----------
    picker
        The `JobPicker`.
    sampling
        The row that starts and stops sampling; empty without a client.
    exports
        The `ExportPanel`.
    """

    def __init__(
        self,
        store: SampleStore,
        client: JobStatusClient | None,
        *,
        labels: Mapping[str, str] | None,
        refresh_s: float,
        interval_s: float,
        settings: Settings,
    ) -> None:
        self._follower = Follower(store)
        self._labels = dict(labels or {})
        self._refresh_s = refresh_s
        self._shown: Shown | None = None
        self._pictures: dict[int, Picture] = {}  # by the position of the chart
        self._behind = deque[int]()  # the places that do not show what is known, the one that waits longest first
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._stale = threading.Event()  # what is shown no longer is what was asked for
        self._stale.set()
        self._reading = threading.RLock()
        self._drawing = threading.Lock()
        self._paused = self._following = self._judged = False
        self._grew = -_SETTLING_S
        # Which jobs to choose as they come in; None once the analyst has chosen, or all are there.
        self._wanted: Callable[[], Iterable[str]] | None = lambda: self.picker.listed[:_FIRST_CHOICE]
        self._chooser: int | None = None  # the thread that just chooses them
        self._ended = threading.Event()
        self._still = Still()
        self._copied = -_COPY_EVERY_S
        self.sampling = SamplingPanel(store, client, interval_s=interval_s, on_change=self._wake.set)
        self.exports = ExportPanel(
            lambda: self._measure(self._settings(page_is_dark=False)), lambda: self._labelled(self._follower.samples)
        )
        self._build(settings)

    def _build(self, settings: Settings) -> None:
        no_jobs = pd.DataFrame({"job_id": [], "status": []}, dtype="string")
        self.picker = JobPicker(no_jobs, tz=settings.tz, height=_LIST_HEIGHT)
        self.picker.observe(self._on_choice, "selected")
        self.picker.observe(lambda _: self._on_change(), "is_dark")
        self._bar = ControlBar(
            settings,
            {"● Live": self.start, "Pause": self.pause, "Stop": self.stop},
            more=self.exports.controls,
            on_change=self._on_setting,
        )
        self._numbers = widgets.HTML(layout=widgets.Layout(width="auto", min_height="72px", margin="4px 0"))
        place = widgets.Layout(width=f"{_WIDTH + 4}px", height=f"{_HEIGHT + 4}px", overflow="hidden", margin="2px")
        self._place = place
        self._charts = [widgets.HTML(layout=place) for _ in range(panels.CHARTS)]
        for chart in self._charts:
            chart.add_class("mops-card")
        wrap = widgets.Layout(flex_flow="row wrap")
        beside = widgets.Layout(flex_flow="row wrap", align_content="flex-start", flex=f"1 1 {_WIDTH + 8}px")
        body = widgets.HBox([self.picker, widgets.HBox(self._charts, layout=beside)], layout=wrap)
        sampling = [self.sampling] if self.sampling.children else []
        super().__init__(children=[self._bar, *sampling, self.exports, self._numbers, body, self._still.curtain])
        self.add_class("mops-view")

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the view still follows the store."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping.is_set()

    def select(self, text: str) -> None:
        """Choose all jobs that a filter means, as `JobPicker.select`.

        Before the first look at the store it looks at once. Jobs whose first sample is still to come, as when sampling
        has just begun, are chosen as they arrive; once all are there, nothing that arrives changes the choice.
        """
        with self._reading:
            if self._follower.summary.empty:
                self._look()
            self._wanted = lambda: self.picker.matching(text)
            self._choose_wanted()

    def start(self) -> None:
        """Follow the store; nothing but the end of a pause where it does already."""
        self._paused = False
        if self.running:
            self._wake.set()
            return
        self._stopping.clear()
        self._still.hide()
        self._thread = threading.Thread(target=self._follow, name="mops-dashboard", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Let the charts stand still until `start`; sampling goes on."""
        self._paused = True
        self._wake.set()

    def stop(self) -> None:
        """End the thread, and the sampling started here; leaves a picture of what is shown. May be repeated."""
        self.sampling.stop()
        self._end()
        self._draw(float("inf"))
        self._say("stopped")
        self._leave_copy()
        self._still.unveil()

    def _end(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def run(self, timeout_s: float = float("inf")) -> None:
        """Follow the store in this very cell, until all jobs have ended, it is interrupted, or the time is over.

        For hosts that drop what a background thread sends; show the view first: ``display(view); view.run()``.

        Parameters
        ----------
        timeout_s
            The longest time to follow [s].
        """
        self._end()
        self._stopping.clear()
        self._paused = False
        with contextlib.suppress(KeyboardInterrupt):
            self._follow(linger_s=0.0, until=time.monotonic() + timeout_s)
        self._draw(float("inf"))
        self._leave_copy()

    def export(self, ending: str, *, folder: str = ".") -> Path:
        """Write a file of what is shown, as the panel's own button does; see `ExportPanel.export`.

        Parameters
        ----------
        ending
            "png", "svg", "pdf", "csv", "parquet", "xlsx", "html" or "md".
        folder
            Where to write.

        Returns
        -------
        Path
            The file.
        """
        return self.exports.export(ending, folder=folder)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Wait until all jobs of the store have ended, while the charts go on moving.

        Parameters
        ----------
        timeout_s
            The longest time to wait [s].

        Returns
        -------
        bool
            Whether they have.
        """
        return self._ended.wait(timeout_s)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _follow(self, *, linger_s: float = _LINGER_S, until: float = float("inf")) -> None:
        failures, quiet_s, self._following = 0, 0.0, True
        try:
            while not self._stopping.is_set() and quiet_s <= linger_s and time.monotonic() < until:
                wait_s, begun = self._refresh_s, time.monotonic()
                try:
                    quiet_s = quiet_s + wait_s if self._refresh() else 0.0
                    failures = 0
                    wait_s = max(wait_s, time.monotonic() - begun)  # leaves half of the time to the other threads
                except Exception as error:  # noqa: BLE001  a thread has no caller: the status line passes it on
                    failures += 1
                    wait_s = min(self._refresh_s * 2.0**failures, _LONGEST_WAIT_S)
                    self._say(f"{type(error).__name__}: {error}; trying again in {wait_s:.0f} s", alert=True)
                self._wake.wait(wait_s)
                self._wake.clear()
        finally:  # also where `run` is interrupted
            self._following = False
            self._still.unveil()

    def _refresh(self) -> bool:
        # Whether there is nothing left to follow.
        came, asked = not self._paused and self._look(), self._stale.is_set()
        if came or asked or self._judged:
            self._stale.clear()
            self._measure_anew()
        self._draw(float("inf") if asked else _DRAWING_S)
        self._judged = not self._behind and self._follower.judge()
        summary = self._follower.summary
        ended = not summary.empty and bool(summary["status"].isin(schema.TERMINAL_STATUSES).all())
        settled = ended and not (self._behind or self._judged)  # all drawn, the record of the last jobs too
        if (settled and not self._ended.is_set()) or time.monotonic() > self._copied + _COPY_EVERY_S:
            self._leave_copy()
        (self._ended.set if settled else self._ended.clear)()
        self._say("paused" if self._paused else "all jobs have ended" if ended else "live")
        return ended and not self._behind and not self.sampling.running

    def _look(self) -> bool:
        # Read the store; whether there was anything new.
        with self._reading:
            known = len(self._follower.summary)
            # As long as jobs come in for the first time, little else is worth the time.
            most_s = _READING_S if self._wanted is None else _FIRST_READING_S
            if came := self._follower.read(most_s):
                self.picker.update(self._summary())
                self._choose_wanted()
            if len(self._follower.summary) > known or self.sampling.awaits_first:
                self._grew = time.monotonic()
            elif known and time.monotonic() > self._grew + _SETTLING_S:
                self._wanted = None
        return came

    def _choose_wanted(self) -> None:
        if (wanted := self._wanted) is None:
            return
        chosen = tuple(wanted())
        if self._wanted is wanted:  # the analyst has not chosen meanwhile
            self._chooser = threading.get_ident()
            try:
                self.picker.selected = chosen
            finally:
                self._chooser = None

    def _summary(self) -> pd.DataFrame:
        return self._labelled(self._follower.summary)

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not self._labels:
            return frame
        return frame.assign(label=frame["job_id"].map(self._labels).astype("string"))

    def _measure_anew(self) -> None:
        with self._drawing:
            shown = self._shown = self._measure(self._settings(page_is_dark=self.picker.is_dark))
            self._behind.extend(place for place in _PLACES if place not in self._behind)
            height = _HEIGHT if len(shown.summary) <= _FIRST_CHOICE else _HEIGHT_OF_MANY
            self._place.height = f"{height + 4}px"

    def _draw(self, most_s: float) -> None:
        # What is behind takes turns.
        ending.end_first(_end_threads)
        end = time.monotonic() + most_s
        with self._drawing:
            while self._behind and self._shown is not None:
                place, wrong = self._behind[0], ""
                try:
                    self._draw_place(place, self._shown)
                except Exception as error:  # noqa: BLE001  a chart that cannot be drawn does not hold up the others
                    wrong = f"{type(error).__name__}: {error}"
                self._behind.popleft()
                self._bar.say_wrong(place, wrong)
                if time.monotonic() > end:
                    break

    def _draw_place(self, place: int, shown: Shown) -> None:
        if place == _NUMBERS:
            names = panels.names_of(self._summary())
            found = panels.numbers(shown.fleet, names, shown.settings)
            self._numbers.value = panels.numbers_html(found, alarms=panels.alarms(shown.fleet))
            return
        chart, theme = panels.charts_of(shown)[place], shown.settings.theme
        height = _HEIGHT if len(shown.summary) <= _FIRST_CHOICE else _HEIGHT_OF_MANY
        drawn = picture(chart.draw, width=_WIDTH, height=height, theme=theme, has_rows=chart.has_rows)
        self._pictures[place] = drawn
        self._charts[place].value = drawn.to_html()

    def _measure(self, settings: Settings) -> Shown:
        chosen, follower = set(self.picker.selected), self._follower
        with follower.lock:
            summary = self._summary()
            return Shown(
                self._labelled(follower.samples_of(chosen)),
                self._labelled(follower.forecasts_of(chosen)),
                summary[summary["job_id"].isin(chosen)],
                follower.record,
                settings,
                lambda: follower.fleet(settings.window, zone_of(settings.tz)),
                follower.rule,
            )

    def _settings(self, *, page_is_dark: bool) -> Settings:
        settings = self._bar.settings
        if settings.theme != "auto":
            return settings
        return dataclasses.replace(settings, theme="dark" if page_is_dark else "light")

    def _on_choice(self, _: object) -> None:
        if self._chooser != threading.get_ident():
            self._wanted = None
        self._on_change()

    def _on_setting(self) -> None:
        self.picker.tz = self._bar.settings.tz
        self._on_change()

    def _on_change(self) -> None:
        self._stale.set()
        if self.running or self._following:
            self._wake.set()
        else:
            self._stale.clear()
            self._measure_anew()
            self._draw(float("inf"))

    def _say(self, what: str, *, alert: bool = False) -> None:
        parts, newest = [what, *self.sampling.words()], self._follower.newest
        if newest is not None:
            ago_s = (pd.Timestamp.now("UTC") - newest).total_seconds()
            zone = zone_of(self._bar.settings.tz)
            parts.append(f"last sample {newest.tz_convert(zone):%H:%M:%S %Z}, {ago_s:.0f} s ago")
        else:
            parts.append("no sample yet")
        self._bar.say(" · ".join(parts), alert=alert)
        self._bar.mark({"live": "● Live", "paused": "Pause", "stopped": "Stop"}.get(what, ""))

    # -- what stays -----------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        # Two outputs: the widget, and a place for the picture that outlives it.
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
        self._still.show()

    def _leave_copy(self) -> None:
        newest = self._follower.newest
        if newest is None or len(self._pictures) < panels.CHARTS:
            return
        self._copied = time.monotonic()
        at = newest.tz_convert(zone_of(self._bar.settings.tz))
        head = f"The dashboard at {at:%Y-%m-%d %H:%M:%S %Z}; this copy stays when the kernel is gone"
        self._still.update(head, self._numbers.value, [self._pictures[chart] for chart in range(panels.CHARTS)])

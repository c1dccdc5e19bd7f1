"""The live view: the picker on the left, numbers and charts of the chosen jobs on the right, one thread behind it.

The thread only reads the store, draws with figures of its own and sets traits; it never prints, never enters an
`Output` widget, and needs no event loop, so it goes on while another cell runs. Errors stand in the status line.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import dataclasses
import html
import threading
import time
import zoneinfo
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from mops_analysis import schema
from mops_analysis.charts.clock import zone_of
from mops_analysis.dashboard import panels
from mops_analysis.dashboard.exporting import ExportPanel
from mops_analysis.dashboard.figures import Picture, picture
from mops_analysis.dashboard.follow import Follower
from mops_analysis.dashboard.panels import Settings, Shown
from mops_analysis.dashboard.picker import JobPicker
from mops_analysis.dashboard.sampling import SamplingPanel
from mops_analysis.errors import ConfigurationError

if TYPE_CHECKING:
    from mops_analysis.client import JobStatusClient
    from mops_analysis.store import SampleStore

_WIDTH = 536  # of one chart [CSS pixels]
_HEIGHT, _HEIGHT_OF_MANY = 310, 520  # where a chart has a panel or a row for each of many jobs, it needs the room
_LIST_HEIGHT = 520
_FIRST_CHOICE = 6  # jobs that one chart can tell apart by colour
_LONGEST_WAIT_S = 60.0
_LINGER_S = 30.0  # after the last job has ended, another process may still add one

_COPY_EVERY_S = 60.0  # a kernel may be gone without a word
_NOTHING = {"text/plain": "", "text/html": ""}

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
    theme: str = "light",
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
        Job id to the words to show for it.
    refresh_s
        Time between two looks at the store [s]; nothing is drawn when nothing came.
    interval_s
        Time between two polls of a job, where this view samples [s].
    window
        Width of the trailing windows, as a pandas offset string.
    tz
        Zone of all times, None for the viewer's own.
    theme
        "light" or "dark".

    Returns
    -------
    LiveView
        Running. ``view.select("failed acme")`` chooses jobs, ``view.stop()`` ends it and leaves a picture behind.

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
    if (former := _VIEWS.pop(key, None)) is not None:
        former.stop()
    view = LiveView(
        store,
        client,
        labels=labels,
        refresh_s=refresh_s,
        interval_s=interval_s,
        settings=Settings(window=window, tz=tz, theme=theme),
    )
    _VIEWS[key] = view
    if wanted := list(job_ids):
        view.sampling.add(wanted)
    view.start()
    return view


def _end_threads() -> None:
    for view in _VIEWS.values():
        view._end()


def _end_threads_at_exit() -> None:
    # With each drawing: it has to come before what the kernel notes for the exit once the first picture is sent.
    atexit.unregister(_end_threads)
    atexit.register(_end_threads)


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
        self._settings = settings
        self._pictures: list[Picture] = []
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._stale = threading.Event()  # what is shown no longer is what was asked for
        self._drawing = threading.Lock()
        self._paused = False
        self._has_chosen = False
        self._ended = threading.Event()
        self._copy: Any = None
        self._copied = -_COPY_EVERY_S
        self.sampling = SamplingPanel(store, client, interval_s=interval_s, on_change=self._wake.set)
        self.exports = ExportPanel(
            lambda: self._measure(set(self.picker.selected), self._settings),
            lambda: self._labelled(self._follower.samples),
        )
        self._build()

    def _build(self) -> None:
        self.picker = JobPicker(_no_jobs(), tz=self._settings.tz, height=_LIST_HEIGHT)
        self.picker.observe(self._on_change, "selected")
        self._status = widgets.HTML(layout=widgets.Layout(flex="1 1 0%", min_width="260px", margin="2px 12px"))
        self._live = widgets.Button(description="● Live", layout=_auto())
        self._live.on_click(lambda _: self.start())
        self._pause = widgets.Button(description="Pause", layout=_auto())
        self._pause.on_click(lambda _: self.pause())
        self._stop = widgets.Button(description="Stop", layout=_auto())
        self._stop.on_click(lambda _: self.stop())
        self._menu_row = self._menus()
        self._zone = self._zone_box()
        bar = widgets.HBox(
            [
                widgets.HTML("<b>MerchantOps jobs</b>"),
                self._status,
                self._live,
                self._pause,
                self._stop,
                *self._menu_row,
                self._zone,
                *self.exports.controls,
            ],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
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
        rows = [bar, *([self.sampling] if self.sampling.children else []), self.exports, self._numbers, body]
        super().__init__(children=rows)

    def _menus(self) -> list[widgets.Dropdown]:
        menus = {
            "window": [("window 30 s", "30s"), ("window 2 min", "2min"), ("window 10 min", "10min")],
            "x": [("x: clock time", "clock"), ("x: elapsed", "elapsed")],
            "theme": [("light", "light"), ("dark", "dark")],
        }
        made = []
        for name, options in menus.items():
            now = getattr(self._settings, name)
            known = options if now in dict(options).values() else [(f"{name} {now}", now), *options]
            menu = widgets.Dropdown(options=known, value=now, layout=_auto())
            menu.observe(lambda change, name=name: self._set(**{name: change["new"]}), "value")
            made.append(menu)
        return made

    def _zone_box(self) -> widgets.Combobox:
        box = widgets.Combobox(
            value=self._settings.tz or "",
            placeholder="zone: this computer's",
            options=sorted(zoneinfo.available_timezones()),
            continuous_update=False,
            layout=widgets.Layout(width="170px", margin="2px"),
        )
        box.observe(self._on_zone, "value")
        return box

    def _on_zone(self, change: dict[str, str]) -> None:
        try:
            self.picker.tz = change["new"].strip() or None
        except ConfigurationError as error:
            self._say(str(error), alert=True)
            return
        self._set(tz=self.picker.tz)

    def _set(self, **changed: Any) -> None:
        self._settings = dataclasses.replace(self._settings, **changed)
        self._on_change()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the view still follows the store."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping.is_set()

    def select(self, text: str) -> None:
        """Choose all jobs that a filter means, as `JobPicker.select`."""
        self.picker.select(text)

    def start(self) -> None:
        """Follow the store; nothing but the end of a pause where it does already."""
        self._paused = False
        if self.running:
            self._wake.set()
            return
        self._stopping.clear()
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
        self._say("stopped")
        self._leave_copy()

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
        failures, quiet_s = 0, 0.0
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

    def _refresh(self) -> bool:
        # Whether there is nothing left to follow.
        if not self._paused and self._follower.read():
            self._stale.set()
            self.picker.update(self._summary())
            self._choose_first()
        if self._stale.is_set():
            self._draw()
        summary = self._follower.summary
        ended = not summary.empty and bool(summary["status"].isin(schema.TERMINAL_STATUSES).all())
        if (ended and not self._ended.is_set()) or time.monotonic() > self._copied + _COPY_EVERY_S:
            self._leave_copy()
        (self._ended.set if ended else self._ended.clear)()
        self._say("paused" if self._paused else "all jobs have ended" if ended else "live")
        return ended and not self.sampling.running

    def _summary(self) -> pd.DataFrame:
        return self._labelled(self._follower.summary)

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not self._labels:
            return frame
        return frame.assign(label=frame["job_id"].map(self._labels).astype("string"))

    def _choose_first(self) -> None:
        if not self._has_chosen and not self._follower.summary.empty:
            self._has_chosen = True
            if not self.picker.selected:
                self.picker.selected = self.picker.listed[:_FIRST_CHOICE]

    def _draw(self) -> None:
        _end_threads_at_exit()
        with self._drawing:
            self._stale.clear()
            chosen, settings = set(self.picker.selected), self._settings
            shown = self._measure(chosen, settings)
            names = panels.names_of(self._summary())
            self._numbers.value = panels.numbers_html(panels.numbers(shown.fleet, names, settings))
            height = _HEIGHT if len(shown.summary) <= _FIRST_CHOICE else _HEIGHT_OF_MANY
            self._place.height = f"{height + 4}px"
            self._pictures = []
            for place, chart in zip(self._charts, panels.charts_of(shown), strict=True):
                look: dict[str, Any] = {"theme": settings.theme, "has_rows": chart.has_rows}
                drawn = picture(chart.draw, width=_WIDTH, height=height, **look)
                self._pictures.append(drawn)
                place.value = drawn.to_html()

    def _measure(self, chosen: set[str], settings: Settings) -> Shown:
        samples, summary = self._follower.samples, self._summary()
        return Shown(
            self._labelled(samples[samples["job_id"].isin(chosen)]),
            summary[summary["job_id"].isin(chosen)],
            self._follower.fleet(settings.window, zone_of(settings.tz)),
            settings,
        )

    def _on_change(self, _: object = None) -> None:
        self._has_chosen = True
        self._stale.set()
        if self.running:
            self._wake.set()
        else:
            self._draw()

    def _say(self, what: str, *, alert: bool = False) -> None:
        samples = self._follower.samples
        newest = samples["sampled_at"].max() if len(samples) else None
        parts = [what, *self.sampling.words()]
        if newest is not None:
            ago_s = (pd.Timestamp.now("UTC") - newest).total_seconds()
            zone = zone_of(self._settings.tz)
            parts.append(f"last sample {newest.tz_convert(zone):%H:%M:%S %Z}, {ago_s:.0f} s ago")
        else:
            parts.append("no sample yet")
        role = 'role="alert"' if alert else 'role="status" aria-live="off"'
        self._status.value = f'<div class="mops-note" {role}>{html.escape(" · ".join(parts))}</div>'

    # -- what stays -----------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        # Two outputs: the widget, and a place for the picture that outlives it.
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
        self._copy = display(_NOTHING, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def _leave_copy(self) -> None:
        if self._copy is None or not self._pictures:
            return
        self._copied = time.monotonic()
        samples = self._follower.samples
        newest = samples["sampled_at"].max().tz_convert(zone_of(self._settings.tz))
        head = f"The dashboard at {newest:%Y-%m-%d %H:%M:%S %Z}; this copy stays when the kernel is gone"
        pictures = "".join(each.to_html() for each in self._pictures)
        body = f"<details><summary>{head}</summary>{self._numbers.value}{pictures}</details>"
        self._copy.update(
            {
                "text/html": body,
                "image/png": base64.b64encode(self._pictures[0].png).decode("ascii"),
                "text/plain": "\n".join([head, *(each.alt for each in self._pictures)]),
            },
            raw=True,
        )


def _auto() -> widgets.Layout:
    return widgets.Layout(width="auto", margin="2px")


def _no_jobs() -> pd.DataFrame:
    return pd.DataFrame({"job_id": [], "status": []}, dtype="string")

"""Choosing jobs: a filter, a list and a few buttons around one set of job ids."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets
import pandas as pd
import traitlets

from mops_analysis import schema
from mops_analysis.charts.clock import zone_of
from mops_analysis.charts.palette import status_colour, status_mark
from mops_analysis.dashboard import figures, matching
from mops_analysis.dashboard.jobs import is_samples, jobs_of, slowest
from mops_analysis.errors import SchemaError

#: A browser's own list of more rows than this is slow, and nobody reads it: typing narrows it.
MAX_SHOWN = 200
# With anywidget, only the rows in view are drawn.
_MAX_LISTED = 20_000

_BAR_CELLS = 6
_NAME_CELLS = 24
_BLANK = "\u00a0"  # a list entry swallows plain blanks
_INVISIBLE = "\u200b"  # makes equal entries differ: the list widget tells its entries apart by their text

# The list is the one place where columns must stand under each other; widgets have no trait for a list's font.
_STYLE = """<style>
.mops-jobs select { font-family: var(--jp-code-font-family, monospace); font-size: 12px; padding: 2px; }
.mops-jobs option { padding: 3px 4px; }
.mops-chip { font-size: 12px; border-radius: 10px; line-height: 20px; height: 22px; }
.mops-preset { font-size: 12px; padding: 0 7px; height: 24px; line-height: 24px; }
.mops-card { border: 1px solid var(--jp-border-color2, currentColor); border-radius: 4px; }
.mops-note { font-size: 12px; line-height: 1.4; color: var(--jp-ui-font-color2, inherit); }
.mops-note code { font-size: 11px; }
</style>"""


class JobPicker(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A panel to choose jobs in: by typing, by clicking, or by code.

    The choice is a set of job ids of its own: filtering the list, or new samples arriving, never changes it.

    Parameters
    ----------
    jobs
        Samples, a summary or `SampleStore.jobs()`: what there is to choose from. It is not changed.
    selected
        Job ids chosen from the start.
    tz
        Zone of the clock times in the list, None for the viewer's own.
    height
        Of the list [CSS pixels].

    Attributes
    ----------
    selected
        The chosen job ids, a sorted tuple; a trait: ``picker.observe(function, "selected")``. It may be set.
    filter
        The text box. Words are ANDed; ``status:failed,cancelled``, ``label:acme`` and ``id:8f21`` look in one column.
        The Enter key chooses all jobs that match.
    is_dark
        Whether the page that shows it is dark; a trait. Only the list for the keyboard can tell.

    Raises
    ------
    SchemaError
        If the frame is neither samples nor one row per job.

    Notes
    -----
    JupyterLab takes letters as its own commands while a plain list or a button has the focus: ``x`` there cuts the
    cell. The text box is safe, and with Enter it is all that a keyboard needs. With the extra ``picker`` (anywidget)
    the list is safe as well: arrows, Space, Shift, Ctrl+A, Escape and "/" work in it, and no key leaves it; nor does a
    letter leave the buttons and menus around it.

    Examples
    --------
    >>> jobs = pd.DataFrame({"job_id": ["job-1", "job-2"], "status": ["failed", "in_progress"]})
    >>> picker = JobPicker(jobs)
    >>> picker.select("failed")
    >>> picker.selected
    ('job-1',)
    """

    selected = traitlets.Tuple()
    is_dark = traitlets.Bool(False)

    def __init__(
        self, jobs: pd.DataFrame, *, selected: Iterable[str] = (), tz: str | None = None, height: int = 228
    ) -> None:
        self._tz = tz
        self._height = height
        self._samples = jobs if isinstance(jobs, pd.DataFrame) and is_samples(jobs) else None
        self._jobs = jobs_of(jobs)
        self._matches: list[int] = []
        # A live view updates from its thread while the analyst clicks in the kernel's.
        self._lock = threading.RLock()
        self._busy = False
        self._chips: dict[str, Any] = {}
        self._build()
        super().__init__(
            children=[self.filter, self._chip_row, self._count, self._list, self._buttons, self._call, self._keys],
            layout=widgets.Layout(width="356px", flex="0 0 auto", margin="0 8px 0 0"),
        )
        self.add_class("mops-picker")
        self.selected = tuple(selected)
        self.observe(self._on_selected, "selected")
        self._index_jobs()

    def _build(self) -> None:
        full = widgets.Layout(width="auto", margin="2px 0")
        self.filter = widgets.Text(placeholder="filter: failed acme, status:in_progress", layout=full)
        self.filter.tooltip = "Words must all match an id, label or status; Enter chooses all matches"
        self.filter.observe(self._on_filter, "value")
        self.filter.on_msg(self._on_filter_message)
        self._chip_row = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap", width="auto"))
        self._count = widgets.HTML(layout=full)
        self._list, self._most, keys = _new_list(self._height)
        self._keys = widgets.HTML(f'<div class="mops-note">{keys}</div>', layout=full)
        self._list.observe(self._on_list, "value")
        if self._list.has_trait("is_dark"):
            traitlets.dlink((self._list, "is_dark"), (self, "is_dark"))
        self._call = widgets.HTML(layout=full)
        presets = {
            "all matches": self._choose_matches,
            "none": lambda: self._choose(()),
            "running": lambda: self.select("status:in_progress"),
            "failed": lambda: self.select("status:failed"),
            "slowest five": lambda: self._choose(slowest(self._jobs, 5)),
        }
        self._buttons = widgets.HBox(
            [_button(name, act) for name, act in presets.items()],
            layout=widgets.Layout(flex_flow="row wrap", width="auto"),
        )

    @traitlets.validate("selected")
    def _sorted_ids(self, proposal: dict[str, Any]) -> tuple[str, ...]:
        return tuple(sorted(set(proposal["value"])))

    @property
    def tz(self) -> str | None:
        """Zone of the clock times in the list; may be set."""
        return self._tz

    @tz.setter
    def tz(self, tz: str | None) -> None:
        zone_of(tz)
        with self._lock:
            self._tz = tz
            self._show_matches()

    @property
    def samples(self) -> pd.DataFrame:
        """The samples of the chosen jobs, under their own index.

        Raises
        ------
        SchemaError
            If the picker was made from one row per job.
        """
        if self._samples is None:
            raise SchemaError("this picker knows jobs, not samples: make it from samples, or filter them by .selected")
        return self._samples[self._samples["job_id"].isin(self.selected)]

    @property
    def listed(self) -> tuple[str, ...]:
        """The job ids that match the filter, in the order of the list."""
        return self._ids(self._matches)

    def select(self, text: str) -> None:
        """Choose all jobs that a filter means, and no others.

        Parameters
        ----------
        text
            As typed into the filter box; empty for all jobs.
        """
        self._choose(self.matching(text))

    def matching(self, text: str) -> tuple[str, ...]:
        """Return the job ids that a filter means, in the order of the list."""
        return self._ids(self._matching(text))

    def update(self, jobs: pd.DataFrame) -> None:
        """Show newer facts about the jobs; what is chosen and what is typed stays.

        Parameters
        ----------
        jobs
            As for the picker itself. Only what differs is sent to the browser.
        """
        rows = jobs_of(jobs)
        with self._lock:
            self._samples = jobs if is_samples(jobs) else self._samples
            self._jobs = rows
            self._index_jobs()

    def chart(self, draw: Callable[[pd.DataFrame, Any], object], *, height: int = 380) -> widgets.HBox:
        """Put a chart beside the picker that follows the choice.

        Parameters
        ----------
        draw
            Called with the samples of the chosen jobs and the Axes to draw on.
        height
            Of the chart [CSS pixels].

        Returns
        -------
        HBox
            The picker and the chart.
        """
        figure = widgets.HTML(layout=widgets.Layout(min_height=f"{height + 8}px"))

        def redraw(_: object = None) -> None:
            drawn = figures.picture(lambda ax: draw(self.samples, ax), width=640, height=height)
            figure.value = drawn.to_html()

        self.observe(redraw, "selected")
        redraw()
        return widgets.HBox([self, figure], layout=widgets.Layout(flex_flow="row wrap"))

    def _ids(self, positions: Iterable[int]) -> tuple[str, ...]:
        ids = self._id_column
        return tuple(ids[position] for position in positions)

    def _choose(self, ids: Iterable[str]) -> None:
        self.selected = tuple(ids)

    def _choose_matches(self) -> None:
        self._choose(self.listed)

    def _matching(self, text: str) -> list[int]:
        ids, labels, statuses = self._search
        return matching.matches(text, ids=ids, labels=labels, statuses=statuses)

    def _on_filter(self, _: object) -> None:
        with self._lock:
            self._show_matches()

    def _on_filter_message(self, _: object, content: dict[str, Any], __: object) -> None:
        if content.get("event") == "submit":
            self._choose_matches()

    def _on_selected(self, _: object) -> None:
        with self._lock:
            self._show_selection()

    def _on_list(self, change: dict[str, Any]) -> None:
        with self._lock:
            if self._busy:
                return
            chosen = set(self.selected).difference(self._shown).union(change["new"])
        self._choose(chosen)

    def _index_jobs(self) -> None:
        jobs = self._jobs
        self._id_column = jobs["job_id"].tolist()
        columns = [jobs[name].fillna("").str.lower().tolist() for name in ("job_id", "label", "status")]
        self._search = (columns[0], columns[1], columns[2])
        self._update_chips()
        self._show_matches()

    def _update_chips(self) -> None:
        counts = self._jobs["status"].value_counts()
        order = list(dict.fromkeys(self._jobs["status"]))
        for status in order:
            if status not in self._chips:
                self._chips[status] = self._chip(status)
        for status, chip in self._chips.items():
            _set(chip, description=f"{status_mark(status)} {status} {counts.get(status, 0):,}")
        _set(self._chip_row, children=tuple(self._chips.values()))

    def _chip(self, status: str) -> widgets.ToggleButton:
        chip = widgets.ToggleButton(
            tooltip=f"show {status} jobs only",
            layout=widgets.Layout(
                width="auto", margin="2px 4px 2px 0", border_left=f"4px solid {status_colour(status)}"
            ),
        )
        chip.add_class("mops-chip")

        def toggle(change: dict[str, Any]) -> None:
            if not self._busy and change["new"] != (status in matching.statuses_of(self.filter.value)):
                self.filter.value = matching.toggled(self.filter.value, status)

        chip.observe(toggle, "value")
        return chip

    def _show_matches(self) -> None:
        text = self.filter.value
        self._matches = self._matching(text)
        positions = self._matches[: self._most]
        self._shown = set(self._ids(positions))
        entries = tuple(zip(self._entries(positions), self._ids(positions), strict=True))
        self._busy = True
        named = matching.statuses_of(text)
        for status, chip in self._chips.items():
            _set(chip, value=status in named)
        if entries != self._list.options:
            # One message for both, or the browser would show an empty choice in between.
            with self._list.hold_sync():
                self._list.options = entries
                self._list.index = self._chosen_rows(positions)
        self._busy = False
        self._show_selection()

    def _chosen_rows(self, positions: Iterable[int]) -> tuple[int, ...]:
        chosen = set(self.selected)
        return tuple(row for row, job_id in enumerate(self._ids(positions)) if job_id in chosen)

    def _show_selection(self) -> None:
        self._busy = True
        _set(self._list, index=self._chosen_rows(self._matches[: self._most]))
        self._busy = False
        shown = f"; the first {self._most} are listed" if len(self._matches) > self._most else ""
        line = f"{len(self._matches):,} of {len(self._jobs):,} jobs match{shown} · {len(self.selected):,} selected"
        _set(self._count, value=f'{_STYLE}<div class="mops-note" role="status">{line}</div>')
        call = html.escape(f".select({json.dumps(self.filter.value, ensure_ascii=False)})", quote=False)
        _set(self._call, value=f'<div class="mops-note">all matches, in code: <code>{call}</code></div>')

    def _entries(self, positions: list[int]) -> list[str]:
        rows = self._jobs.iloc[positions]
        repeated = set(self._jobs["label"][self._jobs["label"].duplicated(keep=False)].dropna())
        names = [
            job_id if pd.isna(label) or not label else f"{label} {job_id}" if label in repeated else label
            for job_id, label in zip(rows["job_id"], rows["label"], strict=True)
        ]
        width = min(max(map(len, names), default=0), _NAME_CELLS)
        whens = self._when(rows)
        entries = [
            f"{status_mark(status):2}{_cut(name, width)} {_bar(share)} {when}"
            for status, name, share, when in zip(rows["status"], names, rows["share_done"], whens, strict=True)
        ]
        return _told_apart([entry.replace(" ", _BLANK) for entry in entries])

    def _when(self, rows: pd.DataFrame) -> list[str]:
        times = rows["eta"].fillna(rows["ended_before"]).dt.tz_convert(zone_of(self._tz))
        return [f"{time:%H:%M}" if not pd.isna(time) else "" for time in times]


_TYPED = "Enter in the box above chooses all matches."
_KEYS = "In the list: arrows move, Space chooses, Shift extends, Ctrl+A all, Esc none, / filters; no key leaves it. "


def _new_list(height: int) -> tuple[Any, int, str]:
    """The list, how many rows it may have, and what its keys do; with anywidget it is one for the keyboard."""
    try:
        from mops_analysis.dashboard.listbox import ListBox
    except ImportError:
        plain = widgets.SelectMultiple(rows=12, layout=widgets.Layout(width="auto", height=f"{height}px"))
        plain.add_class("mops-jobs")
        return plain, MAX_SHOWN, _TYPED
    colours = {status_mark(status): status_colour(status) for status in schema.STATUSES}
    return ListBox(height=height, colours=colours), _MAX_LISTED, _KEYS + _TYPED


def _button(name: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=name, layout=widgets.Layout(width="auto", margin="2px 3px 2px 0"))
    button.add_class("mops-preset")
    button.on_click(lambda _: act())
    return button


def _set(widget: Any, **traits: object) -> None:
    for name, value in traits.items():
        if getattr(widget, name) != value:
            setattr(widget, name, value)


def _cut(name: str, width: int) -> str:
    if len(name) <= width:
        return name.ljust(width)
    return name[: width - 9] + "…" + name[-8:]


def _bar(share: float) -> str:
    if pd.isna(share):
        return " " * (_BAR_CELLS + 5)
    filled = min(max(int(share * _BAR_CELLS), 0), _BAR_CELLS)
    return "█" * filled + "░" * (_BAR_CELLS - filled) + f"{share:5.0%}"


def _told_apart(entries: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for row, entry in enumerate(entries):
        seen[entry] = seen.get(entry, -1) + 1
        entries[row] = entry + _INVISIBLE * seen[entry]
    return entries

"""Sampling from the panel: start, pause, stop, and more jobs, where a client was given."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import ipywidgets as widgets

from mops_analysis.errors import ConfigurationError, MopsError
from mops_analysis.sampler import Sampler

if TYPE_CHECKING:
    from mops_analysis.client import JobStatusClient
    from mops_analysis.store import SampleStore


class SamplingPanel(widgets.HBox):  # type: ignore[misc]  # ipywidgets has no types
    """A row with a box for job ids and the buttons that sample them; without a client it is empty.

    Attributes
    ----------
    job_ids
        The box: ids parted by blanks, commas or lines.
    file
        The button that takes ids from a file: a list of the same kind, or CSV with a column `job_id`.
    """

    def __init__(
        self,
        store: SampleStore,
        client: JobStatusClient | None,
        *,
        interval_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self._sampler = None if client is None else Sampler(client, store, interval_s)
        self._on_change = on_change
        self._paused: list[str] = []
        self._error = ""
        # Of several lines, as a pasted list has them; JupyterLab leaves its keys alone.
        box = widgets.Layout(width="330px", height="30px", margin="2px")
        self.job_ids = widgets.Textarea(placeholder="job ids: type or paste a list", rows=1, layout=box)
        auto = widgets.Layout(width="auto", margin="2px")
        self.file = widgets.FileUpload(description="ids from a file", accept=".txt,.csv,text/*", layout=auto)
        self.file.observe(lambda change: self._try(self._add_file) if change["new"] else None, "value")
        self._interval = widgets.BoundedFloatText(
            interval_s, min=0.1, max=3600, description="every [s]", layout=widgets.Layout(width="150px")
        )
        self._interval.observe(self._on_interval, "value")
        super().__init__(
            children=[]
            if self._sampler is None
            else [
                self.job_ids,
                self._button("Sample", self._add_typed),
                self.file,
                self._button("Pause sampling", self.pause),
                self._button("Resume sampling", self.resume),
                self._button("Stop sampling", self.stop),
                self._interval,
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )

    def _button(self, name: str, act: Callable[[], None]) -> widgets.Button:
        button = widgets.Button(description=name, layout=widgets.Layout(width="auto", margin="2px"))
        button.on_click(lambda _: self._try(act))
        return button

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
            self._error = ""
        except MopsError as error:
            self._error = str(error)
        self._on_change()

    @property
    def running(self) -> bool:
        """Whether this panel samples."""
        return self._sampler is not None and self._sampler.running

    @property
    def awaits_first(self) -> bool:
        """Whether the first poll of a job is still to come back."""
        outcomes = [] if self._sampler is None else self._sampler.outcomes()
        return any(each.outcome == "running" and each.polls == 0 for each in outcomes)

    def add(self, job_ids: Iterable[str]) -> None:
        """Sample these jobs as well.

        Raises
        ------
        ConfigurationError
            If there is no client, or an id cannot be asked for.
        StoreError
            If another process samples one of them already.
        """
        if self._sampler is None:
            raise ConfigurationError("sampling needs a client: dashboard(store, client)")
        self._sampler.add(job_ids)

    def pause(self) -> None:
        """Stop polling, and remember which jobs were polled."""
        if self._sampler is not None and self._sampler.running:
            self._paused = [each.job_id for each in self._sampler.outcomes() if each.outcome == "running"]
            self._sampler.stop()

    def resume(self) -> None:
        """Poll the jobs again that `pause` left."""
        if self._paused:
            self.add(self._paused)
            self._paused = []

    def stop(self) -> None:
        """Stop polling, for good: nothing is left to resume."""
        self._paused = []
        if self._sampler is not None:
            self._sampler.stop()

    def words(self) -> list[str]:
        """Say how the sampling stands, for the status line."""
        if self._sampler is None:
            return []
        outcomes = self._sampler.outcomes()
        running = [each for each in outcomes if each.outcome == "running"]
        failures = sum(each.failures for each in outcomes)
        told = [f"sampling {len(running)} of {len(outcomes)} jobs, {sum(each.polls for each in outcomes)} polls"]
        if failures:
            newest = next((f"{each.job_id}: {each.detail}" for each in outcomes if each.fault), None)
            told.append(f"{failures} polls failed" + (f", {newest}" if newest else ""))
        waits = [each.next_poll_in_s for each in running if each.next_poll_in_s == each.next_poll_in_s]
        if waits:
            told.append(f"next poll in {min(waits):.0f} s")
        if self._paused:
            told.append(f"{len(self._paused)} paused")
        if self._sampler.error is not None:
            told.append(f"sampling ended: {self._sampler.error}")
        return [*told, *([self._error] if self._error else [])]

    def _add_typed(self) -> None:
        self.add(ids_in(self.job_ids.value))
        self.job_ids.value = ""

    def _add_file(self) -> None:
        (file,) = self.file.value
        self.file.value = ()
        try:
            text = bytes(file["content"]).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{file['name']}: expected a text file of job ids, got something else") from None
        if not (found := ids_in(text)):
            raise ConfigurationError(f"{file['name']}: there is no job id in it")
        self.add(found)

    def _on_interval(self, change: dict[str, float]) -> None:
        if self._sampler is not None:
            self._sampler.interval_s = change["new"]


def ids_in(text: str) -> list[str]:
    r"""Return the job ids of a list parted by blanks, commas or lines, or of the column `job_id` of CSV; each once.

    Examples
    --------
    >>> ids_in("job-1, job-2\njob-1")
    ['job-1', 'job-2']
    >>> ids_in("label,job_id\nAcme,job-1\nGlobex,job-2\n")
    ['job-1', 'job-2']
    """
    lines = text.splitlines()
    if lines and "job_id" in next(csv.reader(lines[:1])):
        found = [row["job_id"] or "" for row in csv.DictReader(lines)]
    else:
        found = re.split(r"[\s,;]+", text)
    return list(dict.fromkeys(each.strip() for each in found if each.strip()))

"""Sampling from the panel: start, pause, and more jobs, where a client was given."""

from __future__ import annotations

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
        self.job_ids = widgets.Text(placeholder="job ids to sample", layout=widgets.Layout(width="330px"))
        self.job_ids.on_msg(self._on_message)
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
                self._button("Pause sampling", self.pause),
                self._button("Resume", self.resume),
                self._interval,
            ]
        )

    def _button(self, name: str, act: Callable[[], None]) -> widgets.Button:
        def click(_: object) -> None:
            try:
                act()
                self._error = ""
            except MopsError as error:
                self._error = str(error)
            self._on_change()

        button = widgets.Button(description=name, layout=widgets.Layout(width="auto", margin="2px"))
        button.on_click(click)
        return button

    @property
    def running(self) -> bool:
        """Whether this panel samples."""
        return self._sampler is not None and self._sampler.running

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
        if self._sampler is not None:
            self._paused = [each.job_id for each in self._sampler.outcomes() if each.outcome == "running"]
            self._sampler.stop()

    def resume(self) -> None:
        """Poll the jobs again that `pause` left."""
        if self._paused:
            self.add(self._paused)
            self._paused = []

    def stop(self) -> None:
        """Stop polling."""
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
            newest = next((each.detail for each in outcomes if each.fault), None)
            told.append(f"{failures} polls failed" + (f", {newest}" if newest else ""))
        waits = [each.next_poll_in_s for each in running if each.next_poll_in_s == each.next_poll_in_s]
        if waits:
            told.append(f"next poll in {min(waits):.0f} s")
        if self._paused:
            told.append(f"{len(self._paused)} paused")
        if self._sampler.error is not None:
            told.append(f"sampling ended: {self._sampler.error}")
        return [*told, *([self._error] if self._error else [])]

    def _on_message(self, _: object, content: dict[str, object], __: object) -> None:
        if content.get("event") == "submit":
            self.children[1].click()

    def _add_typed(self) -> None:
        self.add([each for each in re.split(r"[\s,;]+", self.job_ids.value) if each])
        self.job_ids.value = ""

    def _on_interval(self, change: dict[str, float]) -> None:
        if self._sampler is not None:
            self._sampler.interval_s = change["new"]

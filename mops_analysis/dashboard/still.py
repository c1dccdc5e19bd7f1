"""The picture that outlives its widget: a second output below the view, brought up to date now and then."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from mops_analysis.dashboard.figures import Picture

_NOTHING = {"text/plain": "", "text/html": ""}


class Still:
    """A static copy of the view, hidden from a page for as long as the view itself lives there.

    Attributes
    ----------
    curtain
        An invisible widget of the view that hides the copy. Widgets go with their kernel, and so does the curtain.
    """

    def __init__(self) -> None:
        self._name = f"mops-still-{uuid.uuid4().hex}"
        self._output: Any = None
        self.curtain = widgets.HTML(layout=widgets.Layout(display="none"))

    def show(self) -> None:
        """Take a place below the output of the running cell."""
        from IPython.display import display

        self._output = display(_NOTHING, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def hide(self) -> None:
        """Draw the curtain: the view is there to be looked at."""
        self.curtain.value = f"<style>.{self._name} {{ display: none }}</style>"

    def unveil(self) -> None:
        """Show what is left of the view."""
        self.curtain.value = ""

    def update(self, head: str, numbers: str, pictures: Sequence[Picture]) -> None:
        """Put these words, numbers (HTML) and charts in its place, if it has one."""
        if self._output is None:
            return
        charts = "".join(each.to_html() for each in pictures)
        body = f"<details><summary>{head}</summary>{numbers}{charts}</details>"
        self._output.update(
            {
                "text/html": f'<div class="{self._name}">{body}</div>',
                "image/png": base64.b64encode(pictures[0].png).decode("ascii"),
                "text/plain": "\n".join([head, *(each.alt for each in pictures)]),
            },
            raw=True,
        )

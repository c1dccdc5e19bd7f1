"""The list of jobs that a keyboard can work: no key of it reaches the notebook. Needs anywidget, an extra."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anywidget
import traitlets


class ListBox(anywidget.AnyWidget):
    """A list of several choices, with the traits of `SelectMultiple`; draws only the rows in view.

    Arrows, Page Up and Down, Home and End move, with Shift they choose on the way; Space chooses one, Ctrl+A all,
    Escape none; "/" leads to the filter.

    Attributes
    ----------
    options
        Pairs of text and job id.
    value
        The chosen ids; a trait, as both ends may change it.
    colours
        Mark to the colour of it and of the bar of what is done.
    is_dark
        Whether the page is dark; a trait that the page sets.
    """

    _esm = (Path(__file__).parent / "listbox.js").read_text(encoding="utf-8")
    options = traitlets.Tuple().tag(sync=True)
    value = traitlets.Tuple().tag(sync=True)
    height = traitlets.Int(228).tag(sync=True)
    colours = traitlets.Dict().tag(sync=True)
    is_dark = traitlets.Bool(False).tag(sync=True)

    @property
    def index(self) -> tuple[int, ...]:
        """The chosen rows; may be set."""
        chosen = set(self.value)
        return tuple(row for row, (_, job_id) in enumerate(self.options) if job_id in chosen)

    @index.setter
    def index(self, rows: Iterable[int]) -> None:
        self.value = tuple(self.options[row][1] for row in rows)

"""The bar on top of the live view: how it stands, its buttons, and the menus that all charts obey."""

from __future__ import annotations

import dataclasses
import html
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from mops_analysis.charts.clock import zone_of
from mops_analysis.dashboard.panels import Settings
from mops_analysis.errors import ConfigurationError

_MENUS = {
    "window": [("window 30 s", "30s"), ("window 2 min", "2min"), ("window 10 min", "10min")],
    "x": [("x: clock time", "clock"), ("x: elapsed", "elapsed"), ("x: share done", "share")],
    "theme": [("theme: auto", "auto"), ("light", "light"), ("dark", "dark")],
}


class ControlBar(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The status line, the buttons, and what the analyst has set.

    Attributes
    ----------
    settings
        What is set now.
    menus
        Name of a setting to its menu.
    zone
        The box of the zone, in which any may be typed.
    """

    def __init__(
        self,
        settings: Settings,
        buttons: Mapping[str, Callable[[], None]],
        *,
        more: tuple[widgets.Widget, ...],
        on_change: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._on_change = on_change
        # On a line of its own: it changes every second, and nothing beside it must move.
        self._status = widgets.HTML(layout=widgets.Layout(width="auto", min_height="20px", margin="0 2px"))
        # On another: what is wrong stands still there, and is read out once.
        self._wrong = widgets.HTML(layout=widgets.Layout(width="auto", margin="0 2px", display="none"))
        self._wrongs: dict[object, str] = {}
        self.menus = {name: self._menu(name, options) for name, options in _MENUS.items()}
        self.zone = self._zone_box()
        title = widgets.HTML("<b>MerchantOps jobs</b>", layout=widgets.Layout(flex="1 1 auto", margin="2px"))
        self._buttons = {name: _button(name, act) for name, act in buttons.items()}
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        row = widgets.HBox([title, *self._buttons.values(), *self.menus.values(), self.zone, *more], layout=wrap)
        super().__init__(children=[row, self._status, self._wrong])

    @property
    def status(self) -> str:
        """The status line, and below it what is wrong, as HTML."""
        return f"{self._status.value}{self._wrong.value}"

    def say(self, words: str, *, alert: bool = False) -> None:
        """Write the status line; an alert is read out at once. Without one it stays one line, so that nothing moves."""
        role = 'role="alert"' if alert else f'role="status" aria-live="off" title="{html.escape(words)}" {_ONE_LINE}'
        self._status.value = _note(words, role)

    def mark(self, name: str) -> None:
        """Colour the button of this name, which says how the view stands; none where there is no such button."""
        for each, button in self._buttons.items():
            button.button_style = _STYLES.get(each, "") if each == name else ""

    def say_wrong(self, about: object, words: str) -> None:
        """Let it stand below the status line what is wrong with something, until there are no words about it."""
        self._wrongs[about] = words
        told = dict.fromkeys(filter(None, self._wrongs.values()))
        self._wrong.value = _note(" · ".join(told), 'role="alert"') if told else ""
        self._wrong.layout.display = "" if told else "none"

    def _menu(self, name: str, options: list[tuple[str, str]]) -> widgets.Dropdown:
        now = getattr(self.settings, name)
        known = options if now in dict(options).values() else [(f"{name} {now}", now), *options]
        menu = widgets.Dropdown(options=known, value=now, layout=_auto())
        menu.observe(lambda change: self._set(**{name: change["new"]}), "value")
        return menu

    def _zone_box(self) -> widgets.Combobox:
        box = widgets.Combobox(
            value=self.settings.tz or "",
            placeholder="zone: this computer's",
            options=sorted(zoneinfo.available_timezones()),
            continuous_update=False,
            layout=widgets.Layout(width="170px", margin="2px"),
        )
        box.observe(lambda change: self._on_zone(change["new"].strip() or None), "value")
        return box

    def _on_zone(self, tz: str | None) -> None:
        try:
            zone_of(tz)
        except ConfigurationError as error:
            self.say_wrong(self.zone, str(error))
            return
        self.say_wrong(self.zone, "")
        self._set(tz=tz)

    def _set(self, **changed: Any) -> None:
        self.settings = dataclasses.replace(self.settings, **changed)
        self._on_change()


_STYLES = {"● Live": "success", "Pause": "warning", "Stop": "warning"}
_ONE_LINE = 'style="white-space:nowrap;overflow:hidden;text-overflow:ellipsis"'


def _note(words: str, role: str) -> str:
    return f'<div class="mops-note" {role}>{html.escape(words)}</div>'


def _button(name: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=name, layout=_auto())
    button.on_click(lambda _: act())
    return button


def _auto() -> widgets.Layout:
    return widgets.Layout(width="auto", margin="2px")

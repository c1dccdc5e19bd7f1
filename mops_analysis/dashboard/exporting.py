"""Files from the panel: what is seen as a picture, the numbers behind it as a table, and reports."""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from mops_analysis.charts.clock import zone_of
from mops_analysis.dashboard.figures import sheet
from mops_analysis.dashboard.panels import Shown, charts_of
from mops_analysis.errors import ConfigurationError, MopsError, SchemaError
from mops_analysis.report import export, report

_PICTURES = ("png", "svg", "pdf")
_TABLES = ("csv", "parquet", "xlsx")
_REPORTS = ("html", "md")
_FORMATS = {
    "PNG of the charts": "png",
    "SVG of the charts": "svg",
    "PDF of the charts": "pdf",
    "CSV of the numbers": "csv",
    "Parquet of the numbers": "parquet",
    "XLSX of the numbers": "xlsx",
    "HTML report": "html",
    "Markdown to copy": "md",
}

_WIDTH, _HEIGHT = 640, 360  # of one chart in a file [CSS pixels]
_NAME_LONGEST = 60
_EMBEDDED_MOST = 8_000_000  # bytes; a larger file is not carried to the browser
_COPIED_MOST = 200_000  # letters


class ExportPanel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The file that was written, as a link; its menu of formats and its button stand wherever the view puts them.

    Attributes
    ----------
    controls
        The menu and the button.
    path
        The newest file, None before the first.
    """

    def __init__(self, shown: Callable[[], Shown], everything: Callable[[], pd.DataFrame]) -> None:
        self._shown = shown
        self._everything = everything
        self.path: Path | None = None
        auto = widgets.Layout(width="auto", margin="2px")
        self.format = widgets.Dropdown(options=list(_FORMATS.items()), value="png", layout=auto)
        self.button = widgets.Button(description="Export", button_style="primary", layout=auto)
        self.button.on_click(lambda _: self._on_click())
        self.said = widgets.HTML(layout=widgets.Layout(flex="1 1 auto", margin="2px 12px"))
        # A text box keeps its keys; a copy needs nothing but Ctrl+A and Ctrl+C.
        self.text = widgets.Textarea(layout=widgets.Layout(width="auto", height="160px", display="none"))
        self.controls = (self.format, self.button)
        super().__init__(children=[self.said, self.text])

    def export(self, ending: str, *, folder: str | Path = ".") -> Path:
        """Write a file of what is shown.

        Parameters
        ----------
        ending
            "png", "svg" or "pdf" for the charts; "csv", "parquet" or "xlsx" for the numbers behind them; "html" or
            "md" for a report on the chosen jobs.
        folder
            Where to write. The name of the file says which jobs and when; no older file is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ConfigurationError
            If the ending is none of these, or the package that writes it is not installed.
        SchemaError
            If nothing is shown yet, or there is too much of it for the format.
        """
        shown = self._shown()
        if shown.samples.empty:
            raise SchemaError("there is nothing to export yet: choose a job that has samples")
        if ending not in (*_PICTURES, *_TABLES, *_REPORTS):
            raise ConfigurationError(f"expected one of {', '.join(_FORMATS.values())}, got {ending!r}")
        path = _unused(Path(folder).resolve(), _name(shown), ending)
        if ending in _REPORTS:
            settings = shown.settings
            chosen = sorted(set(shown.samples["job_id"]))
            return report(self._everything(), path, job_ids=chosen, window=settings.window, tz=settings.tz)
        return export(_content(shown, ending), path, about=f"{len(shown.samples):,} samples")

    def _on_click(self) -> None:
        try:
            self.path = self.export(self.format.value)
            is_text = self.path.suffix == ".md"
            self.text.value = self.path.read_text(encoding="utf-8")[:_COPIED_MOST] if is_text else ""
            self.text.layout.display = "" if is_text else "none"
            self.said.value = f'<div class="mops-note" role="status">{_link(self.path)}</div>'
        except (MopsError, OSError) as error:
            self.said.value = f'<div class="mops-note" role="alert">{html.escape(str(error))}</div>'


def _content(shown: Shown, ending: str) -> Any:
    if ending in _PICTURES:
        title = f"Dashboard of {len(shown.summary):,} jobs"
        return sheet(charts_of(shown), title=title, width=_WIDTH, height=_HEIGHT, theme=shown.settings.theme)
    if ending == "xlsx":
        return {"jobs": shown.summary, "samples": shown.table}
    return shown.table


def _name(shown: Shown) -> str:
    """The jobs and the time of the newest sample, as a file may be called anywhere."""
    names = list(shown.names.values())
    first = re.sub(r"[^A-Za-z0-9._-]+", "-", names[0]).strip("-.")[:_NAME_LONGEST] or "job"
    more = f"-and-{len(names) - 1}-more" if len(names) > 1 else ""
    newest = shown.samples["sampled_at"].max().tz_convert(zone_of(shown.settings.tz))
    return f"{first}{more}-{newest:%Y%m%d-%H%M%S%z}".replace("+0000", "Z")


def _unused(folder: Path, name: str, ending: str) -> Path:
    path, again = folder / f"{name}.{ending}", 1
    while path.exists():
        again += 1
        path = folder / f"{name}-{again}.{ending}"
    return path


def _link(path: Path) -> str:
    """The path; a click on it saves the file from the browser, wherever the kernel runs."""
    size = path.stat().st_size
    words = html.escape(str(path))
    if size > _EMBEDDED_MOST:
        return f"{words} (too large to be saved from here)"
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    name = html.escape(path.name)
    return f'wrote <a download="{name}" href="data:{kind};base64,{data}">{words}</a>'

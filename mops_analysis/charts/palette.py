"""Every colour, mark and dash of the charts.

The status colours keep CIEDE2000 >= 18 between every two of them, the series colours >= 25, for normal, protan, deutan
and tritan vision (`tests/test_palette.py` computes it again). Nor does any chart speak by colour alone: each status has
its own mark, each of up to six jobs its own dash and marker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mops_analysis.errors import ConfigurationError

__all__ = ["DARK", "DASHES", "LIGHT", "MARKERS", "Theme", "status_colour", "status_mark", "theme_named"]

#: Dash of the first to the sixth job of an overlay, as matplotlib has them.
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "solid",
    (0, (5, 1.8)),
    (0, (1.2, 1.4)),
    (0, (6, 1.6, 1.2, 1.6)),
    (0, (9, 2.5)),
    (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5)),
)

#: Marker of the first to the sixth job of an overlay.
MARKERS = ("o", "s", "^", "D", "v", "P")

_MARKS = {
    "pending": "○",
    "in_progress": "▶",
    "awaiting_review": "❚❚",
    "completed": "✔",
    "completed_with_warnings": "✓",
    "partial_success": "◐",
    "failed": "✖",
    "cancelled": "⊘",
}

# Words that share the colour of another: six colours can be told apart by everyone, eight cannot.
_FAMILY = {
    "awaiting_review": "partial_success",
    "completed_with_warnings": "completed",
    "canceled": "cancelled",
}


@dataclass(frozen=True)
class Theme:
    """The colours of one theme.

    Attributes
    ----------
    paper, ink, muted, faint, grid
        Background; text; less important text; axes and poll rates; grid lines.
    hatch
        The hatching of a gap without samples.
    main
        The line of a single job.
    alarm
        What is worse than its baseline.
    baseline
        What is usual, to compare with.
    status
        Status word to colour.
    series
        Colours of the first to the sixth job of an overlay.
    """

    paper: str
    ink: str
    muted: str
    faint: str
    grid: str
    hatch: str
    main: str
    alarm: str
    baseline: str
    status: Mapping[str, str]
    series: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1b1f27",
    muted="#5a6170",
    faint="#aab2bf",
    grid="#e5e8ec",
    hatch="#d3d7de",
    main="#2652b7",
    alarm="#b12a0c",
    baseline="#6b4aa0",
    status=MappingProxyType(
        {
            "pending": "#a1abb7",
            "in_progress": "#2652b7",
            "completed": "#00986e",
            "partial_success": "#dbaf03",
            "failed": "#b12a0c",
            "cancelled": "#3f4146",
        }
    ),
    series=("#1db0ff", "#ffa90e", "#6b10ec", "#0f7402", "#5c4652", "#8f8e89"),
)

DARK = replace(
    LIGHT,
    paper="#111111",
    ink="#f1f3f6",
    muted="#a8b0bc",
    faint="#69717d",
    grid="#2a2e35",
    hatch="#3a3f48",
    main="#3885e6",
    alarm="#e64338",
    baseline="#b79be8",
    status=MappingProxyType(
        {
            "pending": "#c7d5e2",
            "in_progress": "#3885e6",
            "completed": "#15d69d",
            "partial_success": "#ffe32a",
            "failed": "#e64338",
            "cancelled": "#676e76",
        }
    ),
    series=("#68e4ff", "#ffff00", "#6971ff", "#c7390d", "#e5a29a", "#766973"),
)


def theme_named(theme: str) -> Theme:
    """Return the theme "light" or "dark".

    Raises
    ------
    ConfigurationError
        For any other word.
    """
    if theme not in ("light", "dark"):
        raise ConfigurationError(f"theme: expected 'light' or 'dark', got {theme!r}")
    return LIGHT if theme == "light" else DARK


def status_colour(status: str, theme: Theme = LIGHT) -> str:
    """Return the colour of a status; a word that we do not know has that of "pending".

    Examples
    --------
    >>> status_colour("completed"), status_colour("paused") == status_colour("pending")
    ('#00986e', True)
    """
    return theme.status.get(_FAMILY.get(status, status), theme.status["pending"])


def status_mark(status: str) -> str:
    """Return the mark of a status; a word that we do not know has "?".

    Examples
    --------
    >>> status_mark("completed"), status_mark("paused")
    ('✔', '?')
    """
    return _MARKS.get("cancelled" if status == "canceled" else status, "?")

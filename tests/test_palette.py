"""The colours are told apart by everyone: CIEDE2000 under normal and three kinds of colour-deficient vision."""

from itertools import combinations

import numpy as np
import pytest

from mops_analysis import schema
from mops_analysis.charts import palette
from mops_analysis.errors import ConfigurationError

# G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE TVCG 15(6), 2009: the matrices for severity 1.0, applied to linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear_rgb(colour):
    encoded = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(linear):
    """CIE L*a*b*, D65 white, from linear sRGB (IEC 61966-2-1)."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    ratios = to_xyz @ np.clip(linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one, two):
    """G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 Color-Difference Formula", Color Res. Appl. 30(1), 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean_c7 / (mean_c7 + 25**7)))
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, (1 + g) * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    r_c = 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    r_t = -np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2)))) * r_c
    return np.sqrt((d_l / s_l) ** 2 + (d_c / s_c) ** 2 + (d_h / s_h) ** 2 + r_t * (d_c / s_c) * (d_h / s_h))


def worst_pair(colours, vision):
    seen = [lab(VISIONS[vision] @ linear_rgb(colour)) for colour in colours]
    return min(ciede2000(one, two) for one, two in combinations(seen, 2))


def contrast(one, two):
    """WCAG 2.2 contrast ratio."""
    bright, dark = sorted((float(linear_rgb(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_formula_gives_the_published_values(one, two, expected):
    """Rows 1, 13, 17 and 34 of table 1 of the paper."""
    assert ciede2000(one, two) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_every_two_statuses_can_be_told_apart(theme, vision):
    """The worst pair of status colours differs by at least 18."""
    assert worst_pair(theme.status.values(), vision) >= 18


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_every_two_jobs_can_be_told_apart(theme, vision):
    """The worst pair of series colours differs by at least 25."""
    assert worst_pair(theme.series, vision) >= 25


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_text_is_legible(theme):
    """Text keeps the contrast that WCAG asks for (4.5), lines theirs (3)."""
    assert min(contrast(theme.paper, colour) for colour in (theme.ink, theme.muted, theme.alarm)) >= 4.5
    assert min(contrast(theme.paper, colour) for colour in (theme.main, theme.baseline)) >= 3


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_six_jobs_differ_in_colour_dash_and_marker(theme):
    """No two of six jobs share any of the three."""
    for looks in (theme.series, palette.DASHES, palette.MARKERS):
        assert len(set(looks)) == 6


def test_each_status_has_a_mark_of_its_own():
    """The eight documented statuses have eight marks."""
    assert len({palette.status_mark(status) for status in schema.STATUSES} - {"?"}) == 8


def test_an_unknown_status_has_a_colour_and_a_question_mark():
    """A word that we do not know is drawn, not refused."""
    assert (palette.status_mark("paused"), palette.status_colour("paused")) == ("?", palette.LIGHT.status["pending"])


def test_an_unknown_theme_is_refused():
    """Only light and dark exist."""
    with pytest.raises(ConfigurationError, match="'light' or 'dark'"):
        palette.theme_named("sepia")

"""Colours of families of methods: seen on the paper, told apart by the colour-blind."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from bench.reports.page import template

# linear RGB as it is seen, severity 1 (Machado, Oliveira and Fernandes, 2009, table 1)
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def colours(theme: str) -> dict[str, str]:
    style = (template.ASSETS / "page.css").read_text()
    light, rest = style.split(':root[data-theme="dark"]')
    text = light if theme == "light" else rest.split("}")[0]
    return dict(re.findall(r"--([a-z]+[-\d]*): (#[0-9a-f]{6})", text))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_families_are_told_apart(theme: str, sight: str) -> None:
    seen = [lab(SIGHT[sight] @ linear(colours(theme)[f"f{family}-0"])) for family in range(6)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_are_seen_on_the_paper(theme: str) -> None:
    found = colours(theme)
    paper = TO_XYZ[1] @ linear(found["paper"])
    shades = [name for name in found if re.fullmatch(r"f\d-\d", name)]
    assert len(shades) == 18
    for name in [*shades, "ink", "muted", "accent", "good", "part", "bad"]:
        low, high = sorted((paper, TO_XYZ[1] @ linear(found[name])))
        assert (high + 0.05) / (low + 0.05) >= (3 if name in shades else 4.5), name  # WCAG 2.2, 1.4.11 and 1.4.3

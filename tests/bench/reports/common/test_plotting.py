from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.reports.common.plotting import SHADES, family_place, legend, legend_entries, method_styles, save
from bench.reports.page import template
from bench.results.labels import BESIDE, METHOD_ORDER
from bench.results.methods import FAMILIES, FISHER


def two_panels() -> Figure:
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2], label="a")
    right.plot([1, 2], label="a")
    right.plot([2, 1], label="b")
    return figure


def test_one_legend_for_all_panels() -> None:
    figure = two_panels()
    entries = legend_entries(figure.axes)
    assert list(entries) == ["a", "b"]
    legend(figure, entries, columns=8)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    plt.close(figure)


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    written = save(two_panels(), tmp_path / "figure")
    assert [path.name for path in written] == ["figure.png", "figure.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in save(two_panels(), tmp_path / "figure")] == first
    assert not plt.get_fignums(), "figures are closed"


def test_every_method_has_a_look_of_its_own() -> None:
    """Families by colour; within one no two have the same marker, so that colour alone tells no method."""
    names = [*METHOD_ORDER, *BESIDE]
    places = {name: family_place(name) for name in names}
    assert None not in places.values()
    assert len(set(places.values())) == len(names)
    styles = dict(zip(names, method_styles(names), strict=True))
    for name, (family, _) in places.items():
        assert styles[name].color in SHADES[family]
        alike = [
            other for other, (of, _) in places.items() if of == family and styles[other].marker == styles[name].marker
        ]
        assert alike == [name]


def test_lines_that_come_again_and_pruners_of_users_look_different() -> None:
    looks = method_styles(["CAP", "Mine", "CAP", "WF", "Yours", "CAP"])
    assert len(set(looks)) == 6
    assert [look.color in SHADES[FISHER] for look in looks] == [True, False, True, True, False, True]
    assert looks[3] == method_styles(["WF"])[0], "a method looks the same in every figure"


def test_families_have_the_colours_of_the_page() -> None:
    """Those of its light theme, of which another test says that the colour-blind can tell them apart."""
    style = (template.ASSETS / "page.css").read_text().split(':root[data-theme="dark"]')[0]
    for number, family in enumerate(FAMILIES):
        assert SHADES[family] == tuple(re.findall(rf"--f{number}-\d: (#[0-9a-f]{{6}})", style))

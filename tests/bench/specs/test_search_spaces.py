from __future__ import annotations

import itertools
import json

import pytest

import cap
from bench.core.errors import UserError
from bench.specs.profiles import EMBEDDED
from bench.specs.search_spaces import SearchSpace, authors_configuration, configurations, search_spaces


def as_text(values: object) -> str:
    return json.dumps(values, sort_keys=True)


def test_the_authors_values_come_first_and_the_others_are_drawn_without_replacement() -> None:
    axes = {"a": (1, 2, 3), "pair": ({"b": 1, "c": 1}, {"b": 2, "c": 4}), "d": (True, False)}
    space = SearchSpace({"a": 2, "b": 2, "c": 4, "d": True, "e": "kept"}, axes)
    every = [{"a": a, **pair, "d": d, "e": "kept"} for a, pair, d in itertools.product(*axes.values())]
    drawn = space.draw(12, seed=0)
    assert drawn[0] == space.authors
    assert sorted(map(as_text, drawn)) == sorted(map(as_text, every)), "a space of as many is run whole"
    few = space.draw(5, seed=0)
    assert few == drawn[:5], "more are drawn after these"
    assert space.draw(5, seed=0) == few
    assert space.draw(5, seed=1) != few
    assert SearchSpace({"a": 9}, {"a": (1, 2)}).draw(12, 0)[0] == {"a": 9}, "the authors' may lie outside"
    assert SearchSpace().draw(12, 0) == [{}]


@pytest.mark.parametrize("images", [1024, 5])
def test_every_pruner_has_a_space_of_valid_settings(images: int) -> None:
    assert sorted([*search_spaces(images), "compose"]) == cap.available()
    for pruner, space in search_spaces(images).items():
        for values in space.draw(10**4, 0):
            options = {key: value for key, value in values.items() if not key.startswith("calibration.")}
            cap.create(pruner, **options)
            assert (options.get("num_gradients") or 0) <= images


def test_an_absolute_dampening_of_the_authors_is_that_of_batches() -> None:
    """1e-8 and 1e-5 for means of 128 and of 400 images in the papers' code."""
    found = {name: authors_configuration(EMBEDDED, name).pruner_options for name in ("cap", "woodfisher", "fastcap")}
    assert found["cap"]["damp"] == pytest.approx(1.28e-6)
    assert found["woodfisher"]["damp"] == pytest.approx(4e-3)
    assert found["fastcap"]["damp"] == 1e-2, "relative already"
    assert found["cap"]["num_recomputations"] == 1, "all options, with the defaults of the others"


def test_settings_of_the_calibration_are_told_from_options() -> None:
    found = configurations(EMBEDDED, "cap", 10**4, 0)
    assert found[0].calibration == EMBEDDED.calibration
    kinds = {(one.calibration.gradient, one.calibration.label_source) for one in found}
    assert kinds == {("sample", "given"), ("sample", "drawn"), ("batch", "given")}
    assert {one.calibration.images for one in found} == {EMBEDDED.calibration.images}, "all see as many images"
    assert not any(key.startswith("calibration") for one in found for key in one.pruner_options)


def test_a_users_class_declares_its_own_space(mine: str) -> None:
    found = configurations(EMBEDDED, f"{mine}:Mine", 12, 0)
    assert len(found) == 6
    assert found[0].pruner_options == {"power": 1.0, "other": 3}, "its defaults first"
    values = {(one.pruner_options["power"], one.calibration.label_source) for one in found}
    assert values == set(itertools.product((0.5, 1.0, 2.0), ("given", "drawn")))
    assert authors_configuration(EMBEDDED, f"{mine}:Plain").pruner_options == {"power": 1.0, "other": 3}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Plain", "mine.py:Plain declares no search space: give its class an attribute search_space = {option: "),
        ("NoMapping", "search_space is a list: it must be {option: .values.}, or calibration.NAME"),
        ("Unknown", "search_space has 'powr', which is none of power, other, calibration.images, "),
        ("NoField", "search_space has 'calibration.size', which is none of power"),
        ("Empty", "search_space of 'power' is .., which|search_space of 'power' is ..: it must be a list of some"),
        ("Wrong", "power=7 is not valid: it is odd"),
        ("WrongImages", "mine.py:WrongImages: calibration: images: Input should be greater than or equal to 1"),
        ("Needy", "option power has no default, which its settings begin with"),
        ("Yours", "has no pruner class 'Yours'; it has Mine"),
    ],
)
def test_a_space_that_is_not_valid_is_one_line(mine: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        configurations(EMBEDDED, f"{mine}:{name}", 12, 0)
    assert "\n" not in str(caught.value)

from __future__ import annotations

from bench.results.settings import Settings, baseline_of, names_of, numeric, sort_key, value_text

STAR = [
    Settings(values)
    for values in ({"m": 64, "damp": 0.1}, {"m": 16, "damp": 0.1}, {"m": 64, "damp": 1.0}, {"m": 256, "damp": 0.1})
]


def test_inner_objects_are_flattened() -> None:
    settings = Settings.from_json('{"lr": 0.1, "augmentation": {"shift": 2, "flip": {"p": 0.5}}, "steps": [1, 2]}')
    assert settings == {"lr": 0.1, "augmentation.shift": 2, "augmentation.flip.p": 0.5, "steps": [1, 2]}
    assert Settings.from_json(settings.to_json()) == settings
    assert Settings.from_json(None) == Settings.from_json(float("nan")) == {}


def test_parts_of_settings() -> None:
    settings = Settings({"a": 1, "b": 2})
    assert settings | {"c": 3, "a": 4} == {"a": 4, "b": 2, "c": 3}
    assert settings == {"a": 1, "b": 2}, "unchanged"
    assert list(settings.select(["b", "x", "a"])) == ["b", "a"]
    assert settings.without("a") == {"b": 2}
    assert settings.differing({"b": 3, "a": 1, "c": 0}) == ["b", "c"]
    assert names_of([settings, Settings({"c": 1, "a": 1})]) == ["a", "b", "c"]


def test_a_base_is_what_all_others_differ_from_in_one_setting() -> None:
    assert baseline_of(STAR) == STAR[0]
    assert baseline_of([*STAR, Settings({"m": 16, "damp": 1.0})]) is None
    assert baseline_of(STAR[:3]) is None, "too few to tell"
    assert baseline_of([Settings({"m": m}) for m in range(5)]) is None, "each would do"


def test_values_in_words_and_in_order() -> None:
    assert [value_text(value) for value in (1e-07, 64, "light1", None, [0.5, 0.9])] == [
        "1e-07", "64", "light1", "null", "[0.5, 0.9]",
    ]  # fmt: skip
    assert sorted(["b", 10, 9.5, "a"], key=sort_key) == [9.5, 10, "a", "b"]
    assert numeric([1, 2.5])
    assert not numeric([1, "a"])
    assert not numeric([1, True])

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cap import NM, Blocks, Units, UnitsThen, Unstructured, parse_pattern
from cap.patterns import as_pattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("0.75", Unstructured(0.75)),
        ("0", Unstructured(0.0)),
        ("0.5@layer", Unstructured(0.5, scope="layer")),
        ("0.5@erk", Unstructured(0.5, scope="erk")),
        ("0.5@blocks4", Blocks(4, 0.5)),
        ("0.5@units", Units(0.5)),
        ("0.25@units+0.5", UnitsThen(Units(0.25), Unstructured(0.5))),
        ("0.25@units+0.5@layer", UnitsThen(Units(0.25), Unstructured(0.5, scope="layer"))),
        ("2:4", NM(2, 4)),
        ("4:8", NM(4, 8)),
        ("0.12345678", Unstructured(0.12345678)),
        ("0.9999999", Unstructured(0.9999999)),
    ],
)
def test_parse(text: str, pattern: object) -> None:
    assert parse_pattern(text) == pattern
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "-0.1",
        "nan",
        "4:2",
        "0:4",
        "4:4",
        "half",
        "0.5@rows",
        "0.5@blocks0",
        "1.5@units",
        "0.5@units+",
        "0.5@units+2:4",
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|sparsity|block size"):
        parse_pattern(text)


@given(st.floats(max_value=0, exclude_max=True) | st.floats(min_value=1))
def test_sparsity_is_a_fraction(sparsity: float) -> None:
    with pytest.raises(ValueError, match="fraction of zeros"):
        Unstructured(sparsity)


def test_n_of_nm_is_the_number_kept() -> None:
    assert NM(1, 4).sparsity == 0.75


def test_sparsity_of_two_steps_is_that_of_both() -> None:
    assert UnitsThen(Units(0.25), Unstructured(0.5)).sparsity == 0.625


def test_scope_is_checked() -> None:
    with pytest.raises(ValueError, match="choose from global, layer, erk"):
        Unstructured(0.5, scope="row")


def test_what_stands_for_a_pattern() -> None:
    assert as_pattern(0.5) == Unstructured(0.5)
    assert as_pattern(0) == Unstructured(0.0)
    assert as_pattern("2:4") == NM(2, 4)
    assert as_pattern(Blocks(4, 0.5)) == Blocks(4, 0.5)
    for wrong in (None, True, [0.5], NM):
        with pytest.raises(ValueError, match=r"is no pattern: give a sparsity like 0\.75, a text like '2:4'"):
            as_pattern(wrong)

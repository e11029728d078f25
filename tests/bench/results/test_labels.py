from __future__ import annotations

import pytest

from bench.results.labels import kind, label, method_order, pattern_in_words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("0.75", "75 %"), ("0.98@layer", "98 % per layer"), ("0.5@erk", "50 % ERK"), ("0.5@blocks4", "50 % blocks of 4"),
     ("2:4", "2:4"), ("0.5@units", "50 % units"), ("0.25@units+0.5", "25 % units, then 50 %")],
)  # fmt: skip
def test_patterns_in_words(pattern: str, words: str) -> None:
    assert pattern_in_words(pattern) == words


def test_names_of_pruners() -> None:
    assert label("sparsegpt") == "SparseGPT"
    assert label("somebody_elses") == "somebody_elses"
    assert label("path/to/my_pruner.py:Mine") == "Mine"
    assert sorted(["OBC", "Mine", "WF-1", "WF", "UM", "CAP", "GM"], key=method_order) == [
        "GM", "UM", "WF", "WF-1", "CAP", "OBC", "Mine",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("0.75", "global"), ("0.75@global", "global"), ("0.98@layer", "layer"), ("0.5@erk", "erk"),
     ("0.5@blocks4", "blocks4"), ("2:4", "N:M"), ("0.5@units", "units"),
     ("0.5@units+0.5", "units, then")],
)  # fmt: skip
def test_kinds_of_patterns(pattern: str, expected: str) -> None:
    assert kind(pattern) == expected


def test_what_is_no_pattern_has_no_words() -> None:
    with pytest.raises(ValueError, match="is no pattern: write"):
        pattern_in_words("0.5@row")

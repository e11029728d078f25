from __future__ import annotations

from bench.results.methods import AUTHORS, TUNED, UNKNOWN, setting_of
from bench.results.settings import Settings


def test_a_row_that_says_whose_its_options_are_is_believed() -> None:
    theirs = Settings({"block_size": 192, "damp": 1e-8, "num_gradients": 4096})
    assert setting_of("cap", theirs) == setting_of("cap", theirs, None) == setting_of("cap", theirs, float("nan"))
    assert setting_of("cap", theirs) == AUTHORS
    assert setting_of("cap", theirs, "tuned") == TUNED
    assert setting_of("cap", Settings({"damp": 1.0}), "authors") == AUTHORS
    assert setting_of("magnitude", Settings(), "tuned") == TUNED
    assert setting_of("magnitude", Settings()) == UNKNOWN

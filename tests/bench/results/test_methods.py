from __future__ import annotations

from bench.results.methods import AUTHORS, METHODS, PROFILE, TUNED, UNKNOWN, setting_of
from bench.results.references import REFERENCES, bibtex
from bench.results.settings import Settings


def test_a_row_that_says_whose_its_options_are_is_believed() -> None:
    theirs = Settings({"block_size": 192, "damp": 1e-8, "num_gradients": 4096})
    assert setting_of("cap", theirs) == setting_of("cap", theirs, None) == setting_of("cap", theirs, float("nan"))
    assert setting_of("cap", theirs) == AUTHORS
    assert setting_of("cap", theirs, "tuned") == TUNED
    assert setting_of("cap", Settings({"damp": 1.0}), "authors") == AUTHORS
    assert setting_of("magnitude", Settings(), "tuned") == TUNED
    assert setting_of("magnitude", Settings()) == UNKNOWN
    assert setting_of("cap", theirs | {"damp": 1.0}) == PROFILE, "nobody searched for it"


def test_every_method_with_a_paper_can_be_cited() -> None:
    assert {facts.source for facts in METHODS.values() if facts.source} == set(REFERENCES)


def test_a_method_is_cited_where_it_was_first_described() -> None:
    first, restated = bibtex("2501.18980").split("\n\n")
    assert first.startswith("@inproceedings{zhang2024,")
    assert "Plug-and-Play" in first
    assert restated.startswith("@misc{yi2025arxiv250118980,")
    assert r"Richt{\'a}rik" in restated

from __future__ import annotations

from pathlib import Path

import pytest

from bench.reports.sweep.claims import CLAIMS, claims


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_only_finished_models_count(make, frame, status: str) -> None:
    rows = frame(make("cap", "0.75", [80.0]), make("magnitude", "0.75", [1.0], status=status))
    assert claims(rows) == []


def test_every_module_of_a_claim_is_in_the_order() -> None:
    folder = Path(str(claims.__code__.co_filename)).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "wording", "finding", "verdict"}
    assert {claim.__module__.rpartition(".")[2] for claim in CLAIMS} == modules


def test_sentences_come_in_order(make, frame) -> None:
    rows = frame(
        make("cap", "0.75", [80.0]), make("cap", "0.75", [89.5], phase="finetuned"), make("magnitude", "0.75", [60.0]),
        make("cap", "2:4", [80.0], violations=0),
    )  # fmt: skip
    assert [claim[:2] for claim in claims(rows)] == ["C1", "C2", "C4"]

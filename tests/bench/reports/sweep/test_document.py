from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.reports.common.text import insert_text
from bench.reports.sweep import claims
from bench.reports.sweep.document import document_text, phase_tables
from bench.reports.sweep.summary import SweepResults, summarise
from bench.results.validity import INVALID


@pytest.fixture
def rows(seeded, frame):
    """Two dense models of each of two architectures, three pruners one-shot and fine-tuned, and the control."""
    return frame(*(
        seeded(pruner, pattern, [top1 - drop, top1 - drop + 0.1], model=model, phase=phase)
        for model in ("vit", "convnext")
        for phase, drop in (("one_shot", 5.0), ("finetuned", 1.0))
        for pruner, pattern, top1 in (
            ("magnitude", "0.0", 95.0), ("magnitude", "0.75", 80.0), ("magnitude", "0.9", 60.0),
            ("cap", "0.75", 88.0), ("cap", "0.9", 70.0), ("alps", "0.75@layer", 88.0), ("alps", "0.9@layer", 71.0),
        )
    ))  # fmt: skip


def test_a_table_a_phase_has_models_as_columns_and_marks_the_best(rows) -> None:
    tables = phase_tables(summarise(rows))
    assert list(tables) == ["Top-1 one-shot, mean of the dense models", "Top-1 fine-tuned, mean of the dense models"]
    one_shot, finetuned = tables.values()
    assert list(one_shot) == ["pruner", "vit 75 %", "vit 90 %", "convnext 75 %", "convnext 90 %"]
    assert one_shot.to_numpy().tolist() == [
        ["dense", "90.00", "90.00", "90.00", "90.00"],
        ["GM", "75.05", "55.05", "75.05", "55.05"],
        ["CAP", "**83.05**", "65.05", "**83.05**", "65.05"],
        ["ALPS (per layer)", "**83.05**", "**66.05**", "**83.05**", "**66.05**"],
    ]
    assert finetuned["pruner"].tolist() == ["dense", "dense, fine-tuned", "GM", "CAP", "ALPS (per layer)"]
    assert finetuned["vit 90 %"].tolist()[:2] == ["90.00", "94.05"]


def test_what_is_invalid_or_missing_is_not_the_best(rows) -> None:
    wrong = (rows["pruner"] == "cap") & (rows["model"] == "vit")
    rows.loc[wrong, "status"] = INVALID
    kept = rows[(rows["pruner"] != "alps") | (rows["model"] != "convnext")]
    table = phase_tables(summarise(kept))["Top-1 one-shot, mean of the dense models"].set_index("pruner")
    assert table.loc["CAP"].tolist() == [INVALID, INVALID, "**83.05**", "**65.05**"]
    assert table.loc["ALPS (per layer)"].tolist() == ["**83.05**", "**66.05**", "", ""]


def test_many_cells_of_a_claim_are_counted(rows) -> None:
    text = document_text(rows)
    (told,) = [line for line in text.splitlines() if line.startswith("* C1")]
    (found,) = [one.finding for one in claims.findings(SweepResults.of(rows)) if one.finding.claim == "C1"]
    assert told == f"* {found.sentence}", "few are told one by one"
    many = type(found)(statement="s", outcome="o", rule=found.rule, cells=found.cells * 4, text="t")
    assert many.short == f"s: o. {found.rule_text} Of 8 cells: {found.cells[0].outcome} in 8. t"


def test_it_goes_to_its_place(table_rows, tmp_path: Path) -> None:
    text = document_text(table_rows())
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- table1 -->\nstale\n<!-- /table1 -->\nafter\n")
    insert_text(document, "table1", text)
    assert "stale" not in document.read_text()
    assert "| vit | 90.00 | CAP | 83.00 ± 3.61 | 89.40 ± 0.20 |" in document.read_text()
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")
    document.write_text("no marks")
    with pytest.raises(UserError, match="needs the lines <!-- table1 -->"):
        insert_text(document, "table1", text)

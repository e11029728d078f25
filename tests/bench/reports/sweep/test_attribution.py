from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from bench.reports.sweep import report
from bench.reports.sweep.attribution import attribution_table
from bench.reports.sweep.claims import claims
from bench.reports.sweep.document import document_text
from bench.reports.sweep.figures import figures
from bench.reports.sweep.summary import series, summarise


def composed(make, mask: str, weights: str | None, top1: list[float], allocation: str | None = None, pattern="0.9"):  # type: ignore[no-untyped-def]
    options = {"mask": mask, "weights": weights, "allocation": allocation, "mask_options": None}
    return make("compose", pattern, top1, options=options)


def test_one_row_a_mask_and_one_column_an_update(make, frame) -> None:
    rows = frame(
        composed(make, "cap", "obert", [80.0, 82.0]), composed(make, "magnitude", "woodfisher", [45.0]),
        composed(make, "magnitude", "none", [40.0, 42.0]), composed(make, "cap", "none", [60.0]),
        composed(make, "cap", "none", [88.0], pattern="0.5"),
    )  # fmt: skip
    table = attribution_table(summarise(rows))
    assert list(table) == [
        "model", "mask", "50 % no update", "90 % no update", "90 % WF", "90 % joint",
    ]  # fmt: skip
    assert table.to_numpy().tolist() == [
        ["vit", "GM", "", "41.00 ± 1.41", "45.00", ""],
        ["vit", "CAP", "88.00", "60.00", "", "81.00 ± 1.41"],
    ]


def test_allocations_have_rows_of_their_own(make, frame) -> None:
    rows = frame(
        composed(make, "magnitude", "none", [40.0]), composed(make, "magnitude", "obert", [45.0], allocation="cap"),
        composed(make, "obc", "obert", [50.0], allocation="cap"),
    )  # fmt: skip
    table = attribution_table(summarise(rows))
    assert table[["allocation", "mask"]].to_numpy().tolist() == [["GM", "GM"], ["CAP", "GM"], ["CAP", "OBC"]]


def test_lines_are_named_by_parts_and_scope(make, frame) -> None:
    parts = [composed(make, "cap", "obert", [80.0]), composed(make, "obc", None, [70.0], "cap")]
    layers = composed(make, "obc", None, [70.0], pattern="0.9@layer")
    cells = summarise(frame(*parts, layers, make("cap", "0.9", [85.0])))
    assert set(series(cells)) == {"CAP mask + joint update", "OBC + layers of CAP", "OBC (per layer)", "CAP"}
    options = [{"mask": "cap", "weights": "obert", "mask_options": {"damp": damp}} for damp in (0.1, 0.6)]
    damped = summarise(frame(*(make("compose", "0.9", [80.0], options=one) for one in options)))
    assert all(name.startswith("composed ") for name in series(damped)), "an option tells them apart"


def test_sweeps_without_composed_pruners_have_no_such_table(make, frame) -> None:
    assert attribution_table(summarise(frame(make("cap", "0.5", [80.0])))).empty
    assert attribution_table(summarise(frame(composed(make, "cap", "none", [80.0])))).empty


def test_report_and_figure_show_it(make, frame, tmp_path: Path) -> None:
    rows = frame(
        composed(make, "magnitude", "none", [40.0]), composed(make, "magnitude", "obert", [45.0]),
        composed(make, "cap", "none", [60.0]), composed(make, "cap", "obert", [80.0]),
    )  # fmt: skip
    assert "| vit | CAP | 60.00 | 80.00 |" in report.markdown(rows, tmp_path, "Title")
    out = io.StringIO()
    report.print_report(rows, tmp_path, "Title", Console(file=out, width=120))
    assert "one-shot by mask and update" in out.getvalue()
    assert "| vit | GM | 40.00 | 45.00 |" in document_text(rows)
    assert [path.name for path in figures(rows, "Title", tmp_path / "figure")] == ["figure.png", "figure.svg"]
    assert "CAP mask" in (tmp_path / "figure.svg").read_text()


def test_uniform_sparsities_stand_apart_from_what_the_masks_decide(make, frame) -> None:
    """Both are of 90 %; in the claim and the figure the masks decide."""
    parts = [("magnitude", "none", 40.0), ("magnitude", "obert", 45.0), ("cap", "none", 60.0), ("cap", "obert", 80.0)]
    rows = frame(
        *(composed(make, mask, weights, [top1]) for mask, weights, top1 in parts),
        *(composed(make, mask, weights, [top1 - 10], pattern="0.9@layer") for mask, weights, top1 in parts),
    )
    table = attribution_table(summarise(rows))
    assert table[["allocation", "mask", "90 % joint"]].to_numpy().tolist() == [
        ["GM", "GM", "45.00"], ["CAP", "CAP", "80.00"], ["uniform", "GM", "35.00"], ["uniform", "CAP", "70.00"],
    ]  # fmt: skip
    [sentence] = [line for line in claims(rows) if "gain over magnitude without an update" in line]
    assert "update alone +5.00, mask alone +20.00, both +40.00" in sentence


def test_masks_that_ran_with_both_allocations_have_a_map_of_their_own(make, frame, tmp_path: Path) -> None:
    rows = frame(
        composed(make, "obc", None, [70.0], allocation="cap"), composed(make, "obc", None, [50.0], pattern="0.9@layer"),
        composed(make, "cap", "obert", [80.0]), composed(make, "cap", "obert", [75.0], pattern="0.9@layer"),
    )  # fmt: skip
    written = [path.name for path in figures(rows, "Title", tmp_path / "figure")]
    assert "figure_layers.svg" in written
    text = (tmp_path / "figure_layers.svg").read_text()
    assert all(words in text for words in ("90 % uniform layers", "90 % CAP layers", "50.0", "80.0"))

from __future__ import annotations

from bench.reports.sweep.control import control_lines
from bench.reports.sweep.report import markdown
from bench.reports.sweep.summary import summarise
from bench.reports.sweep.tables import compact, detailed


def test_the_dense_model_after_the_same_training(make, frame, tmp_path) -> None:
    """It is 90 % before in these rows."""
    (tmp_path / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    rows = frame(
        make("magnitude", "0.0", [90.0, 90.0]), make("magnitude", "0.0", [89.0, 88.0], phase="finetuned"),
        make("cap", "0.75", [80.0, 80.0]), make("cap", "0.75", [88.5, 88.5], phase="finetuned"),
    )  # fmt: skip
    summary = summarise(rows)
    (line,) = control_lines(summary)
    assert (
        line == "vit: the dense model after the same training has 88.50 % top-1, -1.50 points: the training harms it."
    )
    assert f"* {line}" in markdown(rows, tmp_path, "title")
    assert detailed(summary)[["pruner", "sparsity"]].to_numpy().tolist() == [["unpruned", "0 %"], ["CAP", "75 %"]]
    assert compact(summary)["fine-tuned 0 %"].tolist() == ["88.50 ± 0.71", ""]
    better = frame(make("magnitude", "0.0", [91.0], phase="finetuned"))
    assert control_lines(summarise(better))[0].endswith("+1.00 points: the training does not harm it.")
    assert control_lines(summarise(frame(make("cap", "0.75", [88.5], phase="finetuned")))) == []

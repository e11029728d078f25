from __future__ import annotations

import pyarrow as pa
import pytest

from bench.reports.sweep.report import markdown
from bench.reports.sweep.smaller import smaller_models
from bench.results.parquet import write_table
from bench.results.schema import SCHEMA


def test_pruned_models_stand_beside_a_smaller_dense_one(make, frame, tmp_path) -> None:
    (tmp_path / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    assert smaller_models(tmp_path / "embedded") == []
    dense = [{**row, "phase": "dense", "pattern": None, "dense_seed": seed, "model": "vit_75", "profile": "embedded"}
             for seed, row in enumerate(make("magnitude", "0.0", [85.0, 86.0]))]  # fmt: skip
    (tmp_path / "embedded").mkdir()
    write_table(pa.Table.from_pylist(dense, schema=SCHEMA), tmp_path / "embedded/smaller.parquet")
    [one] = smaller_models(tmp_path / "embedded")
    assert (one.model, one.sparsity, one.top1, one.seeds) == ("vit", 0.75, 85.5, 2)
    common = {"dense_seed": 0, "profile": "embedded"}
    rows = frame(
        make("magnitude", "0.75", [80.0], **common), make("magnitude", "0.75", [87.0], phase="finetuned", **common),
        make("cap", "0.75", [86.0], **common), make("cap", "0.75", [88.0], phase="finetuned", **common),
        make("cap", "0.9", [50.0], **common), make("cap", "0.75", [50.0], model="xcit", **common),
    )  # fmt: skip
    line = (
        "* vit at 75 %: a smaller dense model of as many weights, trained from the start, has 85.50 % top-1 (2 seeds)."
        " Not above it: one-shot GM; fine-tuned none."
    )
    assert [text for text in markdown(rows, tmp_path, "title").splitlines() if "smaller" in text] == [line]
    assert "smaller" not in markdown(rows.assign(dense_seed=None), tmp_path, "title"), "of before there were seeds"


@pytest.mark.parametrize("name", ["vit_75", "xcit_90"])
def test_names_say_what_they_are_set_beside(name: str) -> None:
    from bench.specs.profiles import EMBEDDED

    one = EMBEDDED.controls[name]
    assert name == f"{one.base}_{100 * one.sparsity:g}"  # type: ignore[attr-defined]

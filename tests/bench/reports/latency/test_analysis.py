from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.reports.latency import analysis
from bench.results.parquet import write_rows
from bench.results.schema import SCHEMA as TRIALS
from bench.results.schema import ResultRow

MakeRows = Callable[..., list[dict[str, Any]]]
MakeTable = Callable[..., pd.DataFrame]


def test_ratios_are_of_medians_and_quartiles_of_rounds(rows: MakeRows, timings: MakeTable) -> None:
    compared = analysis.analyse(timings(rows(batch=8))).set_index(["engine", "sparsity_target"])
    sparse = compared.loc[("sparse", 0.5)]
    assert (sparse["p50"], sparse["throughput"], sparse["rounds"]) == (0.2, 40, 3)
    assert sparse["p95"] == pytest.approx(0.245)
    assert (sparse["best_dense"], sparse["to_dense"], sparse["to_eager"]) == ("openvino", 1.0, 2.0)
    by_round = [1.5, 1.6, 2.5]
    assert (sparse["to_eager_low"], sparse["to_eager_high"]) == tuple(pytest.approx(q) for q in (1.55, 2.05)), by_round
    assert compared.loc[("eager", 0.0), "to_eager"] == 1
    assert compared.loc[("eager", 0.0), "to_dense"] == 0.5
    assert np.isnan(compared.loc[("compile", 0.0), "to_eager"])


def test_models_are_ordered_by_family_and_size(rows: MakeRows, timings: MakeTable) -> None:
    slow = [{**row, "seconds": row.get("seconds") and [10 * s for s in row["seconds"]]} for row in rows("another")]
    compared = analysis.analyse(timings(rows("hybrid_one", family="hybrid"), slow, rows("tiny")))
    assert list(compared["model"].unique()) == ["tiny", "another", "hybrid_one"]


def test_tables(rows: MakeRows, timings: MakeTable) -> None:
    compared = analysis.analyse(timings(rows(), rows(threads=1), rows(batch=16, scale=0.5)))
    lines = analysis.compact(compared).to_dict("records")
    assert lines == [
        {"model": "deit", "batch": "1", "best dense": "openvino, 0.2 s (2.00)", "0 % (control)": "0.40 (0.80)",
         "50 %": "1.00 (2.00)", "75 %": "2.00 (4.00)"},
        {"model": "deit", "batch": "16", "best dense": "openvino, 0.2 s (2.00)", "0 % (control)": "0.80 (1.60)",
         "50 %": "2.00 (4.00)", "75 %": "4.00 (8.00)"},
    ]  # fmt: skip
    table = analysis.detailed(compared)
    assert len(table) == 18
    assert list(table["engine"][:6]) == ["eager", "openvino", "sparse 0 % (control)", "sparse 50 %", "sparse 75 %",
                                         "compile"]  # fmt: skip
    assert list(table["not timed since"][:6]) == ["", "", "", "", "", "RuntimeError: x"]
    assert "memory" not in table
    short = analysis.cell_summary(compared[:6])
    assert short == "eager 0.4 s; openvino 2.00, sparse 0 % (control) 0.80, sparse 50 % 2.00, sparse 75 % 4.00, " \
                    "compile failed"  # fmt: skip


def test_another_engine_for_sparse_models_is_not_the_suites(rows: MakeRows, timings: MakeTable) -> None:
    other = {**rows()[3], "engine": "openvino_sparse", "seconds": [0.01] * 3}
    compared = analysis.analyse(timings([*rows(), other]))
    assert list(analysis.sparse_rows(compared)["engine"].unique()) == ["sparse"]
    assert analysis.compact(compared).to_dict("records")[0]["50 %"] == "1.00 (2.00)"
    assert "openvino_sparse 50 %" in list(analysis.detailed(compared)["engine"])
    assert set(compared["best_dense"]) == {"openvino"}


def test_multiply_adds_a_second_and_their_share(rows: MakeRows, timings: MakeTable) -> None:
    table = analysis.detailed(analysis.analyse(timings(rows(macs=4e8, peak_macs=1e10))))
    found = table.set_index("engine")
    assert found.loc["openvino", ["GMAC/s", "of peak"]].tolist() == ["2", "20 %"]
    assert found.loc["sparse 75 %", ["GMAC/s", "of peak"]].tolist() == ["4", "40 %"]
    assert "GMAC/s" not in analysis.detailed(analysis.analyse(timings(rows())))


def test_accuracy_is_table_1s(make, frame, tmp_path: Path) -> None:
    found = frame(
        make("cap", "0.5", [88.2, 89.1]), make("cap", "0.5", [81.0], phase="finetuned"), make("magnitude", "0.5", [9.0])
    )
    rows = [ResultRow(**row) for row in found.astype(object).where(found.notna(), None).to_dict("records")]
    write_rows(rows, TRIALS, tmp_path / "embedded" / "table1.parquet")
    [line] = analysis.accuracy(tmp_path).to_dict("records")
    assert line == {"family": "vit", "model": "vit", "sparsity": 0.5, "one_shot": pytest.approx(1.5),
                    "finetuned": pytest.approx(10), "seeded": False}  # fmt: skip
    seeded = [dataclasses.replace(row, dense_seed=row.seed) for row in rows]
    worse = [dataclasses.replace(row, setting="authors", top1_rel_drop=50.0) for row in seeded]
    write_rows([*seeded, *worse], TRIALS, tmp_path / "embedded" / "table1.parquet")
    assert analysis.accuracy(tmp_path).to_dict("records") == [{**line, "seeded": True}], (
        "the authors' settings do not count"
    )
    assert analysis.accuracy(tmp_path / "nowhere").empty

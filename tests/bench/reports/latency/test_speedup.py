from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.reports.latency import analysis as speedup
from bench.reports.latency import figure as speedup_figure
from bench.reports.latency.report import Report
from bench.results.store import write_rows
from bench.results.timings import SCHEMA, Timings

DROPS = pd.DataFrame(
    {"family": "vit", "model": "small", "sparsity": [0.5, 0.75, 0.9], "one_shot": [0.1, 0.5, 4.0],
     "finetuned": [1.8, 0.4, np.nan]}
)  # fmt: skip


def rows(model: str = "deit", batch: int = 1, scale: float = 1.0, **values: Any) -> list[dict[str, Any]]:
    """A cell of four engines: openvino is the best dense one, one fails."""
    about = {"model": model, "family": "vit", "timm_name": model, "batch": batch, "threads": 2, "cell": "x",
             "commit": "c0ffee" * 6, "dirty": False, "versions": '{"torch": "2.0", "numba": "0.6"}',
             "processor": "a processor", "cores": 4, "others": 0.031, "status": "timed", "deviation": 0.0,
             **values}  # fmt: skip
    times = {
        ("eager", 0.0): [0.30, 0.40, 0.50], ("openvino", 0.0): [0.20, 0.20, 0.50], ("sparse", 0.0): [0.50, 0.50, 0.50],
        ("sparse", 0.5): [0.20, 0.25, 0.20], ("sparse", 0.75): [0.10, 0.10, 0.10],
    }  # fmt: skip
    found: list[dict[str, Any]] = [
        {**about, "engine": engine, "dense": engine != "sparse", "sparsity_target": sparsity,
         "seconds": [scale * value for value in seconds] if engine == "sparse" else seconds}
        for (engine, sparsity), seconds in times.items()
    ]  # fmt: skip
    broken = {
        "engine": "compile",
        "dense": True,
        "sparsity_target": 0.0,
        "status": "failed",
        "error": "RuntimeError: x",
    }
    return [*found, {**about, **broken}]


def frame(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part], columns=SCHEMA.names)


def test_ratios_are_of_medians_and_quartiles_of_rounds() -> None:
    compared = speedup.analyse(frame(rows(batch=8))).set_index(["engine", "sparsity_target"])
    sparse = compared.loc[("sparse", 0.5)]
    assert (sparse["p50"], sparse["throughput"], sparse["rounds"]) == (0.2, 40, 3)
    assert sparse["p95"] == pytest.approx(0.245)
    assert (sparse["best_dense"], sparse["to_dense"], sparse["to_eager"]) == ("openvino", 1.0, 2.0)
    by_round = [1.5, 1.6, 2.5]
    assert (sparse["to_eager_low"], sparse["to_eager_high"]) == tuple(pytest.approx(q) for q in (1.55, 2.05)), by_round
    assert compared.loc[("eager", 0.0), "to_eager"] == 1
    assert compared.loc[("eager", 0.0), "to_dense"] == 0.5
    assert np.isnan(compared.loc[("compile", 0.0), "to_eager"])


def test_models_are_ordered_by_family_and_size() -> None:
    slow = [{**row, "seconds": row.get("seconds") and [10 * s for s in row["seconds"]]} for row in rows("another")]
    compared = speedup.analyse(frame(rows("hybrid_one", family="hybrid"), slow, rows("tiny")))
    assert list(compared["model"].unique()) == ["tiny", "another", "hybrid_one"]


def test_tables() -> None:
    compared = speedup.analyse(frame(rows(), rows(threads=1), rows(batch=16, scale=0.5)))
    lines = speedup.compact(compared).to_dict("records")
    assert lines == [
        {"model": "deit", "batch": "1", "best dense": "openvino, 0.2 s (2.00)", "0 % (control)": "0.40 (0.80)",
         "50 %": "1.00 (2.00)", "75 %": "2.00 (4.00)"},
        {"model": "deit", "batch": "16", "best dense": "openvino, 0.2 s (2.00)", "0 % (control)": "0.80 (1.60)",
         "50 %": "2.00 (4.00)", "75 %": "4.00 (8.00)"},
    ]  # fmt: skip
    table = speedup.detailed(compared)
    assert len(table) == 18
    assert list(table["engine"][:6]) == ["eager", "openvino", "sparse 0 % (control)", "sparse 50 %", "sparse 75 %",
                                         "compile"]  # fmt: skip
    assert list(table["not timed since"][:6]) == ["", "", "", "", "", "RuntimeError: x"]
    assert "memory" not in table
    short = speedup.in_short(compared[:6])
    assert short == "eager 0.4 s; openvino 2.00, sparse 0 % (control) 0.80, sparse 50 % 2.00, sparse 75 % 4.00, " \
                    "compile failed"  # fmt: skip


def test_the_verdict_is_at_the_sparsity_that_costs_no_accuracy() -> None:
    compared = speedup.analyse(frame(rows(), rows(batch=64, scale=2.0)))
    said = speedup.c5(compared, DROPS)
    assert said is not None
    assert "accuracy loss): holds in part." in said
    assert "in 1 of 2 cells (model and batch), as eager in 2." in said
    assert "deit at 75 %, where the embedded small loses 0.40 %: batch 1 2.00 (4.00), batch 64 1.00 (2.00)." in said
    assert "0 % (control) 0.20 to 0.40 (0.40 to 0.80)" in said
    assert "2 threads of a processor" in said
    assert "does not hold." in str(speedup.c5(speedup.analyse(frame(rows(scale=2.0))), DROPS))
    assert "): holds. " in str(speedup.c5(speedup.analyse(frame(rows())), DROPS))
    assert speedup.c5(compared, DROPS.assign(one_shot=5.0, finetuned=5.0)) is None
    assert speedup.c5(compared, DROPS.assign(family="convnext")) is None


def test_the_figure_shows_ratios_and_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(speedup_figure, "save", lambda figure, stem: kept.append(figure) or [stem])
    compared = speedup.analyse(frame(rows(), rows(batch=16, scale=0.5), rows("other", family="convnext")))
    speedup_figure.draw(compared, DROPS, tmp_path / "x")
    [figure] = kept
    above, other, below, empty = figure.axes
    assert [above.get_title(), other.get_title(), below.get_title()] == ["deit", "other", "embedded small"]
    lines = {line.get_label(): line for line in above.lines}
    assert list(lines["batch 16, to eager"].get_xdata()) == [0, 50, 75]
    assert list(lines["batch 16, to eager"].get_ydata()) == pytest.approx([1.6, 4, 8])
    bars = {container.get_label(): container.lines[0] for container in above.containers}
    assert list(bars["batch 1, to the best dense engine"].get_ydata()) == pytest.approx([0.4, 1, 2])
    curves = {line.get_label(): list(line.get_ydata()) for line in below.lines}
    assert curves["embedded model, CAP one-shot"] == pytest.approx([99.9, 99.5])
    assert curves["1 % relative drop"] == [99, 99]
    assert [line.get_label() for line in empty.lines] == ["1 % relative drop"], "no model of its family is embedded"
    plt.close(figure)


def test_the_report_is_written_beside_the_measurements(tmp_path: Path) -> None:
    timings = Timings(tmp_path, "speedup")
    with pytest.raises(UserError, match=r"speedup\.parquet does not exist: measure with"):
        Report(timings, tmp_path)
    write_rows(rows(), SCHEMA, timings.collected)
    document = tmp_path / "doc.md"
    document.write_text("before\n<!-- speedup -->\nold\n<!-- /speedup -->\n")
    report = Report(timings, tmp_path)
    written = report.write(document)
    assert [path.name for path in written] == ["speedup.md", "speedup.csv", "speedup.png", "speedup.svg", "doc.md"]
    assert "](speedup/speedup.png)" in document.read_text()
    assert "| deit | 1 | openvino, 0.2 s (2.00) | 0.40 (0.80) | 1.00 (2.00) | 2.00 (4.00) |" in document.read_text()
    text = timings.collected.with_suffix(".md").read_text()
    assert "a processor, 4 cores; torch 2.0, numba 0.6; commit c0ffeec0ffee; other processes took 0.03 cores" in text
    assert "Weights are random" in text
    assert "C5" not in text, "without Table 1 it cannot be decided"
    numbers = pd.read_csv(timings.collected.with_suffix(".csv"))
    assert numbers["to_eager"].tolist()[:2] == [1, 2]


def test_accuracy_is_table_1s(make, frame, tmp_path: Path) -> None:
    from bench.results.store import SCHEMA as TRIALS

    found = frame(
        make("cap", "0.5", [88.2, 89.1]), make("cap", "0.5", [81.0], phase="finetuned"), make("magnitude", "0.5", [9.0])
    )
    write_rows(found.astype(object).where(found.notna(), None).to_dict("records"), TRIALS,
               tmp_path / "embedded" / "table1.parquet")  # fmt: skip
    [line] = speedup.accuracy(tmp_path).to_dict("records")
    assert line == {"family": "vit", "model": "vit", "sparsity": 0.5, "one_shot": pytest.approx(1.5),
                    "finetuned": pytest.approx(10)}  # fmt: skip
    assert speedup.accuracy(tmp_path / "nowhere").empty

from __future__ import annotations

import pandas as pd

from bench.reports.sweep.claims.wording import by_sparsity, in_table_order, ranking
from bench.reports.sweep.summary import finished, summarise


def test_differences_by_sparsity() -> None:
    assert by_sparsity(pd.Series({0.5: 1.0, 0.75: -0.126})) == "50 %: +1.00, 75 %: -0.13"


def test_order_of_pruners(make, frame) -> None:
    rows = frame(
        make("obc", "0.5", [82.0]), make("magnitude", "0.5", [60.0]), make("cap", "0.5", [80.0]),
        make("cap", "0.5", [70.0], model="dino"), make("obc", "0.5", [72.0], model="dino"),
        make("magnitude", "0.5", [50.0], model="dino"), make("cap", "0.5", [1.0], model="xcit"),
    )  # fmt: skip
    assert in_table_order(finished(rows), {"OBC", "CAP", "GM"}) == ["GM", "CAP", "OBC"]
    assert ranking(summarise(rows), "one_shot") == "OBC 77.00, CAP 75.00, GM 55.00", "over models that all have"
    assert ranking(summarise(rows[rows["pruner"] == "cap"]), "one_shot") == ""
    assert ranking(summarise(rows), "finetuned") == ""

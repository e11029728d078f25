from __future__ import annotations

import pandas as pd

from bench.reports.common.origin import code_state, origin


def test_origin_of_rows(make, frame) -> None:
    rows = frame(make("cap", "0.5", [1.0, 2.0]))
    assert origin(rows) == "2 trials, 2 seeds, 10,000 test images; commit c0ffeec0ffee; cpu."
    rows.loc[1, "dirty"] = True
    assert origin(rows[rows["seed"] == 1]).startswith("1 trials, 1 seed, ")
    assert code_state(rows) == "commit c0ffeec0ffee, with uncommitted changes"
    assert code_state(pd.DataFrame({"commit": [None], "dirty": [None]})) == "commit unknown"

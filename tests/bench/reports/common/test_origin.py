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


def test_rows_of_an_installed_version_say_which() -> None:
    installed = pd.DataFrame({"commit": [None], "dirty": [None], "versions": ['{"cap-bench": "0.3.0"}']})
    assert code_state(installed) == "version 0.3.0 of the wheel"
    mixed = pd.concat([installed, installed.assign(commit="c0ffee" * 6, dirty=True)])
    assert code_state(mixed) == "commit c0ffeec0ffee, with uncommitted changes and version 0.3.0 of the wheel"

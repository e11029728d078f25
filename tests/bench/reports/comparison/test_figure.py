from __future__ import annotations

import pandas as pd
import pytest

from bench.reports.comparison.figure import pattern_positions


@pytest.mark.parametrize(
    ("patterns", "places", "ticks"),
    [
        ({"0.5": 0.5, "0.75": 0.75}, [50, 75], ["50 %", "75 %"]),
        ({"0.75": 0.75}, [75], ["75 %"]),
        ({"2:4": 0.5, "1:4": 0.75}, [50, 75], ["2:4", "1:4"]),
        ({"2:4": 0.5, "4:8": 0.5}, [0, 1], ["2:4", "4:8"]),
        ({"0.5": 0.5, "0.5@layer": 0.5, "2:4": 0.5, "0.9": 0.9}, [0, 1, 2, 3], ["0.5", "0.9", "2:4", "0.5@layer"]),
        ({"0.5": 0.5, "0.95": 0.95, "0.98": 0.98}, [0, 1, 2], ["0.5", "0.95", "0.98"]),
    ],
)
def test_no_two_patterns_share_a_place_in_the_figure(patterns: dict, places: list[float], ticks: list[str]) -> None:
    found, labels = pattern_positions(pd.DataFrame({"pattern": list(patterns), "sparsity": list(patterns.values())}))
    assert list(found.values()) == places
    assert labels == ticks

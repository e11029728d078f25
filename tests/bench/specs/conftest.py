"""Pruners of a user's own with search spaces, valid or not."""

from __future__ import annotations

from pathlib import Path

import pytest

MINE = """
import cap

class Mine(cap.ScorePruner):
    search_space = {"power": [0.5, 1.0, 2.0], "calibration.label_source": ["given", "drawn"]}

    def __init__(self, power: float = 1.0, other: int = 3) -> None:
        if power == 7:
            raise ValueError("power=7 is not valid: it is odd")
        self.power = power

    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}

class Plain(Mine):
    search_space = None

class NoMapping(Mine):
    search_space = ["power"]

class Unknown(Mine):
    search_space = {"powr": [1.0]}

class NoField(Mine):
    search_space = {"calibration.size": [1]}

class Empty(Mine):
    search_space = {"power": []}

class Wrong(Mine):
    search_space = {"power": [7]}

class WrongImages(Mine):
    search_space = {"calibration.images": [0]}

class Needy(Mine):
    def __init__(self, power):
        pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """File of the pruners."""
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")

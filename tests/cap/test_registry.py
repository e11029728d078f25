from __future__ import annotations

from pathlib import Path

import pytest

import cap

FILE = """
import cap

class Mine(cap.ScorePruner):
    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def scores(self, model, layers, calibration):
        return {name: self.sign * weight.abs() for name, weight in self.weights.items()}
"""


def test_unknown_pruner_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown pruner 'capp': choose from cap, .*magnitude, .*woodfisher, or"):
        cap.create("capp")


def test_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cap' has no option blocksize: its options are block_size=192"):
        cap.create("cap", blocksize=3)


@pytest.mark.parametrize("name", ["cap", "woodfisher"])
@pytest.mark.parametrize("option", [{"block_size": 0}, {"block_size": "abc"}, {"damp": -1}, {"num_gradients": -3}])
def test_option_values_are_checked(name: str, option: dict) -> None:
    with pytest.raises(ValueError, match="is not valid: it is a"):
        cap.create(name, **option)


def test_a_pruner_from_a_file(tmp_path: Path, model, layers, calibration) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    pruner = cap.create(f"{path}:Mine", sign=2.0)
    theirs = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.3))
    ours = pruner.fit(model, layers, calibration).prune(cap.Unstructured(0.3))
    assert all(mask.equal(theirs.masks[name]) for name, mask in ours.masks.items())
    with pytest.raises(ValueError, match="it has Mine"):
        cap.create(f"{path}:Other")
    with pytest.raises(ValueError, match="does not exist"):
        cap.create(f"{tmp_path}/none.py:Mine")


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="taken"):

        @cap.register("cap")
        class Other(cap.ScorePruner):
            def scores(self, model, layers, calibration):
                return {}

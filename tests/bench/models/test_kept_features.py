from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.data.inputs import TensorInputs
from bench.models import kept_features as kept
from bench.models import probing

INPUTS = TensorInputs(torch.arange(44.0).reshape(22, 1, 1, 2), torch.arange(22) % 5)


class Backbone:
    """Counts the images that it is given, and may be killed after some."""

    def __init__(self, most: int = 100) -> None:
        self.seen, self.most = 0, most

    def __call__(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        if self.seen > self.most:
            raise KeyboardInterrupt
        return images.flatten(1) @ torch.tensor([[1.0, 2, 3], [4, 5, 6]])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "PART", 8)


def test_who_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    expected = probing.features(Backbone(), INPUTS)
    with pytest.raises(KeyboardInterrupt):
        kept.kept_features(Backbone(most=17), INPUTS, "cpu", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000000.safetensors", "00000008.safetensors"]
    rest = Backbone()
    found = kept.kept_features(rest, INPUTS, "cpu", tmp_path)
    assert rest.seen == 22 - 16
    assert found[0].equal(expected[0])
    assert found[1].equal(expected[1])
    kept.forget_features(tmp_path)
    assert not tmp_path.exists()
    kept.forget_features(tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "of another device", "of fewer images"])
def test_a_part_that_is_no_other_is_computed_again(damage: str, tmp_path: Path) -> None:
    expected = kept.kept_features(Backbone(), INPUTS, "cpu", tmp_path)
    file = tmp_path / "00000008.safetensors"
    values = load_file(file)
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "of another device":
        save_file(values, file, metadata={"made by": f"torch {torch.__version__} on cuda"})
    else:
        fewer = {name: value[:3].contiguous() for name, value in values.items()}
        save_file(fewer, file, metadata={"made by": f"torch {torch.__version__} on cpu"})
    again = Backbone()
    found = kept.kept_features(again, INPUTS, "cpu", tmp_path)
    assert again.seen == 8
    assert found[0].equal(expected[0])

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from bench.core.errors import UserError
from bench.models import sparse_file
from cap.quantization import Int8Layer


class Weights(nn.Module):
    """One weight, and what else a model may have."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.scalar = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("count", torch.tensor([0, 3]))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_every_value_comes_back(tmp_path_factory: pytest.TempPathFactory, shape, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) >= share)
    model = Weights(weight)
    path = tmp_path_factory.mktemp("sparse") / "model.safetensors"
    sparse_file.write(path, model, metadata={"card": "x"})
    found = sparse_file.read(path)
    assert found.metadata == {"card": "x"}
    assert found.state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)
    assert sparse_file.sparse_bytes(model) <= path.stat().st_size


def test_the_layout_is_the_one_described(tmp_path: Path) -> None:
    values = torch.zeros(2, 9, dtype=torch.int8)
    values[0, 0], values[1, 8] = -5, 7
    int8 = Int8Layer(values, torch.tensor([0.5, 0.25]), 0.1, 200)
    model = Weights(int8.weight())
    sparse_file.write(tmp_path / "m", model, {"weight": int8})
    tensors = load_file(tmp_path / "m")
    assert tensors["weight/bitmask"].tolist() == [0b10000000, 0, 0b01000000]
    assert tensors["weight/values"].tolist() == [-5, 7]
    assert tensors["weight/scale"].tolist() == [0.5, 0.25]
    assert tensors["weight/input"].tolist() == [0.1, 200]
    found = sparse_file.read(tmp_path / "m")
    assert torch.equal(found.int8["weight"].values, values)
    assert (found.int8["weight"].input_scale, found.int8["weight"].input_zero_point) == (0.1, 200)
    fresh = Weights(torch.ones(2, 9))
    found.load_into(fresh)
    assert torch.equal(fresh.weight, model.weight)


def test_sizes_are_those_of_bits_and_values() -> None:
    weight = torch.zeros(100, 80)
    weight[:25] = 1.5
    model = Weights(weight)
    header = sparse_file.dense_bytes(model) - 8000 * 4
    assert 0 < header < 600
    assert 8000 // 8 + 2000 * 4 < sparse_file.sparse_bytes(model) < 8000 // 8 + 2000 * 4 + 600


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(UserError, match="no readable safetensors file"):
        sparse_file.read(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(UserError, match="no compressed sparse file"):
        sparse_file.read(tmp_path / "plain")

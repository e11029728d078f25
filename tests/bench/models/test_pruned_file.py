from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bench.models.pruned_file import load_pruned, save_pruned


def test_weights_and_masks_come_back(tmp_path: Path) -> None:
    model, mask = nn.Linear(4, 3), torch.rand(3, 4) < 0.5
    path = tmp_path / "new" / "0.5.safetensors"
    save_pruned(path, model, {"weight": mask})
    found = load_pruned(path)
    assert found.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(found.weights[name], value) for name, value in model.state_dict().items())
    assert torch.equal(found.masks["weight"], mask)
    assert [file.name for file in path.parent.iterdir()] == ["0.5.safetensors"]


def test_there_may_be_no_model_and_no_masks(tmp_path: Path) -> None:
    save_pruned(tmp_path / "empty.safetensors", None, {})
    found = load_pruned(tmp_path / "empty.safetensors")
    assert (found.weights, found.masks) == ({}, {})

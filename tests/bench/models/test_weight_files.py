from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.models.weight_files import read_shapes

WEIGHTS = {"head.weight": torch.zeros(3, 2), "head.bias": torch.zeros(3)}
SHAPES = {"head.weight": (3, 2), "head.bias": (3,)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_shapes_of_torchs_files_new_and_old(tmp_path: Path, key: str | None, zipped: bool) -> None:
    """Files from before torch 1.6 are no zip archives, and cannot be mapped into memory."""
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS if key is None else {key: WEIGHTS}, path, _use_new_zipfile_serialization=zipped)
    assert read_shapes(path) == SHAPES

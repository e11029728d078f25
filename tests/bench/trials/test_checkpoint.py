from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.trials.checkpoint import FILE, Checkpoint


def test_there_is_a_whole_checkpoint_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint = Checkpoint(folder)
    assert checkpoint.load() is None
    weights = torch.rand(3)
    checkpoint.save({"epoch": 1, "weights": {"a": weights}, "measured": {3: "0.5"}})
    (folder / ".0.5.safetensors.123").write_bytes(b"half")  # killed while it was written
    (folder / FILE).with_name(".state.pt.123").write_bytes(b"half")
    (folder / ".checkpoint.123").mkdir()
    found = checkpoint.load()
    assert found is not None
    assert (found["epoch"], found["measured"]) == (1, {3: "0.5"})
    assert found["weights"]["a"].equal(weights)
    with pytest.raises(Exception, match="pickle"):  # a save that fails loses nothing, and leaves nothing
        checkpoint.save({"epoch": lambda: 2})
    assert getattr(checkpoint.load(), "get", {}.get)("epoch") == 1
    checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 2}
    checkpoint.discard_unfinished()
    assert sorted(path.name for path in folder.rglob("*")) == ["checkpoint", "state.pt"]
    checkpoint.remove()
    assert not folder.exists()


def test_models_beside_a_checkpoint_stay(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.save({"epoch": 1})
    (tmp_path / "run/0.5.safetensors").write_bytes(b"a model")
    checkpoint.remove()
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["0.5.safetensors"]

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cap.runtime


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Quick timing, one thread, a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.01)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def create(name: str, width: int = 32) -> nn.Module:
    """Makes the only architecture that there is."""
    assert name == "small"
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 20, 1))


def pruned() -> nn.Module:
    torch.manual_seed(0)
    model = create("small", width=40).eval()
    with torch.no_grad():
        model[0].weight *= torch.rand(model[0].weight.shape) < 0.5
        model[3].weight *= torch.rand(model[3].weight.shape) < 0.1
    return model


def test_a_file_is_loaded_in_three_lines_and_runs(tmp_path: Path) -> None:
    model, path, images = pruned(), tmp_path / "model.npz", torch.randn(5, 3, 17, 17)
    cap.runtime.save(path, model, "small", {"width": 40}, (3, 17, 17))
    assert path.stat().st_size < 4 * sum(p.numel() for p in model.parameters()) + 6000
    for again in (False, True):
        loaded = cap.runtime.load(path, create, cache=tmp_path / "cache")
        assert loaded.report().cached == again
        with torch.inference_mode():
            expected = model(images)
            torch.testing.assert_close(loaded(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_every_bit_comes_back(tmp_path: Path) -> None:
    model, found = pruned(), []
    model[3].bias.data[:] = 0
    cap.runtime.save(tmp_path / "model.npz", model, "small", {"width": 40}, (3, 17, 17))

    def catch(name: str, **options: int) -> nn.Module:
        found.append(create(name, **options))
        return found[0]

    cap.runtime.load(tmp_path / "model.npz", catch)
    for (name, value), (other, expected) in zip(found[0].state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other
        assert value.dtype == expected.dtype
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("content", [b"", b"text", "cut", "foreign"])
def test_a_damaged_or_foreign_file_is_one_line(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        cap.runtime.save(path, pruned(), "small", {"width": 40}, (3, 17, 17))
        path.write_bytes(path.read_bytes()[:-300])
    else:
        np.savez(path, weights=np.zeros(3))
    with pytest.raises(
        ValueError, match=r"model\.npz is no file of cap\.runtime model, version 1, or it is damaged: "
    ) as error:
        cap.runtime.load(path, create)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        cap.runtime.load(tmp_path / "none.npz", create)


def test_another_architecture_is_one_line(tmp_path: Path) -> None:
    cap.runtime.save(tmp_path / "model.npz", pruned(), "small", {"width": 32}, (3, 17, 17))
    with pytest.raises(ValueError, match=r"model\.npz is of another small than create makes here"):
        cap.runtime.load(tmp_path / "model.npz", create)

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cap.runtime
from cap.runtime import cost, machine
from cap.runtime.codegen import Assembler


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cached calibration, quick timing, one thread."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "calibration"))
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.01)
    monkeypatch.setattr("cap.runtime.cost.measure_calibration", lambda: cost.Calibration(1e-9, 1e-9))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(seed: int = 0) -> nn.Module:
    """Returns a model that calls one pruned layer twice, and another one."""
    torch.manual_seed(seed)
    shared, last = nn.Linear(64, 64), nn.Linear(64, 8)
    with torch.no_grad():
        for layer in (shared, last):
            layer.weight *= torch.rand(layer.weight.shape) < 0.1
    return nn.Sequential(shared, nn.ReLU(), shared, last).eval()


@torch.inference_mode()
def assert_same(compiled: nn.Module, model: nn.Module, x: Tensor) -> None:
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-5)


def refuse_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no more code be generated and nothing be timed."""
    monkeypatch.setattr(cost, "interleave", lambda *_, **__: pytest.fail("timed"))
    monkeypatch.setattr(Assembler, "multiply", lambda *_, **__: pytest.fail("assembled"))


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("machine_code", [True, False])
def test_the_second_time_nothing_is_made_or_timed(
    force: bool, machine_code: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if machine_code and not machine.has_avx512():
        pytest.skip("needs AVX-512")
    monkeypatch.setattr("cap.runtime.machine.has_avx512", lambda: machine_code)
    pruned, x, cache = model(), torch.randn(40, 64), tmp_path / "cache"
    first = cap.runtime.compile(pruned, x, force, cache)
    assert not first.report().cached
    refuse_work(monkeypatch)
    second = cap.runtime.compile(pruned, x, force, str(cache))
    assert second.report().cached
    assert second.report().layers == first.report().layers
    assert [type(module) for module in second.modules()] == [type(module) for module in first.modules()]
    with torch.inference_mode():
        assert torch.equal(second(x), first(x))
    assert_same(second, pruned, x[:7])
    assert len(list(cache.iterdir())) == 1


def test_another_model_size_or_number_of_threads_is_another_file(tmp_path: Path) -> None:
    x = torch.randn(40, 64)
    reweighted = copy.deepcopy(model())
    reweighted[3].bias.data[0] += 1e-3
    for pruned, example, threads in ((model(), x, 1), (reweighted, x, 1), (model(), x[:5], 1), (model(), x, 2)):
        torch.set_num_threads(threads)
        compiled = cap.runtime.compile(pruned, example, True, tmp_path)
        assert not compiled.report().cached
        assert_same(compiled, pruned, x)
    assert len(list(tmp_path.glob("*.npz"))) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_or_foreign_file_is_made_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(40, 64)
    cap.runtime.compile(model(), x, True, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        cap.runtime.compile(model(seed=1), x, True, tmp_path / "other")
        (tmp_path / "other").glob("*.npz").__next__().replace(path)
    with pytest.warns(UserWarning, match=r"cannot be used \(.*\): the model is compiled again") as warned:
        compiled = cap.runtime.compile(model(), x, True, tmp_path)
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert_same(compiled, model(), x)
    assert cap.runtime.compile(model(), x, True, tmp_path).report().cached, "and repaired"


def test_a_cache_that_is_a_file_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_work(monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cache='.*file' is no folder: give one for the compiled models"):
        cap.runtime.compile(model(), torch.randn(40, 64), cache=tmp_path / "file")


def test_a_cache_that_cannot_be_written_costs_only_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the compiled model is not kept: "):
        compiled = cap.runtime.compile(model(), torch.randn(40, 64), True, tmp_path / "file" / "cache")
    assert_same(compiled, model(), torch.randn(40, 64))

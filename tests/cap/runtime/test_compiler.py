from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import cap
import cap.runtime
from bench.data.fashion_mnist import load_split, to_input
from bench.models import get_model
from cap.runtime import cost, machine

CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cached calibration, quick timing, two threads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["avx512", "portable"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "avx512" and not machine.has_avx512():
        pytest.skip("needs AVX-512")
    monkeypatch.setattr("cap.runtime.machine.has_avx512", lambda: request.param == "avx512")
    return request.param


@torch.no_grad()
def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    """Sets random weights of all matrices to zero, and scales that start at next to nothing to one half."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 or (parameter.ndim == 4 and parameter.shape[2:] == (1, 1)):
            parameter *= torch.rand(parameter.shape, generator=generator) >= sparsity
        if "gamma" in name:
            parameter.fill_(0.5)
    return model.eval()


@torch.inference_mode()
def assert_same(compiled: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    for x in inputs:
        expected = model(x)
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def kinds(report: cap.runtime.Report) -> set[str]:
    return {layer.kind for layer in report.layers if layer.choice == "sparse"}


@pytest.mark.parametrize(
    ("name", "options", "size", "expected"),
    [
        ("deit_tiny_patch16_224", {"img_size": 48, "embed_dim": 64, "depth": 2, "num_heads": 2}, 48,
         {"SparseBlock", "SparseLinear"}),
        ("deit_tiny_patch16_224", {"img_size": 48, "embed_dim": 64, "depth": 1, "num_heads": 1, "init_values": 0.5,
                                   "drop_path_rate": 0.1}, 48, {"SparseBlock", "SparseLinear"}),
        ("samvit_base_patch16", {"img_size": 64, "embed_dim": 64, "depth": 1, "num_heads": 1, "use_rope": False}, 64,
         {"SparseMLP", "SparseLinear", "SparseConv"}),  # also a `Block`
        ("deit_tiny_patch16_224", {"img_size": 48, "embed_dim": 48, "depth": 1, "num_heads": 6}, 48,
         {"SparseMLP", "SparseLinear"}),  # heads of 8 features
        ("vit_tiny_patch16_224", {"img_size": 48, "embed_dim": 64, "depth": 1, "num_heads": 2, "qk_norm": True}, 48,
         {"SparseMLP", "SparseLinear"}),
        ("convnext_atto", {**CONVNEXT, "conv_mlp": False}, 64,
         {"SparseConvNeXtBlock", "SparseMLP", "SparseLinear"}),  # 24 channels are no multiple of 16
        ("convnext_atto", {**CONVNEXT, "dims": (16, 32, 48, 64), "conv_mlp": False, "ls_init_value": None}, 64,
         {"SparseConvNeXtBlock", "SparseLinear"}),
        ("convnext_atto", {**CONVNEXT, "conv_mlp": True}, 64, {"SparseConv", "SparseLinear"}),
        ("xcit_nano_12_p16_224", {"img_size": 64, "embed_dim": 96, "depth": 1, "num_heads": 2}, 64,
         {"SparseXCABlock", "SparseMLP", "SparseLinear", "SparseConv"}),
        ("xcit_nano_12_p16_224", {"img_size": 64, "embed_dim": 64, "depth": 1, "num_heads": 8}, 64,
         {"SparseMLP", "SparseLinear", "SparseConv"}),  # heads of 8 features
        ("swin_tiny_patch4_window7_224", {"img_size": 56, "embed_dim": 32, "depths": (1, 1), "num_heads": (2, 2)}, 56,
         {"SparseMLP", "SparseLinear"}),
        ("resnet50d", {}, 32, {"SparseLinear", "SparseConv"}),
    ],
)  # fmt: skip
def test_models_of_timm(name: str, options: dict[str, object], size: int, expected: set[str], engine: str) -> None:
    torch.manual_seed(0)
    model = pruned(timm.create_model(name, num_classes=10, **options), 0.8)
    x = torch.randn(2, 3, size, size)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compiled = cap.runtime.compile(model, x, force=True)
    assert kinds(compiled.report()) == expected
    assert compiled.report().engine == engine
    assert_same(compiled, model, x, x[:1], torch.cat([x, x, x[:1]]))
    assert not any(type(module).__name__.startswith("Sparse") for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_pruned_by_cap_classifies_the_same() -> None:
    spec = get_model("embedded", "vit")
    model, split = spec.load(), load_split("train").subset(256, 0)
    images = to_input(split.images, spec.input_size)
    layers = cap.select_layers(model, spec.prunable)
    pruner = cap.create("cap", num_gradients=32).fit(model, layers, cap.Calibration(images[:32], split.labels[:32]))
    with torch.no_grad():
        pruner.prune(cap.Unstructured(0.75)).apply_to(model)
    compiled = cap.runtime.compile(model, images[:16], force=True)
    assert kinds(compiled.report()) >= {"SparseBlock", "SparseLinear"}
    with torch.inference_mode():
        assert torch.equal(compiled(images).argmax(1), model(images).argmax(1))


class Wide(nn.Module):
    """One layer that is worth it, and one that cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = nn.Linear(512, 512)
        self.full = nn.Linear(512, 512)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(self.empty(x))


def test_the_cheaper_layer_is_chosen() -> None:
    model = Wide().eval()
    model.empty.weight.data *= torch.rand(512, 512) > 0.98
    x = torch.randn(512, 512)
    report = cap.runtime.compile(model, x).report()
    assert report.layers[0].choice == "sparse"
    for layer in report.layers:  # of the full one a loop may be faster, too
        assert (layer.choice == "sparse") == (layer.sparse_ms < layer.dense_ms)  # type: ignore[operator]
    assert {layer.name for layer in cap.runtime.compile(model, x, force=True).report().layers} == {"empty", "full"}
    assert "empty" in str(report)


def test_the_parts_of_what_does_not_pay_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pruned(nn.Sequential(timm.layers.Mlp(32, 64)), 0.9)
    seconds = {"SparseMLP": 2.0, "SparseLinear": 0.5}

    def within(model: nn.Module, x: Tensor, modules: list[nn.Module]) -> list[float]:
        return [seconds.get(type(module).__name__, 1.0) for module in modules]

    monkeypatch.setattr(cost, "seconds_within", within)
    monkeypatch.setattr("cap.runtime.compiler.MARGIN", math.inf)
    monkeypatch.setattr("cap.runtime.compiler.HOPELESS", math.inf)
    x = torch.randn(7, 32)
    compiled = cap.runtime.compile(model, x)
    found = {layer.name: (layer.kind, layer.choice, layer.sparse_ms) for layer in compiled.report().layers}
    assert found == {
        "0": ("SparseMLP", "dense", 2000.0),
        "0.fc1": ("SparseLinear", "sparse", 500.0),
        "0.fc2": ("SparseLinear", "sparse", 500.0),
    }
    assert type(compiled.model[0].fc1).__name__ == "SparseLinear"
    assert_same(compiled, model, x)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_keeps_its_number_of_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    model, x = pruned(nn.Linear(64, 64), 0.9), torch.randn(100, 64)
    compiled = cap.runtime.compile(model, x, force=True)
    assert_same(compiled, model, x)
    assert torch.get_num_threads() == threads


def test_layers_are_timed_on_a_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    model = pruned(nn.Sequential(nn.Linear(64, 64)), 0.9)
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr("cap.runtime.compiler.PASS", 0.0)
    cap.runtime.compile(model, torch.randn(500, 64))
    assert set(sizes) == {1}, "no image more than the time allows"


def test_an_unpruned_model_may_be_faster_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "seconds_within", lambda model, x, modules: [
        0.5 if type(module).__name__.startswith("Sparse") else 1.0 for module in modules
    ])  # fmt: skip
    monkeypatch.setattr("cap.runtime.compiler.MARGIN", math.inf)
    monkeypatch.setattr("cap.runtime.compiler.HOPELESS", math.inf)
    model = Wide().eval()
    compiled = cap.runtime.compile(model, torch.randn(40, 512))
    assert [(layer.sparsity, layer.choice) for layer in compiled.report().layers] == [(0.0, "sparse")] * 2
    assert_same(compiled, model, torch.randn(3, 512))


def test_time_of_modules_within_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)).eval()
    x = torch.randn(512, 512)
    first, last, whole = cost.seconds_within(model, x, [model[0], model[2], model])
    assert 0 < first < whole
    assert 0 < last < whole
    assert first + last < whole
    monkeypatch.setattr("cap.runtime.cost.time.perf_counter", lambda: pytest.fail("a hook is left"))
    model(x)


def test_a_slower_model_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Wide().eval()
    model.empty.weight.data.zero_()
    monkeypatch.setattr("cap.runtime.compiler.MARGIN", 0.0)
    compiled = cap.runtime.compile(model, torch.randn(512, 512))
    assert compiled.report().kept_dense
    assert not any(type(module).__name__.startswith("Sparse") for module in compiled.modules())
    assert_same(compiled, model, torch.randn(3, 512))


def test_modules_that_read_their_layers_weights_are_left_alone() -> None:
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True).eval()
    model = pruned(nn.Sequential(nn.Linear(32, 32), layer), 0.9)
    x = torch.randn(2, 5, 32)
    compiled = cap.runtime.compile(model, x, force=True)
    assert [layer.name for layer in compiled.report().layers] == ["0"]
    assert_same(compiled, model, x)


class Attention(nn.Module):
    """Has the parts of plain attention and does something else with them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.num_heads, self.scale = 2, 0.25

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.qkv(x)[..., :32])


def test_what_only_looks_like_attention_keeps_its_own_forward() -> None:
    model = pruned(nn.Sequential(Attention()), 0.5)
    x = torch.randn(2, 20, 32)
    compiled = cap.runtime.compile(model, x, force=True)
    assert [layer.kind for layer in compiled.report().layers if layer.choice == "sparse"] == ["SparseLinear"] * 2
    assert_same(compiled, model, x)


def test_a_model_that_is_a_layer() -> None:
    model = pruned(nn.Linear(64, 64), 0.9)
    compiled = cap.runtime.compile(model, torch.randn(32, 64), force=True)
    assert kinds(compiled.report()) == {"SparseLinear"}
    assert_same(compiled, model, torch.randn(5, 64))


def test_what_cannot_be_compiled() -> None:
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Dropout()).eval(), torch.zeros(2, 8)
    with pytest.raises(ValueError, match="the model is in training mode"):
        cap.runtime.compile(copy.deepcopy(model).train(), x)
    model[1].train()
    with pytest.raises(ValueError, match=r"its module 1\) is in training mode"):
        cap.runtime.compile(model, x)
    model.eval()
    with pytest.raises(TypeError, match=r"0\.weight is torch\.float16"):
        cap.runtime.compile(copy.deepcopy(model).half(), x)
    with pytest.raises(TypeError, match=r"the example input is torch\.float64"):
        cap.runtime.compile(model, x.double())
    with pytest.raises(TypeError, match="on meta"):
        cap.runtime.compile(copy.deepcopy(model).to("meta"), x)


def test_what_a_compiled_model_refuses() -> None:
    compiled = cap.runtime.compile(nn.Linear(8, 8).eval(), torch.zeros(2, 8), force=True)
    with pytest.raises(RuntimeError, match="no gradients"):
        compiled(torch.zeros(2, 8))
    with pytest.raises(RuntimeError, match="for inference only"):
        compiled.train()
    with torch.inference_mode(), pytest.raises(TypeError, match=r"the input is torch\.bfloat16"):
        compiled(torch.zeros(2, 8, dtype=torch.bfloat16))


def test_the_calibration_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cost.calibration()
    assert first.multiply > 0
    assert first.move >= 0
    monkeypatch.setattr(cost, "measure_calibration", lambda: pytest.fail("measured again"))
    assert cost.calibration() == first
    (path,) = (tmp_path / "cap-bench").iterdir()
    path.write_text("damaged")
    monkeypatch.setattr(cost, "measure_calibration", lambda: cost.Calibration(1.0, 2.0))
    assert cost.calibration() == cost.Calibration(1.0, 2.0)


def test_expected_time_counts_what_is_kept() -> None:
    layer = nn.Linear(32, 48)
    layer.weight.data.fill_(1.0)[:, 8:] = 0
    work = cost.linear_work(17, layer)
    assert work == cost.Work(multiplies=2 * 48 * 8, moves=2 * (32 + 48))
    assert cost.Calibration(2.0, 1.0).seconds(work) == 2 * 768 + 160

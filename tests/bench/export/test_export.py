from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import cap
from bench import cli
from bench.core.errors import UserError
from bench.data.fashion_mnist import load_split, to_input
from bench.export import model as export
from bench.export.model import Pruned
from bench.models import get_model, sparse_file
from bench.models.pruned_file import save_pruned
from cap.quantization import Int8Layer, apply_int8

SPEC = get_model("embedded", "vit")
ROW = {
    "profile": "embedded", "sweep": "export", "trial_id": "0" * 16, "model": "vit", "dataset": "fashion-mnist",
    "pruner": "magnitude", "pruner_options": "{}", "pattern": "0.75", "phase": "one_shot", "seed": 0, "top1": 84.51,
    "top1_dense": 88.54, "n_images": 10_000, "sparsity_prunable": 0.75, "recipe": None, "commit": "c0ffee",
}  # fmt: skip
IMAGES = to_input(load_split("test").images[:64], SPEC.input_size)


@pytest.fixture
def pruned() -> Pruned:
    model = SPEC.load()
    layers = cap.select_layers(model, SPEC.prunable)
    calibration = cap.Calibration(IMAGES[:1], torch.zeros(1, dtype=torch.int64))
    weights = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.75))
    weights.apply_to(model)
    return Pruned(SPEC, model, weights.masks, {}, {name: ROW.get(name) for name in export.ROW})


@pytest.fixture
def in_int8(pruned: Pruned) -> Pruned:
    layers = {}
    for name, weight in cap.select_layers(pruned.model, SPEC.prunable).items():
        scale = weight.detach().abs().amax(1) / 127
        layers[name] = Int8Layer((weight.detach() / scale[:, None]).round().to(torch.int8), scale, 0.05, 128)
    apply_int8(pruned.model, layers)
    return Pruned(SPEC, pruned.model, pruned.masks, layers, pruned.row)


@torch.inference_mode()
def outputs(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(IMAGES)


def test_a_checkpoint_loads_in_timm(pruned: Pruned, tmp_path: Path) -> None:
    (written,) = export.export(pruned, ["safetensors"], tmp_path)
    model = timm.create_model(SPEC.timm_name, **SPEC.timm_options, checkpoint_path=tmp_path / "model.safetensors")
    assert torch.equal(outputs(model), outputs(pruned.model))
    assert written.error == 0
    masks = load_file(tmp_path / "masks.safetensors")
    assert masks.keys() == pruned.masks.keys()
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())
    card = json.loads((tmp_path / "card.json").read_text())
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["card"]) == card
    assert (card["top1"], card["pruner"], card["pruner_options"]) == (84.51, "magnitude", {})
    assert card["architecture"] == SPEC.timm_name
    assert sum(card["layer_sparsity"].values()) / len(card["layer_sparsity"]) == pytest.approx(0.75, abs=0.1)
    line = next(line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("timm."))
    model = eval(line.replace("model.safetensors", str(tmp_path / "model.safetensors")))  # the card's own words
    assert torch.equal(outputs(model), outputs(pruned.model))


@pytest.mark.parametrize("int8", [False, True])
def test_a_sparse_file_comes_back(int8: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = request.getfixturevalue("in_int8" if int8 else "pruned")
    (written,) = export.export(model, ["sparse"], tmp_path)
    assert written.path.name == ("model.int8.sparse.safetensors" if int8 else "model.sparse.safetensors")
    fresh = SPEC.build()
    sparse_file.read(written.path).load_into(fresh)
    assert torch.equal(outputs(fresh), outputs(model.model))
    sizes = export.sizes(model)
    assert written.path.stat().st_size == pytest.approx(sizes["sparse INT8" if int8 else "sparse fp32"], rel=0.05)
    assert sizes["sparse fp32"] < 0.4 * sizes["dense fp32"]
    assert not int8 or sizes["sparse INT8"] < 0.2 * sizes["dense fp32"]


@pytest.mark.parametrize("int8", [False, True])
def test_onnx_gives_the_same(int8: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra engines is not installed")
    if int8:
        pytest.importorskip("torchao", reason="the extra quantization is not installed")
    model = request.getfixturevalue("in_int8" if int8 else "pruned")
    (written,) = export.export(model, ["onnx"], tmp_path)
    file = onnx.load(written.path)
    matrices = [w.data_type for w in file.graph.initializer if len(w.dims) == 2]
    assert matrices.count(onnx.TensorProto.INT8) == len(model.int8)
    assert sum(node.op_type == "QuantizeLinear" for node in file.graph.node) == (len(model.int8) if int8 else 0)
    assert str(Path(export.__file__).parent).encode() not in written.path.read_bytes()  # nor any other path


def test_other_outputs_are_noticed(pruned: Pruned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.WRITERS, "sparse", lambda pruned, _, images: pruned.model(images).detach() + 1e-3)
    with pytest.raises(RuntimeError, match="gives other outputs: they differ by up to"):
        export.export(pruned, ["sparse"], tmp_path)


def test_what_a_trial_left_is_loaded(pruned: Pruned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "abc" / "0.75.safetensors"
    save_pruned(file, pruned.model, pruned.masks)
    with pytest.raises(UserError, match=r"abc\.parquet does not exist"):
        export.load(file, int8=False)
    rows = [{**ROW, "status": "done"}, {**ROW, "pattern": "0.9", "status": "done"}]
    pd.DataFrame(rows).to_parquet(tmp_path / "abc.parquet")
    found = export.load(file, int8=False)
    assert torch.equal(outputs(found.model), outputs(pruned.model))
    assert found.masks.keys() == pruned.masks.keys()
    assert found.row == pruned.row
    pd.DataFrame([{**row, "top1": 70.0} for row in rows]).to_parquet(tmp_path / "abc.parquet")
    with pytest.raises(UserError, match=r"has 84.51 % top-1, but its row says 70.00 %"):
        export.load(file, int8=False)
    monkeypatch.setattr(export, "evaluate", lambda *_: pytest.fail("not needed"))
    with pytest.raises(UserError, match=r"0\.5\.safetensors does not exist"):
        export.load(file.with_name("0.5.safetensors"), int8=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a checkpoint or --model"),
        (["x.safetensors", "--model", "vit"], "give either a checkpoint or --model"),
        (["x.safetensors", "--finetune"], "--finetune belongs to --model"),
        (["x.safetensors"], "x.safetensors does not exist"),
        (["--model", "vit", "--int8", "--format", "safetensors"], "an INT8 model goes to sparse or onnx"),
        (["--model", "bert"], "unknown model 'bert'"),
        (["--model", "vit", "--pruner", "nope"], "unknown pruner 'nope'"),
        (["--model", "vit", "--sparsity", "2"], "sparsity 2.0 is out of range"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime: pip install .*\.\[engines\]"):
        export.check_formats(["onnx"], int8=False)
    with pytest.raises(UserError, match=r"INT8 needs torchao: pip install .*\.\[quantization\]"):
        export.check_formats(["sparse"], int8=True)

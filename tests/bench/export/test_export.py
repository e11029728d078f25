from __future__ import annotations

import dataclasses
import json
import resource
import shutil
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import cap
import cap.runtime
from bench import cli
from bench.core.errors import UserError
from bench.data.fashion_mnist import load_split, to_input
from bench.evaluation.accuracy import evaluate
from bench.export import formats, source
from bench.export.card import sizes
from bench.export.formats import check_formats
from bench.export.model import write_files
from bench.export.source import PrunedModel, load
from bench.models import get_model, sparse_file
from bench.models.pruned_file import save_pruned
from bench.results.schema import ResultRow
from bench.specs.calibration import CalibrationSpec
from bench.specs.recipes import GradualSpec
from bench.specs.trial import Trial
from bench.trials.session import draw_calibration
from cap.quantization import Int8Layer, apply_int8

SPEC = get_model("embedded", "vit")
ROW = {
    "profile": "embedded", "sweep": "export", "trial_id": "0" * 16, "model": "vit", "dataset": "fashion-mnist",
    "pruner": "magnitude", "pruner_options": "{}", "pattern": "0.75", "phase": "one_shot", "seed": 0, "top1": 84.51,
    "top1_dense": 88.54, "n_images": 10_000, "sparsity_prunable": 0.75, "recipe": None, "commit": "c0ffee",
}  # fmt: skip
IMAGES = to_input(load_split("test").images[:64], SPEC.input_size)


@pytest.fixture
def pruned() -> PrunedModel:
    model = SPEC.load()
    layers = cap.select_layers(model, SPEC.prunable)
    calibration = cap.Calibration(IMAGES[:1], torch.zeros(1, dtype=torch.int64))
    weights = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.75))
    weights.apply_to(model)
    return PrunedModel(SPEC, model, weights.masks, ResultRow(**ROW))


@pytest.fixture
def in_int8(pruned: PrunedModel) -> PrunedModel:
    layers = {}
    for name, weight in cap.select_layers(pruned.model, SPEC.prunable).items():
        scale = weight.detach().abs().amax(1) / 127
        layers[name] = Int8Layer((weight.detach() / scale[:, None]).round().to(torch.int8), scale, 0.05, 128)
    apply_int8(pruned.model, layers)
    return dataclasses.replace(pruned, int8=layers)


@torch.inference_mode()
def outputs(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(IMAGES)


def test_a_checkpoint_loads_in_timm(pruned: PrunedModel, tmp_path: Path) -> None:
    (written,) = write_files(pruned, tmp_path, ["safetensors"]).files
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
    (written,) = write_files(model, tmp_path, ["sparse"]).files
    assert written.path.name == ("model.int8.sparse.safetensors" if int8 else "model.sparse.safetensors")
    fresh = SPEC.build()
    sparse_file.read(written.path).load_into(fresh)
    assert torch.equal(outputs(fresh), outputs(model.model))
    found = sizes(model)
    assert written.path.stat().st_size == pytest.approx(found["sparse INT8" if int8 else "sparse fp32"], rel=0.05)
    assert found["sparse fp32"] < 0.4 * found["dense fp32"]
    assert not int8 or found["sparse INT8"] < 0.2 * found["dense fp32"]


@pytest.mark.parametrize("int8", [False, True])
def test_onnx_gives_the_same(int8: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra engines is not installed")
    if int8:
        pytest.importorskip("torchao", reason="the extra quantization is not installed")
    model = request.getfixturevalue("in_int8" if int8 else "pruned")
    (written,) = write_files(model, tmp_path, ["onnx"]).files
    file = onnx.load(written.path)
    matrices = [w.data_type for w in file.graph.initializer if len(w.dims) == 2]
    assert matrices.count(onnx.TensorProto.INT8) == len(model.int8)
    assert sum(node.op_type == "QuantizeLinear" for node in file.graph.node) == (len(model.int8) if int8 else 0)
    assert str(Path(formats.__file__).parent).encode() not in written.path.read_bytes()  # nor any other path


def test_a_file_for_the_runtime_is_loaded_without_the_suite(
    pruned: PrunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.01)
    (written,) = write_files(pruned, tmp_path, ["runtime"]).files
    assert written.path.name == "model.runtime.npz"
    assert written.path.stat().st_size < 0.5 * sum(p.numel() * 4 for p in pruned.model.parameters())
    loaded = cap.runtime.load(written.path, timm.create_model)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(IMAGES), outputs(pruned.model), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="--format runtime holds single precision alone"):
        check_formats(["runtime"], int8=True)
    with pytest.raises(UserError, match="--format runtime is for models with all their units"):
        write_files(dataclasses.replace(pruned, removed={"blocks.0.mlp.fc1": [0]}), tmp_path, ["runtime"])


def test_other_outputs_are_noticed(pruned: PrunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = formats.FileFormat("model", lambda pruned, _, images: pruned.model(images).detach() + 1e-3)
    monkeypatch.setitem(formats.FORMATS, "sparse", other)
    with pytest.raises(RuntimeError, match="gives other outputs: they differ by up to"):
        write_files(pruned, tmp_path, ["sparse"])


@pytest.mark.parametrize("stop", ["disk", "outputs"])
def test_nothing_half_written_is_left(
    pruned: PrunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """A file that may not grow stands for a full disk; the old files stay."""
    folder = tmp_path / "new" / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if stop == "outputs":
        other = formats.FileFormat("model", lambda pruned, _, images: pruned.model(images).detach() + 1e-3)
        monkeypatch.setitem(formats.FORMATS, "sparse", other)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises((UserError, RuntimeError), match=f"^(cannot write to {folder}: .*arge|.* other outputs)"):
            write_files(pruned, folder, ["safetensors", "sparse"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.export.model.run", lambda *_: pytest.fail("no work is done"))
    (tmp_path / "file").touch()
    (tmp_path / "full/card.json").mkdir(parents=True)
    usage = shutil.disk_usage(tmp_path)

    def error(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["export", "--model", "vit", "--pruner", "magnitude", *arguments])
        assert stopped.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    way = f"{tmp_path}/file is a file: --output"
    assert way in error("--output", str(tmp_path / "file"))
    assert way in error("--output", str(tmp_path / "file/within"))
    assert "card.json is a folder, but a file of that name" in error("--output", str(tmp_path / "full"))
    assert "cannot write to /proc/no: " in error("--output", "/proc/no")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    assert "new has 1 MiB free, but up to 2 MiB are written" in error("--output", str(tmp_path / "new"))
    monkeypatch.undo()
    monkeypatch.setattr("bench.export.model.run", lambda *_: pytest.fail("no work is done"))
    new = ("--output", str(tmp_path / "new"))
    assert "of its 196,608 weights to prune none is left" in error("--sparsity", "0.9999999", *new)
    assert "skips 5:7" in error("--sparsity", "5:7", *new)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "full"}


def test_a_pruner_that_ends_the_process_is_told(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(
        "import os, cap\nclass Ends(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n"
        "        os._exit(4)\n"
    )
    trial = Trial(
        sweep="export", profile="embedded", model="vit", pruner=f"{tmp_path}/ends.py:Ends", patterns=("0.5",),
        calibration=CalibrationSpec(images=6), evaluation_images=100,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"ends\.py:Ends ends the process: SystemExit: 4"):
        source.run(trial)


def test_what_a_trial_left_is_loaded(pruned: PrunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "abc" / "0.75.safetensors"
    save_pruned(file, pruned.model, pruned.masks)
    with pytest.raises(UserError, match=r"abc\.parquet does not exist"):
        load(file, int8=False)
    top1 = evaluate(pruned.model, SPEC.evaluation_inputs(1000)).top1
    row = {**ROW, "status": "done", "top1": top1, "n_images": 1000}
    rows = [row, {**row, "pattern": "0.9"}]
    pd.DataFrame(rows).to_parquet(tmp_path / "abc.parquet")
    found = load(file, int8=False)
    assert torch.equal(outputs(found.model), outputs(pruned.model))
    assert found.masks.keys() == pruned.masks.keys()
    assert found.row == ResultRow(**row)
    pd.DataFrame([{**row, "top1": 70.0} for row in rows]).to_parquet(tmp_path / "abc.parquet")
    with pytest.raises(UserError, match=f"has {top1:.2f} % top-1, but its row says 70.00 %"):
        load(file, int8=False)
    monkeypatch.setattr(source, "evaluate", lambda *_: pytest.fail("not needed"))
    with pytest.raises(UserError, match=r"0\.5\.safetensors does not exist"):
        load(file.with_name("0.5.safetensors"), int8=False)


def test_a_checkpoint_is_quantized_on_the_images_of_its_trial(
    pruned: PrunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as many as the trial's and drawn by its seed, not those of a trial with the default calibration."""
    recipe = {"epochs": 1, "images": 8, "batch_size": 8, "lr": 1e-3, "lr_end": 1e-4, "schedule": "cosine"}
    trial = Trial(
        sweep="s",
        profile="embedded",
        model="vit",
        pruner="magnitude",
        patterns=("0.75",),
        training=GradualSpec(**recipe, period=1, knots=((0, 0.75),)),
        calibration=CalibrationSpec(images=6),
        seed=3,
        evaluation_images=100,
    )
    row = {**ROW, "status": "done", "seed": trial.seed, "calibration_images": trial.calibration.images}
    row |= {"top1": evaluate(pruned.model, trial.resolve().evaluation_inputs()).top1, "n_images": 100}
    file = tmp_path / "abc" / "0.75.safetensors"
    save_pruned(file, pruned.model, pruned.masks)
    pd.DataFrame([row]).to_parquet(tmp_path / "abc.parquet")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(source, "observed", lambda model, images: seen.append(images))
    monkeypatch.setattr(source, "int8_layers", lambda graph: {})
    found = load(file, int8=True)
    (images,) = seen
    assert torch.equal(images, draw_calibration(trial.resolve(), share=False).images)
    assert (found.row.phase, found.row.top1, found.row.n_images) == ("int8", row["top1"], 100)


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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime: pip install .*\.\[engines\]"):
        check_formats(["onnx"], int8=False)
    with pytest.raises(UserError, match=r"INT8 needs torchao: pip install .*\.\[quantization\]"):
        check_formats(["sparse"], int8=True)

"""An export is a repository of the hub: timm loads the folder, and pushing it asks the hub for nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import timm
import torch

import cap
from bench import cli
from bench.core.errors import UserError
from bench.data.fashion_mnist import CLASSES, load_split, to_input
from bench.export.hub import how_made, push
from bench.export.model import write_files
from bench.export.source import PrunedModel
from bench.models import get_model
from bench.results.schema import ResultRow

ROW = {
    "profile": "embedded", "sweep": "export", "trial_id": "0" * 16, "dataset": "fashion-mnist", "pruner": "magnitude",
    "pruner_options": "{}", "pattern": "0.75", "phase": "one_shot", "seed": 2, "top1": 84.51, "top1_dense": 88.54,
    "n_images": 10_000, "sparsity_prunable": 0.75, "recipe": None, "commit": "c0ffee", "calibration_images": 1024,
}  # fmt: skip


def pruned(name: str) -> PrunedModel:
    spec = get_model("embedded", name)
    model = spec.load()
    weights = {layer: weight.detach() for layer, weight in cap.select_layers(model, spec.prunable).items()}
    masks = {layer: weight.abs() > weight.abs().median() for layer, weight in weights.items()}
    for layer, mask in masks.items():
        weights[layer].mul_(mask)
    return PrunedModel(spec, model, masks, ResultRow(**ROW, model=name))


@pytest.mark.parametrize("name", ["vit", "convnext", "xcit"])
def test_timm_loads_the_folder(name: str, tmp_path: Path) -> None:
    model = pruned(name)
    write_files(model, tmp_path, ["safetensors"])
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = to_input(load_split("test").images[:16], model.spec.input_size)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model.model(images))
    config = loaded.pretrained_cfg
    assert config["input_size"] == model.spec.input_shape
    assert tuple(config["label_names"]) == CLASSES
    preparation = timm.data.resolve_model_data_config(loaded)
    assert list(preparation["mean"]) == [model.spec.preparation()["mean"]]


def test_the_card_says_how_good_it_is_and_how_it_was_made(tmp_path: Path) -> None:
    write_files(pruned("vit"), tmp_path, ["safetensors"], "someone/vit-sparse")
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: timm\n")
    assert "- {type: accuracy, name: top-1, value: 84.51}" in text
    assert "75.00 % of the prunable weights are zero" in text
    assert "Calibrated on 1,024 training images. Measured on the images of `test`; protocol of cap-bench" in text
    assert "capbench export --model vit --pruner magnitude --sparsity 0.75 --seed 2\n" in text
    assert 'timm.create_model("hf-hub:someone/vit-sparse", pretrained=True)' in text
    card = huggingface_hub.ModelCard(text)  # as the hub reads it
    assert card.data.library_name == "timm"
    assert card.data.eval_results[0].metric_value == 84.51


def test_commands_of_what_training_left() -> None:
    row = ResultRow(**{**ROW, "model": "vit", "sweep": "gradual", "phase": "finetuned"})
    lines = how_made(row, int8=True)
    assert "capbench run gradual --only model=vit --only pruner=magnitude --seeds 2" in lines
    assert f"capbench export runs/embedded/gradual/{'0' * 16}/0.75.safetensors --int8" in lines


def test_it_is_pushed_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Api:
        def __init__(self, **values: Any) -> None: ...

        def create_repo(self, repository: str, exist_ok: bool) -> Any:
            calls.append((repository, exist_ok))
            return SimpleNamespace(repo_id=repository)

        def upload_folder(self, **values: Any) -> None:
            calls.append(values)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    push(tmp_path, ["config.json"], "someone/x")
    assert calls[0] == ("someone/x", True)
    assert calls[1]["folder_path"] == tmp_path
    assert calls[1]["allow_patterns"] == ["config.json"]


def test_without_a_network_the_folder_stays_and_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("[Errno 111]\nConnection refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(UserError) as raised:
        push(tmp_path, ["config.json"], "someone/x")
    reason = "was not pushed to someone/x: [Errno 111] Connection refused; later: hf upload someone/x"
    assert str(raised.value) == f"{tmp_path} is written, but {reason} {tmp_path}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--push-to-hub", "not a name"], "--push-to-hub 'not a name' is no name of a repository, USER/NAME"),
        (["--push-to-hub", "a/b", "--int8"], "--push-to-hub is for timm, which reads safetensors in single precision"),
        (
            ["--push-to-hub", "a/b", "--sparsity", "0.5@units"],
            "timm cannot load a model without units, such as of",
        ),
        (["--push-to-hub", "a/b"], "--push-to-hub needs a token of the hub: hf auth login, or HF_TOKEN"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_any_work(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench.export.model.run", lambda *_: pytest.fail("no work is done"))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", "--model", "vit", "--pruner", "magnitude", "--output", str(tmp_path / "new"), *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "new").exists()


def test_other_formats_have_no_configuration(tmp_path: Path) -> None:
    write_files(pruned("vit"), tmp_path, ["sparse"])
    assert not (tmp_path / "config.json").exists()
    assert not (tmp_path / "README.md").read_text().startswith("---")
    assert json.loads((tmp_path / "card.json").read_text())["pattern"] == "0.75"

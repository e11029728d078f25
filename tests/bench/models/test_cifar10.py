from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import cap
from bench import assets
from bench.cli import main
from bench.core.errors import UserError
from bench.models.cifar10 import CIFAR10, Cifar10Model
from bench.specs.discovery import load_sweep
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import Trial
from bench.trials.runner import run_trial

STAGES = ((16, 16), (16, 32), (32, 64))


def reference() -> nn.Module:
    """The network of torchvision's blocks, whose names in a state dict are those of the checkpoint."""
    net = nn.Module()
    net.conv1, net.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    for number, (before, width) in enumerate(STAGES, 1):
        stride = 1 if number == 1 else 2
        shortcut = (
            nn.Sequential(nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width)) if stride > 1 else None
        )
        blocks = [BasicBlock(before, width, stride, shortcut), BasicBlock(width, width), BasicBlock(width, width)]
        net.add_module(f"layer{number}", nn.Sequential(*blocks))
    net.fc = nn.Linear(64, 10)
    return net


def forward(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.bn1(net.conv1(x)))
    x = functools.reduce(lambda value, layer: layer(value), (net.layer1, net.layer2, net.layer3), x)
    return net.fc(F.avg_pool2d(x, 8).flatten(1))


def random_state() -> dict[str, Tensor]:
    """Random weights under the checkpoint's names, statistics of batch norm included."""
    torch.manual_seed(0)
    state = reference().state_dict()
    spread = {name: 0.5 + torch.rand(value.shape) for name, value in state.items() if name.endswith(("mean", "var"))}
    return {**state, **spread}


def write_checkpoint(folder: Path, state: dict[str, Tensor]) -> Cifar10Model:
    """Writes a checkpoint of the papers' form where the environment says, and returns the model that has it."""
    file = folder / "resnet20_cifar10.pth.tar"
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    return CIFAR10["resnet20"].model_copy(update={"checkpoint_sha256": assets.sha256(file), "top1": None})


@pytest.fixture
def spec(tmp_path: Path, cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> Cifar10Model:
    monkeypatch.setenv("CAPBENCH_WEIGHTS", str(tmp_path))
    made = write_checkpoint(tmp_path, random_state())
    monkeypatch.setitem(CIFAR10, "resnet20", made)
    return made


def test_a_checkpoint_of_these_names_gives_the_network(spec: Cifar10Model) -> None:
    spec.check()
    net = reference().eval()
    net.load_state_dict(random_state())
    images = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(spec.load()(images), forward(net, images))


def test_the_layers_are_those_of_the_papers() -> None:
    model = CIFAR10["resnet20"].outline()
    layers = cap.select_layers(model, CIFAR10["resnet20"].prunable)
    assert sum(weight.numel() for weight in layers.values()) == 267_264
    assert [*layers] == [f"layer{i}.{j}.conv{k}.weight" for i in (1, 2, 3) for j in (0, 1, 2) for k in (1, 2)]


def test_the_sweep_has_the_authors_settings() -> None:
    trials = load_sweep("resnet20").trials("cifar10")
    assert {trial.seed for trial in trials} == {0, 1, 2}
    found = {(t.pruner, t.pruner_options.get("block_size"), t.pruner_options.get("num_gradients")) for t in trials}
    assert {("magnitude", None, None), ("woodfisher", 2000, 1000), ("chita", 500, 1000), ("cap", 192, 1000)} <= found
    assert {trial.pruner_options["stages"] for trial in trials if trial.pruner == "chita"} == {1, 16}
    assert all(trial.patterns[-1] == "0.9" for trial in trials)


def test_both_treatments_of_batch_normalisation_and_stages_chosen_on_validation_images() -> None:
    trials = [trial for trial in load_sweep("resnet20").trials("cifar10") if trial.seed == 0]
    anew = [(trial.pruner, trial.pruner_options.get("stages") or trial.pruner_options.get("num_recomputations"))
            for trial in trials if trial.batch_norm == "reestimated"]  # fmt: skip
    assert anew == [("magnitude", None), ("cap", 1), ("chita", 1), ("cap", 16), ("chita", 16)]
    sweep = load_sweep("resnet20_stages")
    assert sweep.tuning
    chosen = sweep.trials("cifar10")
    assert {(trial.evaluation_split, trial.patterns, trial.seed) for trial in chosen} == {
        ("validation", ("0.8", "0.9"), 0)
    }
    staged = {(trial.pruner_options["num_recomputations"], trial.pruner_options["schedule"],
               trial.pruner_options["fresh_gradients"], trial.batch_norm)
              for trial in chosen if trial.pruner == "cap"}  # fmt: skip
    assert len(staged) == 2 * (1 + 2 * 2 * 2)


def test_a_trial_runs(spec: Cifar10Model, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(
        sweep="s", profile="cifar10", model="resnet20", pruner="cap", patterns=("0.5",), calibration={"images": 8},
        pruner_options={"block_size": 16, "damp": 1e-3, "num_gradients": 4, "num_recomputations": 2,
                        "fresh_gradients": True},
        finetune_at=("0.5",), finetune=FinetuneSpec(epochs=1, images=8, batch_size=4, lr=1e-3, lr_end=1e-4, crop=0.8),
    )  # fmt: skip
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    rows = {row.phase: row for row in run_trial(trial).rows}
    assert rows["dense"].n_images == 10
    assert rows["one_shot"].sparsity_prunable == 0.5
    assert rows["one_shot"].dataset == "cifar-10"
    assert rows["finetuned"].sparsity_prunable == 0.5


def test_identity_follows_weights_and_images(
    spec: Cifar10Model, cifar10_writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = spec.identity
    assert before == {"weights": assets.sha256(tmp_path / "resnet20_cifar10.pth.tar"), "data": before["data"]}
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(cifar10_writer(tmp_path / "again", "binary")))
    assert spec.identity == before, "the same images"
    monkeypatch.delenv("CAPBENCH_CIFAR10")
    assert spec.identity == {**before, "data": ""}


def test_what_is_missing_or_wrong_is_told_in_one_line(
    spec: Cifar10Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = re.escape("https://github.com/IST-DASLab/M-FAC/raw/")
    with pytest.raises(UserError, match=f"is not the checkpoint that the papers prune, .*fetch {source}"):
        spec.model_copy(update={"checkpoint_sha256": "0" * 64}).check()
    with pytest.raises(UserError, match="cifar-10 has no split 'extra': choose from train, validation, test"):
        spec.inputs("extra")
    with pytest.raises(UserError, match="model resnet20 has no stochastic depth"):
        spec.build(drop_path_rate=0.1)
    state = random_state()
    other = write_checkpoint(tmp_path, {**state, "conv1.weight": torch.zeros(8, 3, 3, 3)})
    with pytest.raises(UserError, match=r"conv1.weight \(8, 3, 3, 3\), not \(16, 3, 3, 3\)"):
        other.check()
    (tmp_path / "resnet20_cifar10.pth.tar").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"resnet20_cifar10\.pth\.tar is no checkpoint with a state_dict: "):
        spec.load()
    monkeypatch.delenv("CAPBENCH_WEIGHTS")
    with pytest.raises(UserError, match=f"no weights of resnet20: CAPBENCH_WEIGHTS is not set; fetch {source}"):
        spec.check()


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CAPBENCH_CIFAR10", "CAPBENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    command = ["run", "resnet20", "--profile", "cifar10", "--results", str(tmp_path / "r")]
    main([*command, "--dry-run"])
    assert "39 trials, 0 done, 39 to run" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("capbench: no weights of resnet20: CAPBENCH_WEIGHTS is not set; fetch https://github.com/")


def test_exported_weights_are_loaded(spec: Cifar10Model, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file(spec.load().state_dict(), file)
    assert f'bench.get_model("cifar10", "resnet20").build(checkpoint_path="{file}")' == spec.loading_code(str(file))
    again = spec.build(checkpoint_path=str(file)).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert again(images).equal(spec.load()(images))

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from bench.models.packages import PackageFile
from bench.models.pretrained import PRETRAINED
from bench.specs.discovery import load_sweep
from bench.specs.profiles import get_profile
from bench.specs.trial import Trial


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPBENCH_PRETRAINED_DATA", raising=False)


def trials(profile: str) -> tuple[Trial, ...]:
    return load_sweep("pretrained").trials(profile)


def test_the_sweep_has_the_pruners_on_the_vit_and_both_statistics_on_the_cnn() -> None:
    found = trials("pretrained")
    assert len({trial.id for trial in found}) == len(found), "ids need no package"
    vit = [trial for trial in found if trial.model == "vit_small"]
    assert [trial.pruner for trial in vit] == ["magnitude", "woodfisher", "cap", "obc", "alps"]
    assert {trial.batch_norm for trial in vit} == {"kept"}
    cap = next(trial for trial in vit if trial.pruner == "cap")
    assert cap.pruner_options["block_size"] == 32
    assert cap.pruner_options["num_gradients"] == 256
    cnn = [(trial.pruner, trial.batch_norm) for trial in found if trial.model == "efficientnet_lite0"]
    assert set(cnn) == {(pruner, kind) for pruner in ("magnitude", "cap") for kind in ("kept", "reestimated")}
    assert len(cnn) == 4


def test_with_imagenet_the_cnn_has_its_own_labels() -> None:
    for trial in trials("pretrained_imagenet"):
        resolved = trial.resolve()
        assert resolved.model.dataset == "imagenet-1k"
        assert resolved.model.num_classes == 1000
        assert resolved.num_evaluated == 5000
        assert trial.calibration.images >= trial.pruner_options.get("num_gradients", 0)


def test_the_default_data_are_the_repositorys() -> None:
    profile = get_profile("pretrained")
    assert profile.splits == {"train": 27_000, "validation": 10_000, "test": 10_000}
    assert {profile.model(name).dataset for name in PRETRAINED} == {"fashion-mnist"}


def test_a_run_without_the_packages_ends_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = PackageFile(package="no_such_weights", file="net.onnx", sha256="0" * 64)
    monkeypatch.setitem(PRETRAINED, "vit_small", PRETRAINED["vit_small"].model_copy(update={"weights": missing}))
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "pretrained", "--profile", "pretrained", "--only", "model=vit_small", "--only"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "pruner=magnitude"])
    assert ended.value.code not in (0, None)
    said = str(ended.value.code) + "".join(capsys.readouterr())
    assert "net.onnx needs no_such_weights: pip install -c constraints.txt -e '.[pretrained]'" in said

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench.cluster.config import ClusterConfig
from bench.cluster.doctor import examine
from bench.execution.selection import TrialSelection, select_trials
from bench.models.imagenet import IMAGENET, ImageNetModel
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial


@pytest.fixture
def selection(imagenet_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialSelection:
    name = "test_vit.r160_in1k"
    spec = ImageNetModel(
        name="tiny", family="vit", timm_name=name, timm_options={"img_size": 48}, prunable=(r".*mlp.fc\d.weight",),
        input_size=48,
    )  # fmt: skip
    monkeypatch.setitem(IMAGENET, "tiny", spec)
    monkeypatch.setenv("CAPBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("shutil.which", lambda _: None)
    (tmp_path / "weights").mkdir()
    save_file(spec.build().state_dict(), tmp_path / "weights" / f"{name}.safetensors")
    trial = Trial(sweep="s", profile="imagenet", model="tiny", pruner="magnitude", patterns=("0.5",))
    sweep = Sweep(name="s", title="", profiles={"imagenet": (trial,)})
    return select_trials(sweep, "imagenet", results=tmp_path / "results")


def test_a_place_where_all_is_well(selection: TrialSelection) -> None:
    found = list(examine(selection, ClusterConfig()))
    assert [one.subject for one in found] == ["data", "images", "images", "loader", "weights", "node", "card", "disk"]
    assert all(one.ok for one in found)
    assert found[0].text.startswith("24 training and 15 test images, checksum ")
    assert found[0].text.endswith("a part of ImageNet-1k, whose results are kept apart")
    assert found[1].text.startswith("24 of 24 train images decoded")
    assert found[3].text.startswith("0 workers give ")
    assert " images a second of tiny in evaluation" in found[3].text
    assert str(found[4]) == "ok      weights   of 1 models: tiny"


def test_every_check_tells_what_is_wrong_in_a_line(
    selection: TrialSelection, photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos.copy("folders", tmp_path / "images")
    broken = sorted((folder / "val").glob("*/*"))[2]
    broken.write_bytes(broken.read_bytes()[:300])
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    (tmp_path / "weights" / "test_vit.r160_in1k.safetensors").write_bytes(b"x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = ClusterConfig(cpus_per_task=10_000, gpus_per_node=1)
    data, train, test, weights, node, card, disk = examine(selection, config, every_image=True)
    assert (data.ok, train.ok, disk.ok) == (True, True, True)
    assert not test.ok
    assert test.text.startswith(f"1 of 15 test images cannot be decoded: test image 2 ({broken})")
    assert not weights.ok
    assert "is damaged" in weights.text
    assert not node.ok
    assert "jobs ask for 10000 cores" in node.text
    assert (card.ok, "torch finds no CUDA here" in card.text) == (False, True)
    assert all("\n" not in one.text for one in (test, weights, node, card))


def test_data_that_are_missing_are_told(selection: TrialSelection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPBENCH_IMAGENET")
    data, train, test, weights, *_ = examine(selection, ClusterConfig())
    assert [data.ok, train.ok, test.ok, weights.ok] == [False, False, False, True]
    assert data.text.startswith("no imagenet-1k: CAPBENCH_IMAGENET is not set")

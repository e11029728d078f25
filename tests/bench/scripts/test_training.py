from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bench.core.errors import UserError
from bench.data.fashion_mnist import Split, load_split, to_input
from bench.models import embedded
from bench.models.embedded import EMBEDDED, EmbeddedModel
from bench.models.smaller import SMALLER
from bench.scripts.augmentation import kept_patches
from bench.scripts.recipes import EPOCHS, RECIPES, ContrastiveRecipe, Recipe
from bench.scripts.train_models import choose_epochs, lengths_of, recipe_of
from bench.scripts.training import SupervisedTraining, Training, for_training, run_epochs

SMALL = EMBEDDED["vit"].model_copy(
    update={"timm_options": {**EMBEDDED["vit"].timm_options, "embed_dim": 16, "depth": 1, "num_heads": 1}}
)


class KilledError(Exception):
    pass


CONVNEXT = EMBEDDED["convnext"].model_copy(
    update={"timm_options": {**EMBEDDED["convnext"].timm_options, "depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}}
)


def images() -> Split:
    return load_split("train").subset(64, seed=0)


def supervised(lr: float = 1e-3, seed: int = 0, spec: EmbeddedModel = SMALL) -> SupervisedTraining:
    torch.manual_seed(seed)
    model = spec.build(drop_path_rate=0.1)
    recipe = Recipe(epochs=3, lr=lr, batch_size=16, warmup_epochs=1, calm_epochs=1, mixup_prob=1.0)
    return SupervisedTraining(model, spec, images(), recipe, seed)


def convolutional() -> SupervisedTraining:
    return supervised(spec=CONVNEXT)


def self_supervised() -> Training:
    pytest.importorskip("lightly", reason="the extra training is not installed")
    from bench.scripts.contrastive import ContrastiveTraining

    recipe = ContrastiveRecipe(epochs=3, batch_size=16, warmup_epochs=1, hidden=16, projection=8)
    return ContrastiveTraining(SMALL, images(), recipe, 0)


def weights(training: Training) -> dict[str, torch.Tensor]:
    name = "averaged" if isinstance(training, SupervisedTraining) else "backbone"
    return dict(getattr(training, name).state_dict())


@pytest.mark.parametrize("start", [supervised, convolutional, self_supervised])
@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_training_ends_with_the_same_weights(start, after: int, tmp_path: Path) -> None:
    whole = start()
    records = run_epochs(whole, tmp_path / "whole", lambda: 50.0, "vit", show=lambda line: None)

    def killed(line: str) -> None:
        if f"epoch {after}/3" in line:
            raise KilledError

    with pytest.raises(KilledError):
        run_epochs(start(), tmp_path / "killed", lambda: 50.0, "vit", show=killed)
    torch.rand(7)
    again, lines = start(), list[str]()
    resumed = run_epochs(again, tmp_path / "killed", lambda: 50.0, "vit", show=lines.append)
    assert [line.split(",")[0] for line in lines] == [f"vit: epoch {epoch}/3" for epoch in range(after + 1, 4)]
    assert [record.loss for record in resumed] == [record.loss for record in records]
    assert all(value.equal(weights(again)[name]) for name, value in weights(whole).items())


@pytest.mark.parametrize("spec", [SMALL, CONVNEXT], ids=["vit", "convnext"])
def test_what_makes_a_step_faster_changes_no_gradient(spec: EmbeddedModel) -> None:
    plain = spec.build()
    fast = for_training(copy.deepcopy(plain))
    assert not [name for name, module in fast.named_modules() if getattr(module, "fused_attn", False)]
    inputs = torch.randn(4, *spec.input_shape, generator=torch.Generator().manual_seed(0))
    for model in (plain, fast):
        model(inputs).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    quiet = {"label": "vit", "show": lambda line: None}
    run_epochs(supervised(), tmp_path, lambda: 50.0, **quiet)
    first = run_epochs(supervised(), tmp_path, lambda: 60.0, **quiet)
    other = run_epochs(supervised(lr=2e-3), tmp_path, lambda: 60.0, **quiet)
    assert {record.validation_top1 for record in first} == {50.0}, "all is done, so nothing runs"
    assert {record.validation_top1 for record in other} == {60.0}


def test_the_last_epoch_is_validated_in_any_case(tmp_path: Path) -> None:
    records = run_epochs(supervised(), tmp_path, lambda: 50.0, "vit", validate_every=2, show=lambda line: None)
    assert [record.validation_top1 for record in records] == [None, 50.0, 50.0]


@pytest.mark.parametrize(
    ("found", "chosen"), [({40: 88.0, 60: 89.0, 80: 88.5}, 60), ({80: 89.0, 60: 89.0, 40: 88.0}, 60)]
)
def test_validation_chooses_the_epochs(found: dict[int, float], chosen: int) -> None:
    assert choose_epochs(found) == chosen


def test_patches_are_kept_at_random() -> None:
    kept = kept_patches(50, 16, 0.25, torch.Generator().manual_seed(0))
    assert kept.shape == (50, 12)
    assert all(len(set(row)) == 12 for row in kept.tolist())
    assert sorted(set(kept.flatten().tolist())) == list(range(16))
    assert len({tuple(sorted(row)) for row in kept.tolist()}) > 40, "not always the same"


def test_without_hidden_patches_the_encoder_is_timms() -> None:
    pytest.importorskip("lightly", reason="the extra training is not installed")
    from bench.scripts.contrastive import ContrastiveTraining

    spec = EMBEDDED["simclr"].model_copy(update={"timm_options": {**EMBEDDED["simclr"].timm_options, "depth": 1}})
    training = ContrastiveTraining(spec, images(), ContrastiveRecipe(epochs=1, batch_size=16, hidden_patches=0.0), 0)
    views = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(training.encode(views), training.encoder(views))


def test_a_smaller_model_has_recipe_and_epochs_of_the_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SMALLER["vit_75"]
    assert recipe_of(small) == recipe_of(EMBEDDED["vit"]) == RECIPES["vit"]
    assert lengths_of(EMBEDDED["vit"]) == EPOCHS["vit"]
    assert lengths_of(small) == (EMBEDDED["vit"].with_seed(0).card()["recipe"]["epochs"],), "chosen for the dense model"
    monkeypatch.setattr(embedded.assets, "checksums", dict)
    with pytest.raises(UserError, match="model vit was not trained with seed 0 yet: nox -s train_zoo -- --model vit"):
        lengths_of(small)


def test_models_with_a_seed_have_files_of_their_own() -> None:
    xcit = EMBEDDED["xcit"].with_seed(2)
    assert xcit.files == ("zoo/xcit-2.safetensors", "zoo/xcit-2.json")
    assert EMBEDDED["xcit"].files == ("zoo/xcit.safetensors", "zoo/xcit.json")
    assert EMBEDDED["vit"].with_seed(1).prunable == EMBEDDED["vit"].prunable


def test_local_interaction_is_pruned_in_models_with_a_seed() -> None:
    """As in the paper: the depthwise convolutions of XCiT's local patch interaction."""
    import cap

    xcit = EMBEDDED["xcit"].with_seed(0)
    layers = cap.select_layers(xcit.outline(), xcit.prunable)
    convolutions = [name for name in layers if "local_mp.conv" in name]
    assert len(convolutions) == 6, "two in each of three blocks"
    assert not [name for name in cap.select_layers(xcit.outline(), EMBEDDED["xcit"].prunable) if "conv" in name]


def test_features_are_judged_by_neighbours_among_all_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the vote counted image by image: 20 neighbours, each weighs exp(cosine / 0.07)."""
    splits = {"train": load_split("train").subset(60, seed=0), "test": load_split("test").subset(12, seed=0)}
    monkeypatch.setattr(embedded, "load_split", splits.__getitem__)
    model = EMBEDDED["simclr"].build().eval()
    found = EMBEDDED["simclr"].knn_top1(model)
    with torch.no_grad():
        known, asked = (
            F.normalize(model.forward_features(to_input(s.images, 28))[:, 1:].mean(1)) for s in splits.values()
        )
    right = 0
    for feature, label in zip(asked, splits["test"].labels, strict=True):
        cosine = known @ feature
        votes = [0.0] * 10
        for index in cosine.argsort(descending=True)[:20].tolist():
            votes[int(splits["train"].labels[index])] += math.exp(float(cosine[index]) / 0.07)
        right += votes.index(max(votes)) == int(label)
    assert found == pytest.approx(100 * right / 12)

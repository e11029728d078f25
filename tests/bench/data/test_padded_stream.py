"""The paper's augmentation sets."""

from __future__ import annotations

import pytest
import torch
from timm.layers import DropPath

from bench.core.random_state import random_state, set_random_state
from bench.data.augmentation import AUGMENTATION_SETS
from bench.data.fashion_mnist import MEAN, STD, load_split
from bench.data.padded_stream import PaddedStream
from bench.models import get_model
from bench.specs.recipes import FinetuneSpec


def batches(name: str, epoch: int = 0, seed: int = 0, batch_size: int = 32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    recipe = FinetuneSpec(
        epochs=1, images=96, batch_size=batch_size, lr=1e-3, lr_end=1e-4, augmentation=name, crop=0.75
    )
    return list(PaddedStream(load_split("train"), recipe, 32, 10, seed).epoch(epoch))


@pytest.mark.parametrize("name", AUGMENTATION_SETS)
def test_every_set_runs_and_repeats(name: str) -> None:
    torch.manual_seed(1)
    one = batches(name)
    torch.manual_seed(2)
    again, other_epoch, other_seed = batches(name), batches(name, epoch=1), batches(name, seed=10)
    for (inputs, labels), (same, same_labels) in zip(one, again, strict=True):
        assert inputs.shape == (32, 1, 32, 32)
        assert inputs.isfinite().all()
        assert inputs.equal(same)
        assert labels.equal(same_labels)
    assert not one[0][0].equal(other_epoch[0][0])
    assert not one[0][0].equal(other_seed[0][0])


def test_mixing_gives_smoothed_probabilities() -> None:
    (_, labels), *_ = batches("light1")
    assert labels.dtype == torch.int64
    (_, probabilities), *_ = batches("medium2")
    assert probabilities.shape == (32, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(32))
    assert probabilities.min() > 0
    assert batches("deit", batch_size=95)[1][1].dtype == torch.int64  # a pair is needed to mix


def test_the_strongest_posterisation_keeps_a_bit() -> None:
    """At magnitude 15 timm asks for no bits at all, which Pillow refuses; 480 images meet that operation."""
    for epoch in range(5):
        batches("medium1", epoch)


def test_stochastic_depth_can_be_switched_on_for_trained_weights() -> None:
    spec = get_model("embedded", "vit")
    model, deep = spec.load(), spec.build(drop_path_rate=AUGMENTATION_SETS["deit"].drop_path)
    deep.load_state_dict(model.state_dict())
    rates = [module.drop_prob for module in deep.modules() if isinstance(module, DropPath)]
    assert max(rates) == pytest.approx(0.1)


def test_the_order_is_the_one_that_committed_results_were_made_with() -> None:
    recipe = FinetuneSpec(epochs=1, images=24, batch_size=12, lr=1e-3, lr_end=1e-4, augmentation="light1", crop=0.75)
    stream = get_model("embedded", "vit").training_stream(recipe, seed=5)
    assert [labels.tolist() for _, labels in stream.epoch(1)] == [
        [6, 0, 8, 8, 6, 3, 0, 7, 1, 2, 9, 6],
        [9, 8, 7, 3, 0, 0, 2, 0, 9, 6, 3, 4],
    ]


@pytest.mark.parametrize("name", ["light1", "deit"])
def test_shares_are_the_batch_and_an_epoch_goes_on_where_it_was_left(name: str) -> None:
    recipe = FinetuneSpec(epochs=1, images=48, batch_size=16, lr=1e-3, lr_end=1e-4, augmentation=name, crop=0.75)
    spec = get_model("embedded", "vit")
    states, whole = [], []
    for batch in spec.training_stream(recipe, 5).epoch(1):
        whole.append(batch)
        states.append(random_state())
    for rank in range(3):
        for (inputs, labels), share in zip(whole, spec.training_stream(recipe, 5, rank, 3).epoch(1), strict=True):
            assert share[0].equal(inputs[rank::3])
            assert share[1].equal(labels[rank::3])
    set_random_state(states[0])
    rest = list(spec.training_stream(recipe, 5).epoch(1, skip=1))
    assert len(rest) == 2
    assert all(one[0].equal(other[0]) and one[1].equal(other[1]) for one, other in zip(rest, whole[1:], strict=True))


def test_the_mild_set_shifts_and_mirrors_and_changes_little_else() -> None:
    """Every image is a shift by at most two pixels of the original or its mirror image, but for its brightness."""
    recipe = FinetuneSpec(epochs=1, images=32, batch_size=32, lr=1, lr_end=1, augmentation="mild", crop=1.0)
    split = load_split("train")
    stream = PaddedStream(split, recipe, 28, 10, seed=3)
    ((inputs, labels),) = stream.epoch(0)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(3))[:32]
    originals = (split.images[order].float() / 255 - MEAN) / STD
    assert split.labels[order].equal(labels)
    found = 0
    for image, original in zip(inputs, originals, strict=True):
        framed = torch.nn.functional.pad(original, (2, 2, 2, 2), value=-MEAN / STD)
        moved = [
            side.roll((down, right), (1, 2))[:, 2:-2, 2:-2].flatten()
            for side in (framed, framed.flip(2)) for down in range(-2, 3) for right in range(-2, 3)
        ]  # fmt: skip
        found += max(float(torch.corrcoef(torch.stack([image.flatten(), one]))[0, 1]) for one in moved) > 0.99
    assert found >= 24, "but for those with a rectangle of noise"

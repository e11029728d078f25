from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.augmentation import AUGMENTATION_SETS
from bench.data.imagenet import decoding
from bench.data.imagenet.stream import share
from bench.models.imagenet import ImageNetModel
from bench.specs.recipes import FinetuneSpec

SIZE = 48


def training(augmentation: str, **changes: Any) -> FinetuneSpec:
    fields = {"epochs": 1, "images": 24, "batch_size": 10, "lr": 1e-3, "lr_end": 1e-4, **changes}
    return FinetuneSpec(augmentation=augmentation, **fields)


@pytest.mark.parametrize("augmentation", AUGMENTATION_SETS)
def test_training_does_not_depend_on_workers(
    imagenet_folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch, augmentation: str
) -> None:
    def epoch(seed: int, number: int, workers: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        monkeypatch.setenv("CAPBENCH_WORKERS", str(workers))
        return list(tiny.training_stream(training(augmentation), seed).epoch(number)), torch.rand(3)

    one, drawn = epoch(5, 1, workers=0)
    assert [len(labels) for _, labels in one] == [10, 10, 4]
    assert all(inputs.shape[1:] == (3, SIZE, SIZE) and inputs.isfinite().all() for inputs, _ in one)
    monkeypatch.setattr(decoding, "CHUNK", 3)
    again, drawn_again = epoch(5, 1, workers=2)
    assert drawn.equal(drawn_again), "what the model draws depends on the workers"
    for (inputs, labels), (same, same_labels) in zip(one, again, strict=True):
        assert inputs.equal(same)
        assert labels.equal(same_labels)
    for seed, number in ((5, 2), (6, 1)):
        other, _ = epoch(seed, number, workers=0)
        assert not other[0][0].equal(one[0][0])


@pytest.mark.parametrize("augmentation", ["light1", "deit"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_together_are_the_batch(
    imagenet_folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch, augmentation: str, world_size: int
) -> None:
    recipe = training(augmentation, images=23)  # the last batch is of 3, which is not mixed
    whole = list(tiny.training_stream(recipe, 5).epoch(1))
    decoded: list[int] = []
    read = decoding.DecodedImages.__getitem__
    monkeypatch.setattr(
        decoding.DecodedImages, "__getitem__", lambda self, index: decoded.append(index) or read(self, index)
    )
    for rank in range(world_size):
        batches = list(tiny.training_stream(recipe, 5, rank, world_size).epoch(1))
        for (inputs, labels), (some, their_labels) in zip(whole, batches, strict=True):
            chosen = share(len(inputs), rank, world_size)
            assert some.equal(inputs[chosen])
            assert their_labels.equal(labels[chosen])
    assert len(decoded) == len(set(decoded)) == 23, "each image is decoded once, by the process that needs it"


@pytest.mark.parametrize("augmentation", ["light1", "medium2", "deit"])
def test_an_epoch_goes_on_where_it_was_left(imagenet_folders: Path, tiny: ImageNetModel, augmentation: str) -> None:
    stream = tiny.training_stream(training(augmentation), seed=5)
    whole, (rest,) = list(stream.epoch(1)), list(stream.epoch(1, skip=2))
    torch.testing.assert_close(rest, whole[2])


def test_shares_make_up_the_batch() -> None:
    for count in (1, 2, 7, 10):
        shares = [share(count, rank, 3).tolist() for rank in range(3)]
        assert sorted(position for positions in shares for position in positions) == list(range(count))
        for positions in shares if count % 2 == 0 else ():
            assert [count - 1 - position for position in positions] == positions[::-1], "mixup's partners are together"


def test_the_order_of_an_epoch_depends_on_seed_and_number_alone(imagenet_folders: Path, tiny: ImageNetModel) -> None:
    stream = tiny.training_stream(training("light1", batch_size=12), seed=5)
    assert [labels.tolist() for _, labels in stream.epoch(1)] == [
        [998, 7, 7, 3, 998, 998, 3, 3, 3, 7, 998, 998],
        [998, 7, 3, 3, 3, 7, 7, 7, 998, 7, 3, 998],
    ]

"""Batches that are taken instead of made are the same to the bit, and leave the generators where making them does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL.Image import Image
from torch import Tensor

from bench.core.random_state import random_state, set_random_state
from bench.data import made_batches, padded_stream
from bench.data.fashion_mnist import Split, load_split
from bench.data.made_batches import MadeBatches
from bench.data.padded_stream import PaddedStream
from bench.data.stream import StreamRecipe
from bench.specs.recipes import FinetuneSpec

Batch = tuple[Tensor, Tensor]


def recipe(augmentation: str) -> FinetuneSpec:
    return FinetuneSpec(epochs=2, images=48, batch_size=16, lr=1, lr_end=1, augmentation=augmentation, crop=0.75)


def epochs(augmentation: str, draw: Callable[[], object] = lambda: None) -> Iterator[Batch]:
    stream = PaddedStream(load_split("train"), recipe(augmentation), 28, 10, seed=3)
    for number in range(2):
        for batch in stream.epoch(number):
            draw()  # as stochastic depth does in a model
            yield batch


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> MadeBatches:
    monkeypatch.setattr(padded_stream, "MADE", memory := MadeBatches())
    return memory


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list with an entry for every image that was changed."""
    changed: list[int] = []
    original = padded_stream.image_transform

    def counted(recipe: StreamRecipe, size: int) -> Callable[[Image], Image]:
        transform = original(recipe, size)

        def count(image: Image) -> Image:
            changed.append(1)
            return transform(image)

        return count

    monkeypatch.setattr(padded_stream, "image_transform", counted)
    return changed


def same(one: Batch, other: Batch) -> bool:
    return one[0].equal(other[0]) and one[1].equal(other[1])


@pytest.mark.parametrize("name", ["mild", "deit"])
def test_a_second_training_makes_no_batch_and_ends_in_the_same_state(
    name: str, made: MadeBatches, transforms: list[int]
) -> None:
    first = [(inputs.clone(), labels.clone()) for inputs, labels in epochs(name, lambda: torch.rand(7))]
    state = random_state()
    count = len(transforms)
    assert count == 96
    torch.manual_seed(99)
    second = list(epochs(name, lambda: torch.rand(7)))
    assert len(transforms) == count
    assert all(map(same, first, second))
    assert str(random_state()) == str(state)
    assert random_state()["torch"].equal(state["torch"])


def test_a_model_that_draws_otherwise_gets_the_batches_that_it_would_have_got(
    made: MadeBatches, transforms: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(epochs("mild", lambda: torch.rand(7)))
    known = list(epochs("mild", lambda: torch.rand(5)))
    assert len(transforms) > 96, "all but the first batch of each epoch are others"
    monkeypatch.setattr(padded_stream, "MADE", MadeBatches(limit=0))
    assert all(map(same, known, epochs("mild", lambda: torch.rand(5))))


def test_a_batch_is_the_callers(made: MadeBatches) -> None:
    first = [(inputs.clone(), labels.clone()) for inputs, labels in epochs("mild")]
    for _ in range(2):
        for inputs, labels in epochs("mild"):
            inputs.zero_()
            labels.zero_()
    assert all(map(same, first, epochs("mild")))


def test_other_streams_are_never_mixed_up(made: MadeBatches, transforms: list[int]) -> None:
    """Each is asked for twice in turn, as by trials of two recipes: the second time nothing is made."""
    split = load_split("train")
    other = Split(split.images.flip(0), split.labels.flip(0))
    common = recipe("mild")
    stream = PaddedStream(split, common, 28, 10, seed=3)
    mixed = recipe("deit")
    changes: list[dict[str, Any]] = [
        {}, {"split": other}, {"recipe": recipe("light1")}, {"input_size": 32}, {"seed": 4},
        {"recipe": common.model_copy(update={"crop": 0.5})}, {"recipe": common.model_copy(update={"images": 32})},
        {"recipe": common.model_copy(update={"batch_size": 8})},
        {"recipe": mixed}, {"recipe": mixed.model_copy(update={"label_smoothing": 0.0})},
        {"recipe": mixed, "num_classes": 12},
    ]  # fmt: skip
    alone = []
    for change in changes:
        padded_stream.MADE = MadeBatches(limit=0)
        alone.append(list(replace(stream, **change).epoch(0)))
    padded_stream.MADE = made
    counts = []
    for _ in range(2):
        for change, expected in zip(changes, alone, strict=True):
            assert all(map(same, replace(stream, **change).epoch(0), expected))
        counts.append(len(transforms))
    assert counts[0] == counts[1]


def test_the_rest_of_an_epoch_and_shares_of_a_batch(made: MadeBatches, transforms: list[int]) -> None:
    states, whole = [], []
    stream = PaddedStream(load_split("train"), recipe("deit"), 28, 10, seed=3)
    for inputs, labels in stream.epoch(0):
        states.append(random_state())
        whole.append((inputs.clone(), labels.clone()))
    count = len(transforms)
    set_random_state(states[0])
    assert all(map(same, stream.epoch(0, skip=1), whole[1:]))
    for rank in range(2):
        shares = ((inputs[rank::2], labels[rank::2]) for inputs, labels in whole)
        assert all(map(same, replace(stream, rank=rank, world_size=2).epoch(0), shares))
    assert len(transforms) == count


def test_streams_that_were_asked_for_last_are_kept() -> None:
    calls: list[int] = []

    def make() -> Batch:
        calls.append(1)
        return torch.rand(1000), torch.ones(1000)

    def ask(memory: MadeBatches, stream: str, batches: int = 1) -> int:
        before = len(calls)
        torch.manual_seed(0)
        for place in range(batches):
            memory.get(stream, place, make)
        return len(calls) - before

    memory = MadeBatches(limit=100_000)
    ask(memory, "a")
    each = memory._size
    assert 8_000 < each < 40_000
    memory = MadeBatches(limit=2 * each)
    assert [ask(memory, stream) for stream in "abab"] == [1, 1, 0, 0]
    assert ask(memory, "c") == 1, "in the place of a"
    assert [ask(memory, stream) for stream in "bc"] == [0, 0]
    assert ask(memory, "a") == 1
    assert [ask(memory, "long", 5) for _ in range(2)] == [5, 3], "two have room when the others have gone"


def test_a_full_disk_costs_time_alone(made: MadeBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(made_batches.tempfile, "TemporaryFile", Full)
    first = list(epochs("mild"))
    assert all(map(same, first, epochs("mild")))

"""Training stream of ImageNet-1k, decoded by worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.random_state import seed_everything
from bench.data.augmentation.transforms import create_mixup
from bench.data.imagenet.decoding import decode
from bench.data.imagenet.source import NUM_CLASSES, StoredSplit
from bench.data.imagenet.transforms import training_transform
from bench.data.seeding import combined_seed, temporarily_seeded
from bench.data.stream import StreamRecipe


@dataclass(frozen=True)
class DecodedStream:
    """Augmented batches of a stored split: see `bench.data.stream.TrainingStream`.

    What becomes of an image depends on seed, epoch and its index alone, and two images that are mixed are of one
    share: so it matters neither how many processes share a batch nor how many workers decode it.

    Attributes:
        stored: Training images.
        recipe: Recipe of the training.
        config: Preparation of the model's images, see `data_config`.
        seed: Seed of the training.
        rank: Index of this process among those that share each batch.
        world_size: Number of processes that share each batch.
        device: Torch device of the batches.
        num_classes: Number of classes of the data set.
    """

    stored: StoredSplit
    recipe: StreamRecipe
    config: dict[str, Any]
    seed: int
    rank: int = 0
    world_size: int = 1
    device: str | torch.device = "cpu"
    num_classes: int = NUM_CLASSES

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch: see `bench.data.stream.TrainingStream`."""
        if not skip:  # else the generators are in the state that a checkpoint has
            seed_everything(self.seed + number)
        generator = torch.Generator().manual_seed(combined_seed(self.seed, number))
        order = torch.randperm(len(self.stored.labels), generator=generator)[: self.recipe.images]
        batches = order.split(self.recipe.batch_size)[skip:]
        shares = [batch[share(len(batch), self.rank, self.world_size)] for batch in batches]
        mix = create_mixup(self.recipe, self.num_classes)
        transform = training_transform(self.recipe, self.config)
        decoded = decode(self.stored, transform, shares, self.device, (self.seed, number))
        for index, (batch, (inputs, labels)) in enumerate(zip(batches, decoded, strict=True), skip):
            if mix is not None and len(batch) % 2 == 0:
                with temporarily_seeded(combined_seed(self.seed, number, index)):
                    inputs, labels = mix(inputs, labels)
            yield inputs.reshape(-1, *self.config["input_size"]), labels


def share(count: int, rank: int, world_size: int) -> Tensor:
    """Returns a process's share of a batch: positions in pairs from both ends, which are those that timm's mixup mixes.

    >>> share(8, 0, 2), share(8, 1, 2)
    (tensor([0, 2, 5, 7]), tensor([1, 3, 4, 6]))
    """
    first = torch.arange(count // 2)[rank::world_size]
    middle = torch.tensor([count // 2] if count % 2 and rank == 0 else [], dtype=torch.int64)
    return torch.cat([first, middle, count - 1 - first.flip(0)])

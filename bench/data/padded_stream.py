"""Training stream of a data set in memory, such as the embedded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from bench.core.random_state import random_state, seed_everything, set_random_state
from bench.data.augmentation.transforms import create_mixup, create_shift, keep_one_bit
from bench.data.fashion_mnist import MEAN, STD, Split, to_input
from bench.data.made_batches import MadeBatches
from bench.data.stream import StreamRecipe, shape_of

MADE = MadeBatches()


@dataclass(frozen=True)
class PaddedStream:
    """Augmented batches of a split in memory: see `bench.data.stream.TrainingStream`.

    Every process makes whole batches and keeps its share of each; the shares together are one process's batch. The
    next training of this process with the same stream takes them from `MADE`.

    Attributes:
        split: Training images.
        recipe: Recipe of the training.
        input_size: Side of the model's input, pixels.
        num_classes: Number of classes of the data set.
        seed: Seed of the training.
        rank: Index of this process among those that share each batch.
        world_size: Number of processes that share each batch.
        device: Torch device of the batches.
    """

    split: Split
    recipe: StreamRecipe
    input_size: int
    num_classes: int
    seed: int
    rank: int = 0
    world_size: int = 1
    device: str | torch.device = "cpu"

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch: see `bench.data.stream.TrainingStream`."""
        recipe = self.recipe
        state = random_state() if skip else None
        seed_everything(self.seed + number)
        transform = image_transform(recipe, self.split.images.shape[-1])
        erase = RandomErasing(recipe.augmentation_set.erasing, mode="pixel", device="cpu")
        mix = create_mixup(recipe, self.num_classes)
        order = torch.randperm(len(self.split))[: recipe.images]
        if state is not None:
            set_random_state(state)
        stream = self.split, self.seed, self.input_size, self.num_classes, shape_of(recipe)
        batches = self.split.batches(recipe.batch_size, order[skip * recipe.batch_size :])
        for index, (images, labels) in enumerate(batches, start=skip):

            def make(images: Tensor = images, labels: Tensor = labels) -> tuple[Tensor, Tensor]:
                changed = np.stack([np.asarray(transform(PIL.Image.fromarray(image[0].numpy()))) for image in images])
                inputs = erase(to_input(torch.from_numpy(changed)[:, None], self.input_size))
                return mix(inputs, labels) if mix is not None and len(labels) % 2 == 0 else (inputs, labels)

            inputs, labels = MADE.get(stream, (number, index), make)
            share = slice(self.rank, None, self.world_size)
            yield inputs[share].to(self.device), labels[share].to(self.device)


def image_transform(recipe: StreamRecipe, size: int) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    """Returns timm's training transforms up to the tensor: random resized crop, flip, RandAugment or colour jitter.

    Args:
        recipe: Recipe of the training.
        size: Side of the image, pixels.
    """
    augmentation = recipe.augmentation_set
    geometry, colour, _ = create_transform(
        size,
        is_training=True,
        scale=(recipe.crop, 1.0),
        color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.rand_augment or None,
        interpolation="bilinear",
        mean=(MEAN,),
        std=(STD,),
        separate=True,
    )
    keep_one_bit(colour.transforms)
    geometry.transforms += create_shift(augmentation, size)
    return lambda image: colour(geometry(image))

"""The paper's augmentation sets, built from timm's transforms, mixup and random erasing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import torch
from timm.data import Mixup, create_transform
from timm.data.auto_augment import RandAugment
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from bench.core.random_state import random_state, seed_everything, set_random_state
from bench.data.fashion_mnist import MEAN, STD, Split, to_input
from bench.specs.recipes import TrainingSpec

JITTER = 0.3  # colour jitter of all sets


def image_transform(how: TrainingSpec, size: int) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    """Returns timm's training transforms up to the tensor: random resized crop, flip, RandAugment.

    Args:
        how: The training.
        size: Side of the image, pixels.
    """
    geometry, colour, _ = create_transform(
        size,
        is_training=True,
        scale=(how.crop, 1.0),
        color_jitter=JITTER,
        auto_augment=how.augmentation_set.rand_augment,
        interpolation="bilinear",
        mean=(MEAN,),
        std=(STD,),
        separate=True,
    )
    keep_a_bit(colour.transforms)
    return lambda image: colour(geometry(image))


def keep_a_bit(steps: Iterable[Any]) -> None:
    """Lets posterisation keep at least one bit: timm asks for none at the highest magnitude, which Pillow refuses."""
    for operation in (operation for step in steps if isinstance(step, RandAugment) for operation in step.ops):
        if operation.name.startswith("Posterize"):
            bits = operation.level_fn
            operation.level_fn = lambda level, hparams, bits=bits: (max(1, bits(level, hparams)[0]),)


def training_batches(
    split: Split,
    how: TrainingSpec,
    input_size: int,
    num_classes: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    done: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the augmented batches of one epoch; the same for the same seed and epoch.

    Args:
        split: The training images.
        how: The training.
        input_size: Side of the model's input, pixels.
        num_classes: Of the data set.
        seed: Seed of the run.
        epoch: Its number.
        rank: Which of the processes that share each batch this is; the shares together are one process' batch.
        world_size: How many share it.
        done: Batches to leave out at the beginning. The random generators then go on from the state that they are in,
            which must be that after these batches.

    Yields:
        Inputs (n, channels, size, size), and labels (n,) or, with mixup, smoothed class probabilities (n, classes).
    """
    state = random_state() if done else None
    seed_everything(seed + epoch)
    chosen = how.augmentation_set
    transform = image_transform(how, split.images.shape[-1])
    erase = RandomErasing(chosen.erasing, mode="pixel", device="cpu")
    mix = mixup(how, num_classes)
    order = torch.randperm(len(split))[: how.images]
    if state is not None:
        set_random_state(state)
    for images, labels in split.batches(how.batch_size, order[done * how.batch_size :]):
        changed = np.stack([np.asarray(transform(PIL.Image.fromarray(image[0].numpy()))) for image in images])
        inputs = erase(to_input(torch.from_numpy(changed)[:, None], input_size))
        if mix is not None and len(labels) % 2 == 0:
            inputs, labels = mix(inputs, labels)
        yield inputs[rank::world_size], labels[rank::world_size]


def mixup(how: TrainingSpec, num_classes: int) -> Any:
    """Returns timm's mixup and cutmix, or None where the set has neither."""
    chosen = how.augmentation_set
    if not (chosen.mixup or chosen.cutmix):
        return None
    return Mixup(
        mixup_alpha=chosen.mixup,
        cutmix_alpha=chosen.cutmix,
        prob=chosen.mix_probability,
        label_smoothing=how.label_smoothing,
        num_classes=num_classes,
    )

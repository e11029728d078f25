"""Transforms and mixing of an augmentation set, by timm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timm.data import Mixup
from timm.data.auto_augment import RandAugment
from torchvision.transforms import RandomCrop

from bench.data.augmentation import AugmentationSet
from bench.data.stream import StreamRecipe


def keep_one_bit(steps: Iterable[Any]) -> None:
    """Lets posterisation keep at least one bit: timm asks for none at the highest magnitude, which Pillow refuses.

    Args:
        steps: timm's transforms, changed in place.
    """
    for operation in (operation for step in steps if isinstance(step, RandAugment) for operation in step.ops):
        if operation.name.startswith("Posterize"):
            bits = operation.level_fn
            operation.level_fn = lambda level, hparams, bits=bits: (max(1, bits(level, hparams)[0]),)


def create_shift(augmentation: AugmentationSet, size: int) -> list[RandomCrop]:
    """Returns the translation of an augmentation set, its borders black; nothing where it has none.

    Args:
        augmentation: The set.
        size: Side of the images, pixels.
    """
    return [RandomCrop(size, padding=round(augmentation.shift * size))] if augmentation.shift else []


def create_mixup(recipe: StreamRecipe, num_classes: int) -> Mixup | None:
    """Returns timm's mixup and cutmix, or None where the augmentation set has neither."""
    augmentation = recipe.augmentation_set
    if not (augmentation.mixup or augmentation.cutmix):
        return None
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        prob=augmentation.mix_probability,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )

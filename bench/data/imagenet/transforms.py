"""Transforms of images, as timm has them on record for a model's weights."""

from __future__ import annotations

from typing import Any

import PIL.Image
from timm.data import create_transform, resolve_data_config
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.models import get_pretrained_cfg
from torch import Tensor
from torchvision.transforms import Compose
from torchvision.transforms.v2.functional import resized_crop

from bench.data.augmentation.transforms import create_shift, keep_one_bit
from bench.data.imagenet.decoding import Transform
from bench.data.stream import StreamRecipe


def data_config(timm_name: str, size: int) -> dict[str, Any]:
    """Returns how a model's images are prepared, as timm has it on record for its weights.

    Args:
        timm_name: Name of the architecture, with the tag of its weights.
        size: Side of the input, pixels.

    Returns:
        The `input_size`, `interpolation`, `mean`, `std`, `crop_pct` and `crop_mode` of timm's transforms.
    """
    found = get_pretrained_cfg(timm_name)
    assert found is not None
    return resolve_data_config({"input_size": (3, size, size)}, pretrained_cfg=found.to_dict())


def eval_transform(config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for evaluation, from an image to an input."""
    return create_transform(**config, is_training=False)


class CroppedFirst:
    """Transforms that begin with timm's random resized crop, which pixels go through without PIL.

    The crop is drawn alike; torchvision resizes it several times as fast as PIL, with other roundings.

    Args:
        crop: The crop.
        rest: Transforms from an image of PIL's to an input.
    """

    takes_pixels = True

    def __init__(self, crop: RandomResizedCropAndInterpolation, rest: Compose) -> None:
        self.crop, self.rest = crop, rest

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.crop}, {self.rest})"

    def __call__(self, image: PIL.Image.Image | Tensor) -> Tensor:
        """Returns the input of an image, or of pixels (3, height, width), uint8."""
        if not isinstance(image, Tensor):
            return self.rest(self.crop(image))
        top, left, height, width = self.crop.get_params(image, self.crop.scale, self.crop.ratio)
        size, way = list(self.crop.size), self.crop.interpolation
        pixels = resized_crop(image, top, left, height, width, size, way, antialias=True)
        return self.rest(PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def crops_transform(config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for training as they are by default: random resized crop, flip, colour jitter.

    They are those that CAP's script for one-shot pruning draws its gradients with (github.com/IST-DASLab/CAP,
    research/one_shot_pruning.py).
    """
    return create_transform(
        config["input_size"],
        is_training=True,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def training_transform(recipe: StreamRecipe, config: dict[str, Any]) -> Transform:
    """Returns timm's transforms for training, from an image to an input: those of the augmentation set."""
    augmentation = recipe.augmentation_set
    geometry, colour, last = create_transform(
        config["input_size"],
        is_training=True,
        scale=(recipe.crop, 1.0),
        color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.rand_augment or None,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        re_prob=augmentation.erasing,
        re_mode="pixel",
        separate=True,
    )
    keep_one_bit(colour.transforms)
    shift = create_shift(augmentation, config["input_size"][-1])
    crop, *flips = geometry.transforms
    return CroppedFirst(crop, Compose([*flips, *shift, *colour.transforms, *last.transforms]))

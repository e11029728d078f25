"""Training streams: augmented batches, epoch by epoch; the interface of every data set."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol

from torch import Tensor

from bench.data.augmentation import AugmentationSet


class StreamRecipe(Protocol):
    """Part of a training recipe that shapes its batches."""

    @property
    def images(self) -> int:
        """Number of training images in an epoch."""
        ...

    @property
    def batch_size(self) -> int:
        """Number of images in a batch, of all processes together."""
        ...

    @property
    def crop(self) -> float:
        """Smallest share of the image's area in a random crop."""
        ...

    @property
    def label_smoothing(self) -> float:
        """Label smoothing of mixed batches, in [0, 1)."""
        ...

    @property
    def augmentation_set(self) -> AugmentationSet:
        """Augmentation set of the batches."""
        ...


def shape_of(recipe: StreamRecipe) -> Hashable:
    """Returns all of a recipe that its batches depend on."""
    return recipe.images, recipe.batch_size, recipe.crop, recipe.label_smoothing, recipe.augmentation_set


class TrainingStream(Protocol):
    """Augmented batches of one training run; the same for the same seed and epoch."""

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch.

        Args:
            number: Number of the epoch, from 0.
            skip: Number of batches to leave out at the beginning. The random generators then go on from the state
                that they are in, which must be that after these batches.

        Yields:
            This process's share of each batch: inputs (n, channels, size, size), and labels (n,) or, with mixup,
            smoothed class probabilities (n, classes).
        """
        ...

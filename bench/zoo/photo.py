"""Models of photos: their data are ImageNet-1k, their transforms those that timm has on record for their weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from bench.photos import DATASET, NUM_CLASSES, check_photos, load_photos
from bench.zoo.model import ModelSpec

if TYPE_CHECKING:
    from bench.decoding import DecodedInputs
    from bench.recipes import TrainingSpec


class PhotoModel(ModelSpec):
    """A model that was trained on ImageNet-1k, wherever its weights come from."""

    dataset: ClassVar[str] = DATASET
    num_classes: ClassVar[int] = NUM_CLASSES

    def data_config(self) -> dict[str, Any]:
        """Returns how the images are prepared: see `bench.decoding.data_config`."""
        from bench.decoding import data_config

        return data_config(self.timm_name, self.input_size)

    def check(self) -> None:
        """Makes sure that the data are there.

        Raises:
            UserError: If they are not, with the ways to provide them.
        """
        check_photos()

    def inputs(self, split: str) -> DecodedInputs:
        """Returns the images of a split, `train` or `test`, decoded when they are wanted.

        Raises:
            UserError: If the data are missing, with the ways to provide them.
        """
        from bench.decoding import DecodedInputs

        return DecodedInputs(load_photos(split), self.data_config())

    def training_batches(
        self,
        how: TrainingSpec,
        seed: int,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
        done: int = 0,
        device: str | torch.device = "cpu",
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the augmented batches of one epoch: see `bench.decoding.training_batches`."""
        from bench.decoding import training_batches

        photos = load_photos("train")
        return training_batches(photos, how, self.data_config(), seed, epoch, rank, world_size, done, device)

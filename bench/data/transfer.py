"""Data that heads are fitted to on features of networks which others trained: Fashion-MNIST, or a user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import assets
from bench.data import fashion_mnist, imagenet
from bench.data.inputs import Inputs
from bench.data.own import OwnData, check_images, open_data
from bench.data.stream import StreamRecipe, TrainingStream

DATA_VARIABLE = "CAPBENCH_PRETRAINED_DATA"
Config = Mapping[str, Any]  # preparation of images, as timm names its parts


class TransferData(Protocol):
    """Labelled images in splits."""

    @property
    def name(self) -> str:
        """Name in results."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by their numbers."""
        ...

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of all images and labels but those of a split named `validation`."""
        ...

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns the checksum of a split that `identity` does not cover."""
        ...

    def check(self) -> None:
        """Makes sure that every image can be read.

        Raises:
            UserError: If not.
        """

    def inputs(self, split: str, config: Config) -> Inputs:
        """Returns the images of a split: `calibration`, `train`, `validation` or `test`."""
        ...

    def stream(
        self, recipe: StreamRecipe, config: Config, seed: int, rank: int, world_size: int, device: str | torch.device
    ) -> TrainingStream:
        """Returns augmented training batches: see `bench.models.ModelSpec.training_stream`."""
        ...


def transfer_data() -> TransferData:
    """Returns the data that the environment names as `--data` does, else Fashion-MNIST.

    Raises:
        UserError: If there are none where the environment says.
    """
    text = os.environ.get(DATA_VARIABLE)
    return OwnImages(open_data(text)) if text else EnlargedFashionMNIST()


def _enlarged(images: Tensor, config: Config) -> Tensor:
    """Returns grey images (n, 1, h, w), pixels in [0, 1], in colour, enlarged and normalised: (n, 3, size, size)."""
    size = tuple(config["input_size"][1:])
    mean, std = (torch.tensor(config[key], device=images.device)[:, None, None] for key in ("mean", "std"))
    large = F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
    return (large.expand(-1, 3, -1, -1) - mean) / std


@dataclass(frozen=True)
class EnlargedInputs:
    """Inputs from grey images in memory: see `bench.data.inputs.Inputs`.

    Attributes:
        split: Images and labels.
        config: Preparation of the images.
    """

    split: fashion_mnist.Split
    config: Config

    def __len__(self) -> int:
        return len(self.split)

    def subset(self, count: int, seed: int) -> EnlargedInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        return EnlargedInputs(self.split.subset(count, seed), self.config)

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised inputs and labels: see `bench.data.inputs.Inputs`."""
        for images, labels in self.split.batches(batch_size, order):
            yield _enlarged(images.to(device).float() / 255, self.config), labels.to(device)


@dataclass(frozen=True)
class EnlargedStream:
    """Augmented batches of grey images, enlarged: see `bench.data.stream.TrainingStream`.

    Attributes:
        stream: Batches in the original size, normalised as `bench.data.fashion_mnist` does.
        config: Preparation of the images.
    """

    stream: TrainingStream
    config: Config

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch: see `bench.data.stream.TrainingStream`."""
        for images, labels in self.stream.epoch(number, skip):
            yield _enlarged(images * fashion_mnist.STD + fashion_mnist.MEAN, self.config), labels


@dataclass(frozen=True)
class EnlargedFashionMNIST:
    """Fashion-MNIST of the repository, enlarged from 28 x 28 to what a network takes, grey in three channels."""

    name = fashion_mnist.DATASET
    classes = fashion_mnist.CLASSES

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of the training and test images."""
        recorded = assets.checksums()
        return {name: recorded.get(name, "") for name in assets.DATA_FILES}

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns the checksum of the validation images; none for other splits."""
        name = fashion_mnist.split_file(split)
        return {} if name in assets.DATA_FILES else {name: assets.checksums().get(name, "")}

    def check(self) -> None:
        """Makes sure that all splits are there and whole."""
        fashion_mnist.check_files()

    def inputs(self, split: str, config: Config) -> EnlargedInputs:
        """Returns the images of a split; those for calibration are training images."""
        return EnlargedInputs(fashion_mnist.load_split("train" if split == "calibration" else split), config)

    def stream(
        self, recipe: StreamRecipe, config: Config, seed: int, rank: int, world_size: int, device: str | torch.device
    ) -> EnlargedStream:
        """Returns augmented training batches, augmented in the original size."""
        from bench.data.padded_stream import PaddedStream  # brings timm, which takes long to import

        train = fashion_mnist.load_split("train")
        side, classes = train.images.shape[-1], len(self.classes)
        return EnlargedStream(PaddedStream(train, recipe, side, classes, seed, rank, world_size, device), config)


@dataclass(frozen=True)
class OwnImages:
    """A user's own images, see `bench.data.own`, with timm's transforms.

    Attributes:
        data: The images; those for tuning are the training images.
    """

    data: OwnData

    @property
    def name(self) -> str:
        """Text of the data."""
        return self.data.text

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by their numbers."""
        return self.data.classes

    @property
    def identity(self) -> dict[str, str]:
        """Checksum of all images, labels and splits."""
        return {"data": self.data.checksum}

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns nothing: the checksum covers all splits."""
        return {}

    def check(self) -> None:
        """Makes sure that every image can be decoded."""
        check_images(self.data.text)

    def inputs(self, split: str, config: Config) -> imagenet.DecodedInputs:
        """Returns the images of a split."""
        from bench.data.imagenet.transforms import eval_transform  # brings timm, which takes long to import

        stored = self.data.splits["tuning" if split == "train" else split]
        return imagenet.DecodedInputs(stored, eval_transform(dict(config)))

    def stream(
        self, recipe: StreamRecipe, config: Config, seed: int, rank: int, world_size: int, device: str | torch.device
    ) -> TrainingStream:
        """Returns augmented training batches: see `bench.data.imagenet.stream.DecodedStream`."""
        from bench.data.imagenet.stream import DecodedStream

        stored, classes = self.data.splits["tuning"], len(self.classes)
        return DecodedStream(stored, recipe, dict(config), seed, rank, world_size, device, classes)

"""Specification of a model: architecture, layers to prune, weights, data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from bench.core.config import Spec
from bench.core.errors import UserError
from bench.core.random_state import derive_seed
from bench.data.card import DataCard
from bench.data.inputs import Inputs, StreamedImages
from bench.data.stream import StreamRecipe, TrainingStream


class ModelSpec(Spec):
    """Model, and the data set that it was trained on.

    Attributes:
        name: Name in sweeps and on the command line.
        family: Family of architectures: vit, convnext, hybrid, dino or cnn.
        timm_name: Name of the timm architecture, with the tag of its weights where timm has them.
        timm_options: Arguments that override the architecture's.
        prunable: Regular expressions on parameter names, for `cap.select_layers`.
        input_size: Side of the square input, pixels.
        dataset: Name of the data set.
        num_classes: Number of classes of the data set.
        gate: Percentage points by which the dense top-1 may differ from the recorded one.
        seeded: Whether there are weights of several seeds, see `with_seed`.
        decodes: Whether images are decoded each time they are wanted, which takes the time of cores.
        shares_batches: Whether trainings of one process share their augmented batches, see `bench.data.made_batches`.
        augments: Whether calibration images can be augmented, see `streamed_inputs`.
    """

    dataset: ClassVar[str]
    num_classes: ClassVar[int]
    gate: ClassVar[float]
    seeded: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    shares_batches: ClassVar[bool] = False
    augments: ClassVar[bool] = False

    name: str
    family: str
    timm_name: str
    timm_options: dict[str, Any] = Field(default_factory=dict)
    prunable: tuple[str, ...]
    input_size: int

    def __hash__(self) -> int:  # pydantic's own asks for the hash of a dict
        return hash((type(self), self.name, self.timm_name))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        return self.timm_options.get("in_chans", 3), self.input_size, self.input_size

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with random weights; `overrides` take precedence over `timm_options`."""
        import timm

        return timm.create_model(self.timm_name, **{**self.timm_options, **overrides})

    def outline(self) -> nn.Module:
        """Returns the architecture with names and shapes alone, on the meta device: no values, next to no memory."""
        with torch.device("meta"):
            return self.build()

    def notes(self) -> Iterator[str]:
        """Yields lines that are to be known before a run; none for a model of this package."""
        yield from ()

    def loading_code(self, file: str) -> str:
        """Returns a line of Python that loads a checkpoint of the model.

        Args:
            file: Path of the checkpoint.
        """
        options = "".join(f", {key}={value!r}" for key, value in self.timm_options.items())
        return f'timm.create_model("{self.timm_name}"{options}, checkpoint_path="{file}")'

    @property
    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Names or checksums that tell these weights and these data from others: part of a trial's identity."""

    def with_seed(self, seed: int) -> ModelSpec:
        """Returns the same model with the weights that were trained with a seed.

        Raises:
            UserError: If the model has one set of weights alone.
        """
        raise UserError(f"model {self.name} has one set of weights: leave dense_seed out")

    def with_inputs_grouped(self) -> ModelSpec:
        """Returns the same model for N:M patterns: without layers whose weights have one input each, which stay dense.

        By default these are the layers of any pattern.
        """
        return self

    @abstractmethod
    def check(self) -> None:
        """Makes sure that weights and data are there.

        Raises:
            UserError: If they are not, with what is missing and how to provide it.
        """

    def check_but(self, elsewhere: Collection[str]) -> None:
        """Makes sure of the same, but for what the environment says lies where another machine alone has it.

        Args:
            elsewhere: Names of environment variables.

        Raises:
            UserError: If something is missing that should be here.
        """
        self.check()

    @abstractmethod
    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights on a device, in eval mode.

        Raises:
            UserError: If the weights are missing or damaged.
        """

    def data_card(self) -> DataCard | None:
        """Returns the sizes of the splits and the checksum of the data as they are here; None where none is kept."""
        return None

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns names or checksums of the data of a split that `identity` does not cover."""
        return {}

    @abstractmethod
    def recorded_top1(self, split: str = "test") -> float | None:
        """Returns the dense top-1 on a split that is on record for these weights, in percent; None if there is none."""

    @abstractmethod
    def preparation(self) -> dict[str, Any]:
        """Returns how images become inputs, for those who use the model elsewhere; plain values."""

    @abstractmethod
    def inputs(self, split: str) -> Inputs:
        """Returns the images of a split as this model takes them: `train`, `test`, where there is one `validation`.

        Raises:
            UserError: If there is no such split, or its data are missing or damaged.
        """

    def calibration_inputs(self, count: int, seed: int) -> Inputs:
        """Returns the training images that a trial calibrates on.

        Args:
            count: Number of images.
            seed: Seed of the trial.

        Raises:
            UserError: If the data are missing or damaged.
        """
        return self.inputs("train").subset(count, derive_seed(seed, "calibration"))

    def streamed_inputs(self, count: int, seed: int) -> StreamedImages:
        """Returns augmented training images that a trial calibrates on, made when they are wanted.

        Args:
            count: Number of images.
            seed: Seed of the trial.

        Raises:
            UserError: If the data are missing or damaged, or images of this kind are not augmented.
        """
        raise UserError(f"images of {self.dataset} are calibrated on as they are: leave calibration.augmentation out")

    def evaluation_inputs(self, count: int | None = None, split: str = "test") -> Inputs:
        """Returns the images that a trial evaluates on.

        Args:
            count: Number of images, drawn once for all trials; None for all.
            split: Name of the split.

        Raises:
            UserError: If the data are missing or damaged.
        """
        inputs = self.inputs(split)
        return inputs if count is None or count >= len(inputs) else inputs.subset(count, seed=0)

    def knn_top1(
        self, model: nn.Module, device: str = "cpu", count: int | None = None, split: str = "test"
    ) -> float | None:
        """Returns the top-1 of a model's features by nearest neighbours, in percent; None where it is not measured.

        Args:
            model: The model.
            device: Torch device.
            count: Number of images; None for all.
            split: Name of the split that they are of.
        """
        return None

    def pixel_knn_top1(self, device: str = "cpu", count: int | None = None, split: str = "test") -> float | None:
        """Returns the top-1 of raw pixels by nearest neighbours, in percent; None where it is not measured.

        Args:
            device: Torch device.
            count: Number of images; None for all.
            split: Name of the split that they are of.
        """
        return None

    def evaluation_passes(self, test_images: int) -> int:
        """Returns how many images go through the model when one state of it is evaluated on so many test images."""
        return test_images

    @abstractmethod
    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches; the same for the same seed and epoch.

        Args:
            recipe: Recipe of the training.
            seed: Seed of the training.
            rank: Index of this process among those that share each batch.
            world_size: Number of processes that share each batch.
            device: Torch device of the batches.

        Raises:
            UserError: If the data are missing or damaged.
        """

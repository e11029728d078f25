"""The ResNet-20 that papers on pruning share, with CIFAR-10; weights and images are the user's own copies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench import assets
from bench.core.errors import UserError
from bench.data.cifar10 import CLASSES, DATASET, FOLDER_VARIABLE, load_images
from bench.data.cifar10.inputs import CONFIG, ScaledInputs, stored
from bench.data.own.image import first_line
from bench.data.stream import StreamRecipe, TrainingStream
from bench.models.imagenet import WEIGHTS_VARIABLE
from bench.models.model import ModelSpec
from bench.models.resnet20 import ResNet20
from bench.models.weights import check_weights, read_weights

CHECKPOINT = "resnet20_cifar10.pth.tar"
SOURCE = f"https://github.com/IST-DASLab/M-FAC/raw/8116367fb537b48484e2e4bde24f11f42b117f8a/checkpoints/{CHECKPOINT}"
SHA256 = "e08b9b71ee33c3abad25588ed63999501673c02f7809364e27d965399e58bf8b"
PREFIX = "module."  # of all names in the checkpoint


class Cifar10Model(ModelSpec):
    """ResNet-20 with weights that others trained.

    Attributes:
        checkpoint_sha256: SHA-256 of the file of the weights.
        top1: Dense top-1 on test images, in percent, as measured here; None to hold it against nothing.
    """

    dataset: ClassVar[str] = DATASET
    num_classes: ClassVar[int] = len(CLASSES)
    gate: ClassVar[float] = 3.0  # three standard errors of 1,017 images; other means and deviations cost 37 points

    checkpoint_sha256: str = SHA256
    top1: float | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of the weights and, where the environment names a copy, of its images."""
        data = load_images().checksum if os.environ.get(FOLDER_VARIABLE) else ""
        return {"weights": self.checkpoint_sha256, "data": data}

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with random weights, or those of a `checkpoint_path`.

        Raises:
            UserError: If stochastic depth is asked for, which it has not.
        """
        if overrides.get("drop_path_rate"):
            raise UserError(f"model {self.name} has no stochastic depth: give an augmentation set without")
        model = ResNet20(self.num_classes)
        if (path := overrides.get("checkpoint_path")) is not None:
            model.load_state_dict(read_weights(Path(path)))
        return model

    def loading_code(self, file: str) -> str:
        """Returns a line of Python that loads a checkpoint of the model."""
        return f'bench.get_model("cifar10", "{self.name}").build(checkpoint_path="{file}")'

    def weights_file(self) -> Path:
        """Returns the file of the weights, in the folder that the environment names.

        Raises:
            UserError: If it is not there, with the way to provide it.
        """
        folder = os.environ.get(WEIGHTS_VARIABLE)
        if folder and (path := Path(folder) / CHECKPOINT).is_file():
            return path
        here = f"{folder} has no {CHECKPOINT}" if folder else f"{WEIGHTS_VARIABLE} is not set"
        raise UserError(
            f"no weights of {self.name}: {here}; fetch {SOURCE} into a folder and set {WEIGHTS_VARIABLE} to it "
            "(docs/resnet20.md)"
        )

    def check(self) -> None:
        """Makes sure that weights and images are there, and that the weights are the papers' own.

        Raises:
            UserError: If one is not so, with the way to provide it.
        """
        path = self.weights_file()
        if assets.current_sha256(path) != self.checkpoint_sha256:
            raise UserError(f"{path} is not the checkpoint that the papers prune, its SHA-256 differs: fetch {SOURCE}")
        self._state(path)
        load_images()

    def _state(self, path: Path) -> Mapping[str, Tensor]:
        """Returns the weights in the checkpoint, names without their prefix."""
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
            state = {name.removeprefix(PREFIX): value for name, value in found.items()}
        except Exception as error:  # noqa: BLE001  of many kinds, by what the file holds
            raise UserError(f"{path} is no checkpoint with a state_dict: {first_line(error)}") from None
        check_weights(state, self.outline(), path, self.name, ("fc.weight", "fc.bias"))
        return state

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights on a device, in eval mode.

        Raises:
            UserError: If the weights are missing, or of another architecture.
        """
        model = self.build()
        model.load_state_dict(self._state(self.weights_file()))
        return model.to(device).eval()

    def recorded_top1(self, split: str = "test") -> float | None:
        """Returns the top-1 on test images as measured here, in percent; None for other splits."""
        return self.top1 if split == "test" else None

    def preparation(self) -> dict[str, Any]:
        """Returns size, mean and deviation of the inputs, and the names of the classes."""
        return {**{key: list(v) if isinstance(v, tuple) else v for key, v in CONFIG.items()}, "classes": [*CLASSES]}

    def inputs(self, split: str) -> ScaledInputs:
        """Returns the images of a split: `train`, `validation` or `test`."""
        splits = load_images().splits
        if split not in splits:
            raise UserError(f"{DATASET} has no split {split!r}: choose from {', '.join(splits)}")
        return ScaledInputs(splits[split])

    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches: see `bench.data.imagenet.stream.DecodedStream`."""
        from bench.data.imagenet.stream import DecodedStream  # brings timm, which takes long to import

        images = stored(load_images().splits["train"])
        return DecodedStream(images, recipe, CONFIG, seed, rank, world_size, device, self.num_classes)

    def notes(self) -> Iterator[str]:
        """Yields which images there are, where the environment names a copy."""
        if os.environ.get(FOLDER_VARIABLE):
            yield str(load_images())


CIFAR10 = {
    spec.name: spec
    for spec in (
        Cifar10Model(
            name="resnet20",
            family="cnn",
            timm_name="resnet20_cifar",  # as the checkpoint calls it; timm has none
            prunable=(r"layer\d.\d.conv\d.weight",),
            input_size=32,
            top1=91.0,
        ),
    )
}

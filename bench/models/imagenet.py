"""Models of the paper and others of their families, through timm, with ImageNet-1k."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import nn

from bench import assets
from bench.core.errors import UserError
from bench.core.random_state import derive_seed
from bench.data import imagenet
from bench.data.card import DataCard
from bench.data.imagenet.source import FOLDER_VARIABLE
from bench.data.stream import StreamRecipe, TrainingStream
from bench.models import probing
from bench.models.fitted_head import give_head, head_path
from bench.models.model import ModelSpec
from bench.models.weight_files import WEIGHTS_VARIABLE, pretrained_file, read_shapes
from bench.models.weights import weights_mistake


class ImageNetModel(ModelSpec):
    """Model of timm with weights that others trained.

    Attributes:
        top1: Dense top-1 in percent of these weights at this input size by timm's own results; None if unknown to us.
    """

    dataset: ClassVar[str] = imagenet.DATASET
    num_classes: ClassVar[int] = imagenet.NUM_CLASSES
    gate: ClassVar[float] = 0.3  # decoders, resizing and precision differ between timm's record and any machine
    decodes: ClassVar[bool] = True
    augments: ClassVar[bool] = True

    top1: float | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Name of the weights, and of the data; of data that are not the whole set also their sizes and checksum."""
        card = self.data_card()
        return {"weights": self.timm_name, "data": card.identity(self.dataset) if card is not None else self.dataset}

    def data_card(self) -> DataCard | None:
        """Returns sizes and checksum of the data: see `bench.data.imagenet.card.find_card`."""
        return imagenet.find_card()

    def build(self, **overrides: Any) -> nn.Module:
        """Returns the architecture with random weights, and with a head for the data set's classes."""
        return super().build(**{"num_classes": self.num_classes, **overrides})

    def recorded_top1(self, split: str = "test") -> float | None:
        """Returns timm's own result, in percent, which is that on the test images."""
        return self.top1 if split == "test" else None

    def check(self) -> None:
        """Makes sure that the data can be read, and fetches weights that are not there yet.

        Raises:
            UserError: If either is missing, with the ways to provide it; or if the weights are those of another model.
        """
        self.check_but(())

    def check_but(self, elsewhere: Collection[str]) -> None:
        """Makes sure of the same, but for data or weights in a folder that another machine has."""
        if FOLDER_VARIABLE not in elsewhere:
            imagenet.check_data()
        if WEIGHTS_VARIABLE not in elsewhere:
            self._check_weights()

    def _check_weights(self) -> None:
        """Compares names and shapes in the file's header with the model; a file that differs must load all the same.

        Raises:
            UserError: If there is no file, it was cut off, or it is that of another model.
        """
        path = self.weights_file()
        with torch.device("meta"):
            model = self.build(num_classes=self._num_outputs)
        if (mistake := weights_mistake(read_shapes(path), model)) is None:
            return
        try:  # timm translates some files of older names or other sizes
            self._load(self._num_outputs)
        except UserError:
            raise UserError(f"weights {path} are not those of {self.name}: {mistake}") from None

    @property
    def _num_outputs(self) -> int:
        """Number of outputs of the architecture that the file of the weights is of."""
        return self.num_classes

    def weights_file(self) -> Path:
        """Returns the file of the weights: see `pretrained_file`."""
        return pretrained_file(self.timm_name, self.name)

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights on a device, in eval mode.

        Raises:
            UserError: If the weights are missing, or of another architecture.
        """
        return self._load(num_classes=self.num_classes).to(device).eval()

    def _load(self, num_classes: int) -> nn.Module:
        import timm

        path = self.weights_file()
        try:
            return timm.create_model(
                self.timm_name,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(path)},
                num_classes=num_classes,
                **self.timm_options,
            )
        except (RuntimeError, SafetensorError) as error:  # names or shapes that differ; a damaged file
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{path} does not hold the weights of {self.timm_name}: {reason}") from None

    def data_config(self) -> dict[str, Any]:
        """Returns how the images are prepared: see `bench.data.imagenet.transforms.data_config`."""
        from bench.data.imagenet.transforms import data_config  # brings timm, which takes long to import

        return data_config(self.timm_name, self.input_size)

    def preparation(self) -> dict[str, Any]:
        """Returns the configuration of timm's transforms."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self.data_config().items()}

    def inputs(self, split: str) -> imagenet.DecodedInputs:
        """Returns the images of a split, `train` or `test`, with timm's transforms for evaluation.

        Raises:
            UserError: If the data are missing, with the ways to provide them.
        """
        from bench.data.imagenet.transforms import eval_transform

        return imagenet.DecodedInputs(imagenet.load_stored_split(split), eval_transform(self.data_config()))

    def streamed_inputs(self, count: int, seed: int) -> imagenet.DecodedInputs:
        """Returns training images with timm's default transforms for training, one view of each.

        Raises:
            UserError: If the data are missing, with the ways to provide them.
        """
        from bench.data.imagenet.transforms import crops_transform

        stored, seeds = imagenet.load_stored_split("train"), (derive_seed(seed, "calibration views"),)
        images = imagenet.DecodedInputs(stored, crops_transform(self.data_config()), seeds=seeds)
        return images.subset(count, derive_seed(seed, "calibration"))

    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches: see `bench.data.imagenet.stream.DecodedStream`."""
        from bench.data.imagenet.stream import DecodedStream

        stored = imagenet.load_stored_split("train")
        return DecodedStream(stored, recipe, self.data_config(), seed, rank, world_size, device)


class FeatureModel(ImageNetModel):
    """Self-supervised model, whose head the suite fits to its features.

    Attributes:
        bank: Number of training images among which neighbours are sought.
    """

    bank: ClassVar[int] = 100_000

    @property
    def _num_outputs(self) -> int:
        return 0

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights and a linear head on a device, in eval mode.

        The head is fitted once, on the features of all training images, and kept in the cache folder.

        Raises:
            UserError: If the weights or the data are missing.
        """
        model: Any = self._load(num_classes=0)
        model.reset_classifier(self.num_classes)
        model.to(device).eval()
        give_head(model, self.head_file(), self.name, self.inputs("train"), self.num_classes, device)
        return model

    def head_file(self) -> Path:
        """Returns where the linear head is kept: a name for these weights, these training images and the recipe."""
        digest = hashlib.sha256(assets.sha256(self.weights_file()).encode())
        digest.update(imagenet.load_stored_split("train").labels.numpy().tobytes())
        digest.update(json.dumps([self.data_config(), probing.RECIPE], sort_keys=True, default=str).encode())
        return head_path(self.name, digest.hexdigest())

    def evaluation_passes(self, test_images: int) -> int:
        """Returns the images of an evaluation: the test images, and once more with the bank for the neighbours."""
        return 2 * test_images + self.bank

    def knn_top1(self, model: nn.Module, device: str = "cpu", count: int | None = None, split: str = "test") -> float:
        """Returns the top-1 in percent of 20 nearest neighbours among 100,000 training images, the same for all."""
        backbone = probing.pooled(model)
        found = probing.features(backbone, self.evaluation_inputs(count, split), device)
        known = probing.features(backbone, self.inputs("train").subset(self.bank, seed=0), device)
        return probing.knn_top1(*known, *found, self.num_classes)


_VIT = (r".*(attn.(qkv|proj)|mlp.fc\d+).weight",)
_CONVNEXT = (r".*(downsample.1|fc\d).weight",)


def _models(family: str, prunable: tuple[str, ...], *rows: tuple[str, str, float | None]) -> list[ImageNetModel]:
    kind = FeatureModel if family == "dino" else ImageNetModel
    return [
        kind(name=name, family=family, timm_name=timm_name, prunable=prunable, input_size=224, top1=top1)
        for name, timm_name, top1 in rows
    ]


IMAGENET = {
    spec.name: spec
    for spec in (
        *_models(
            "vit",
            _VIT,
            ("deit_tiny", "deit_tiny_patch16_224.fb_in1k", 72.19),
            ("deit_small", "deit_small_patch16_224.fb_in1k", 79.86),
            ("deit_base", "deit_base_patch16_224.fb_in1k", 81.98),
            ("vit_large", "vit_large_patch16_224.augreg_in21k_ft_in1k", None),
            ("deit3_small", "deit3_small_patch16_224.fb_in1k", None),
            ("deit3_base", "deit3_base_patch16_224.fb_in1k", None),
            ("deit3_large", "deit3_large_patch16_224.fb_in1k", None),
        ),
        *_models(
            "convnext",
            _CONVNEXT,
            ("convnext_tiny", "convnext_tiny.fb_in1k", 82.07),
            ("convnext_small", "convnext_small.fb_in1k", 83.14),
            ("convnext_base", "convnext_base.fb_in1k", 83.84),
            ("convnext_large", "convnext_large.fb_in1k", 84.30),
        ),
        ImageNetModel(
            name="convnext_large_clip",
            family="convnext",
            timm_name="convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_320",
            prunable=(r".*(fc\d+|pre_logits.fc).weight",),
            input_size=320,
            top1=87.97,
        ),
        *_models(
            "hybrid",
            (r".*(attn.(qkv|q|k|v|proj)|mlp.fc\d+).weight", r".*local_mp.conv\d.weight"),
            ("xcit_small", "xcit_small_12_p16_224.fb_in1k", 81.98),
        ),
        *_models(
            "hybrid",
            (r".*(token_mixer.(qkv|proj)|mlp.fc\d|downsample.conv).weight",),
            ("efficientformer_l1", "efficientformer_l1.snap_dist_in1k", 80.50),
        ),
        *_models(
            "hybrid",
            (r".*(attn.qkv|attn_downsample.(kv|q.ln)|(attn|attn_downsample).proj.ln|mlp.ln\d).linear.weight",),
            ("levit_192", "levit_192.fb_dist_in1k", 79.86),
        ),
        *_models(
            "hybrid",
            (r".*(attn.(qkv|proj)|mlp.fc\d+|downsample.reduction).weight",),
            ("swin_tiny", "swin_tiny_patch4_window7_224.ms_in1k", 81.39),
        ),
        *_models(
            "dino",
            _VIT,
            ("dino_small", "vit_small_patch16_224.dino", None),
            ("dino_base", "vit_base_patch16_224.dino", None),
        ),
        *(
            FeatureModel(
                name=f"dinov2_{size}",
                family="dino",
                timm_name=f"vit_{size}_patch14_dinov2.lvd142m",
                timm_options={"img_size": 224},  # 518 in timm: see docs/deviations.md
                prunable=_VIT,
                input_size=224,
            )
            for size in ("small", "base", "large")
        ),
        *_models(
            "cnn",
            (r".*(conv1.(3|6)|layer\d.\d.(conv\d|downsample.1)).weight",),
            ("resnet50d", "resnet50d.ra2_in1k", 80.55),
        ),
        *_models(
            "cnn",
            (r".*(blocks.\d+.\d+.(conv|conv_(exp|pw|pwl)|se.conv_.*)|conv_head).weight",),
            ("efficientnetv2_tiny", "efficientnetv2_rw_t.ra2_in1k", 81.37),
        ),
    )
}

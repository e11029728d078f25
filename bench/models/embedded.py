"""Small models whose weights and data are in the repository."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import torch
from torch import nn

from bench import assets
from bench.core.errors import UserError
from bench.data.fashion_mnist import CLASSES, DATASET, MEAN, STD, PaddedInputs, check_files, load_split, split_file
from bench.data.stream import StreamRecipe, TrainingStream
from bench.models import probing
from bench.models.model import ModelSpec


class EmbeddedModel(ModelSpec):
    """Model that the suite trained itself.

    Attributes:
        seed: Seed that it was trained with; None for the weights of before, of a seed of their own.
        seeded_prunable: Expressions in place of `prunable` for models with a seed; none for the same.
    """

    dataset: ClassVar[str] = DATASET
    num_classes: ClassVar[int] = len(CLASSES)
    gate: ClassVar[float] = 0.1  # ten of 10,000 images may change sides between processors
    seeded: ClassVar[bool] = True
    shares_batches: ClassVar[bool] = True

    seed: int | None = None
    seeded_prunable: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, str]:
        """Paths of the weights and their card, below the embedded assets."""
        stem = f"zoo/{self.name}" if self.seed is None else f"zoo/{self.name}-{self.seed}"
        return f"{stem}.safetensors", f"{stem}.json"

    def with_seed(self, seed: int) -> EmbeddedModel:
        """Returns the same architecture with the weights that were trained with a seed."""
        return self.model_copy(update={"seed": seed, "prunable": self.seeded_prunable or self.prunable})

    @property
    def identity(self) -> dict[str, str]:
        """Checksums of weights, card and data."""
        recorded = assets.checksums()
        return {name: recorded.get(name, "") for name in (*self.files, *assets.DATA_FILES)}

    def split_identity(self, split: str) -> dict[str, str]:
        """Returns the checksum of the validation images, which came after results were committed; none for others."""
        name = split_file(split)
        return {} if name in assets.DATA_FILES else {name: assets.checksums().get(name, "")}

    def check(self) -> None:
        """Makes sure that data, weights and card are there and whole.

        Raises:
            UserError: If one is missing or damaged, or the model was not trained with the seed.
        """
        check_files()
        if self.seed is not None and self.files[0] not in assets.checksums():
            command = f"nox -s train_zoo -- --model {self.name} --seeds {self.seed}"
            raise UserError(f"model {self.name} was not trained with seed {self.seed} yet: {command}")
        self.load()
        self.card()

    def card(self) -> dict[str, Any]:
        """Returns the record of how the weights were made: recipe, seed, time, dense accuracy."""
        return json.loads(assets.verified(self.files[1]).read_text())

    def recorded_top1(self, split: str = "test") -> float | None:
        """Returns the dense top-1 on the model's card, in percent; None where the card lacks that of the split."""
        return self.card().get("top1" if split == "test" else f"{split}_top1")

    def load(self, device: str = "cpu") -> nn.Module:
        """Returns the model with its trained weights on a device, in eval mode.

        Raises:
            UserError: If the weight file is missing or damaged.
        """
        from safetensors.torch import load_file

        model = self.build()
        model.load_state_dict(load_file(assets.verified(self.files[0])))
        return model.to(device).eval()

    def preparation(self) -> dict[str, Any]:
        """Returns what `bench.data.fashion_mnist.to_input` does, and the names of the classes."""
        return {"size": self.input_size, "padding": 0, "mean": MEAN, "std": STD, "classes": [*CLASSES]}

    def inputs(self, split: str) -> PaddedInputs:
        """Returns the images of a split: `train`, `validation` or `test`."""
        return PaddedInputs(load_split(split), self.input_size)

    def training_stream(
        self,
        recipe: StreamRecipe,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: str | torch.device = "cpu",
    ) -> TrainingStream:
        """Returns the augmented training batches: see `bench.data.padded_stream.PaddedStream`."""
        from bench.data.padded_stream import PaddedStream  # brings timm, which takes long to import

        split = load_split("train")
        return PaddedStream(split, recipe, self.input_size, self.num_classes, seed, rank, world_size, device)


class HybridModel(EmbeddedModel):
    """Model with depthwise convolutions, which have one input each, so that no N of M of them can go."""

    def with_inputs_grouped(self) -> EmbeddedModel:
        """Returns the same model whose depthwise convolutions stay dense."""
        return self.model_copy(update={"prunable": tuple(one for one in self.prunable if one not in _DEPTHWISE)})


class DistilledModel(EmbeddedModel):
    """Model of which there is one training alone: its features were below raw pixels, and others took its place."""

    seeded: ClassVar[bool] = False

    def with_seed(self, seed: int) -> EmbeddedModel:
        """Refuses every seed.

        Raises:
            UserError: Always.
        """
        raise UserError(f"model {self.name} has one set of weights: leave dense_seed out")


class EmbeddedFeatureModel(EmbeddedModel):
    """Model that the suite trained without labels, with a linear head on its frozen features."""

    def knn_top1(self, model: nn.Module, device: str = "cpu", count: int | None = None, split: str = "test") -> float:
        """Returns the top-1 in percent of 20 nearest neighbours among all training images."""
        backbone = probing.pooled(model)
        found = probing.features(backbone, self.evaluation_inputs(count, split), device)
        return probing.knn_top1(*probing.features(backbone, self.inputs("train"), device), *found, self.num_classes)

    def evaluation_passes(self, test_images: int) -> int:
        """Returns the images of an evaluation: the test images, and once more with the training images."""
        return 2 * test_images + len(load_split("train"))


_SMALL: dict[str, Any] = {"in_chans": 1, "num_classes": 10}
_VIT: dict[str, Any] = {**_SMALL, "img_size": 28, "patch_size": 7, "embed_dim": 64, "depth": 4, "num_heads": 4}
_XCIT_LAYERS = (r".*(attn.(qkv|q|k|v|proj)|mlp.fc\d+).weight",)
_DEPTHWISE = (r".*local_mp.conv\d.weight",)
_VIT_LAYERS = (r".*(attn.(qkv|proj)|mlp.fc\d+).weight",)

EMBEDDED = {
    spec.name: spec
    for spec in (
        EmbeddedModel(
            name="vit",
            family="vit",
            timm_name="deit_tiny_patch16_224",
            timm_options=_VIT,
            prunable=_VIT_LAYERS,
            input_size=28,
        ),
        EmbeddedModel(
            name="convnext",
            family="convnext",
            timm_name="convnext_tiny",
            timm_options={**_SMALL, "patch_size": 2, "depths": (1, 1, 3, 1), "dims": (24, 40, 64, 96)},
            prunable=(r".*(downsample.1|fc\d).weight",),
            input_size=32,
        ),
        HybridModel(
            name="xcit",
            family="hybrid",
            timm_name="xcit_small_12_p8_224",
            timm_options={
                **_SMALL,
                "img_size": 32,
                "embed_dim": 64,
                "depth": 3,
                "num_heads": 4,
                "cls_attn_layers": 1,
            },
            prunable=_XCIT_LAYERS,
            seeded_prunable=(*_XCIT_LAYERS, *_DEPTHWISE),  # as in the paper
            input_size=32,
        ),
        DistilledModel(
            name="dino",
            family="dino",
            timm_name="vit_small_patch16_224",
            timm_options=_VIT,
            prunable=_VIT_LAYERS,
            input_size=28,
        ),
        EmbeddedFeatureModel(
            name="simclr",
            family="dino",
            timm_name="vit_small_patch16_224",
            timm_options={**_VIT, "global_pool": "avg", "fc_norm": False},
            prunable=_VIT_LAYERS,
            input_size=28,
            seed=0,  # there are no weights of before
        ),
    )
}

"""How each profile sets the pruners and their training, wherever they are compared.

The profile imagenet has the paper's settings. The embedded profile scales them to models 100 times smaller: a Fisher
block is as wide as the ViT (64; the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024 (of
4,096), the dampening is the paper's own; the fine-tune is linear with the paper's ratio of ten between first and last
rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import cap
from bench.specs.recipes import FinetuneSpec, GradualSpec, QuantizationSpec, TrainingSpec
from bench.specs.trial import CalibrationSpec

How = TypeVar("How", bound=TrainingSpec)
Run = Literal["one_shot", "finetuned", "gradual"]

CALIBRATION = {"embedded": CalibrationSpec(), "imagenet": CalibrationSpec(images=4096)}
FISHER: dict[str, dict[str, Any]] = {
    "embedded": {"block_size": 64, "num_gradients": 1024},
    "imagenet": {"block_size": 192, "num_gradients": 4096},
}
# M-FAC is for blocks too large for their matrices, and SparseGPT's block is no Fisher block: both keep their own size
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "embedded": {
        "cap": {"damp": 1e-8},
        "woodfisher": {"damp": 1e-6},
        "mfac": {"block_size": 2048},
        "sparsegpt": {"block_size": 128},
    },
    "imagenet": {
        "cap": {"damp": 1e-8},
        "woodfisher": {"damp": 1e-6},
        "mfac": {"block_size": 2048, "damp": 1e-6, "num_gradients": 512},
        "fastcap": {"num_gradients": 256, "damp": 1e-2},
        "sparsegpt": {"block_size": 128},
    },
}
# of single models, by the kind of run where it matters
MODEL: dict[tuple[str, str], dict[str, Any]] = {
    ("cap", "convnext_large_clip"): {"block_size": 128, "damp": 1e-7},
    ("cap", "resnet50d"): {"block_size": 256},
    ("cap", "efficientnetv2_tiny"): {"block_size": 16},
    ("woodfisher", "resnet50d"): {"block_size": 256},
    ("mfac", "resnet50d"): {"damp": 1e-5},
    # it keeps all gradients: 4 bytes a pruned weight each, of which at most 64 GiB
    ("mfac", "deit_tiny"): {"num_gradients": 2048},
    ("mfac", "efficientformer_l1"): {"num_gradients": 1024},
    ("mfac", "levit_192"): {"num_gradients": 1024},
    ("mfac", "efficientnetv2_tiny"): {"num_gradients": 1024},
    ("mfac", "convnext_small"): {"num_gradients": 256},
    ("mfac", "deit_base"): {"num_gradients": 128},
}
RUN: dict[tuple[str, str | None, Run], dict[str, Any]] = {
    ("cap", "resnet50d", "finetuned"): {"damp": 1e-7},
    ("fastcap", None, "gradual"): {"num_gradients": 128},
}

# a crop of at least three quarters leaves 24 of 28 pixels; the paper's 8 % would leave a few
FINETUNE = {
    "embedded": FinetuneSpec(epochs=1, images=4096, batch_size=32, lr=1e-3, lr_end=1e-4, crop=0.75),
    "imagenet": FinetuneSpec(
        epochs=20, images=1_281_167, batch_size=1024, lr=1e-4, lr_end=1e-5, precision="bfloat16"
    ),
}  # fmt: skip
NM_FINETUNE = FINETUNE["imagenet"].model_copy(update={"epochs": 50, "lr": 5e-4})
GRADUAL = {
    "embedded": GradualSpec(
        epochs=10, images=4096, batch_size=32, lr=5e-4, lr_end=1e-5, crop=0.75, period=2,
        knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
    ),
    "imagenet": GradualSpec(
        epochs=300, images=1_281_167, batch_size=1024, lr=5e-4, lr_end=1e-5, precision="bfloat16", period=20,
        knots=((20, 0.5), (40, 0.6), (100, 0.75), (280, 0.9)),
    ),
}  # fmt: skip
CNN_GRADUAL = GradualSpec.model_validate(
    {
        **GRADUAL["imagenet"].model_dump(),
        "optimizer": "sgd",
        "lr": 0.2,
        "lr_end": 1e-3,
        "knots": ((0, 0.4), (40, 0.6), (100, 0.75), (280, 0.9)),
    }
)
RECOVERY = GradualSpec.model_validate(
    {**GRADUAL["imagenet"].model_dump(), "epochs": 100, "knots": ((0, 0.4), (80, 0.9))}
)
FASTCAP_GRADUAL = GradualSpec.model_validate(
    {**RECOVERY.model_dump(), "epochs": 10, "period": 2, "schedule": "cosine", "knots": ((0, 0.4), (8, 0.9)),
     "scope": "layer"}
)  # fmt: skip
# DeiT-Tiny's set in the paper, here that of all models of its size; the others have DeiT-Small's
LIGHT = ("deit_tiny", "efficientformer_l1", "levit_192", "efficientnetv2_tiny")
CNN = ("resnet50d", "efficientnetv2_tiny")
# the paper's own rates
INT8_FINETUNE = {"embedded": FINETUNE["embedded"].model_copy(update={"images": 2048, "lr": 1e-4, "lr_end": 1e-5})}
QUANTIZATION = {profile: QuantizationSpec(finetune=recipe) for profile, recipe in INT8_FINETUNE.items()}


def pruner_options(profile: str, pruner: str, model: str | None = None, run: Run = "one_shot") -> dict[str, Any]:
    """Returns the options that a profile sets, of those that the pruner has; the others keep the pruner's defaults.

    Args:
        profile: A profile of `bench.models.MODELS`.
        pruner: A name of `cap.available()`, or `path/to/file.py:ClassName`.
        model: A model of the profile; None for what holds for most.
        run: What the pruned model is for.

    Raises:
        ValueError: If there is no such pruner.
    """
    known = cap.default_options(pruner)
    options = {key: value for key, value in FISHER[profile].items() if key in known}
    options |= OWN[profile].get(pruner, {})
    if profile == "imagenet":
        options |= MODEL.get((pruner, model or ""), {})
        options |= RUN.get((pruner, None, run), {}) | RUN.get((pruner, model, run), {})
    return options


def cases(models: Iterable[str], pruners: Iterable[str], run: Run = "one_shot", **fields: Any) -> list[dict[str, Any]]:
    """Returns an axis of `bench.specs.trial.grid`: every model of the profile imagenet with every pruner, set for both.

    Args:
        models: Names.
        pruners: Names.
        run: What the pruned models are for.
        fields: Of the trial, for all of them.
    """
    return [
        {"model": model, "pruner": pruner, "pruner_options": pruner_options("imagenet", pruner, model, run), **fields}
        for model in models
        for pruner in pruners
    ]


def augmented(how: How, model: str) -> How:
    """Returns a training of the profile imagenet with the augmentation set of the model."""
    return how.model_copy(update={"augmentation": "light1" if model in LIGHT else "deit"})

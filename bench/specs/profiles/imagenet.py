"""The profile imagenet: the paper's own models, data and settings."""

from __future__ import annotations

from bench.models.imagenet import IMAGENET as MODELS
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.profile import OptionRule, Profile, Recipes, ReleaseSetting
from bench.specs.recipes import FinetuneSpec, GradualSpec

TRAINING_IMAGES, TEST_IMAGES = 1_281_167, 50_000
# DeiT-Tiny's set in the paper, here that of all models of its size; the others have DeiT-Small's
LIGHT = ("deit_tiny", "efficientformer_l1", "levit_192", "efficientnetv2_tiny")
CNN = ("resnet50d", "efficientnetv2_tiny")
# the release's gradients: 4,096 means of 128 augmented images each, no image twice (docs/imagenet.md)
RELEASE = ReleaseSetting(
    ("cap", "woodfisher", "mfac", "fastcap", "gradient_weight"),
    CalibrationSpec(images=4096 * 128, batch_size=128, gradient="batch", augmentation="crops"),
)
CAP_FIRST = {"block_size": 192, "num_gradients": 4096, "damp": 1e-8}  # CAP's own options below, of the refit after it

FINETUNE = FinetuneSpec(
    epochs=20, images=TRAINING_IMAGES, batch_size=1024, lr=1e-4, lr_end=1e-5, precision="bfloat16"
)  # fmt: skip
GRADUAL = GradualSpec(
    epochs=300, images=TRAINING_IMAGES, batch_size=1024, lr=5e-4, lr_end=1e-5, precision="bfloat16", period=20,
    knots=((20, 0.5), (40, 0.6), (100, 0.75), (280, 0.9)),
)  # fmt: skip
CNN_GRADUAL = GradualSpec.model_validate(
    {
        **GRADUAL.model_dump(),
        "optimizer": "sgd",
        "lr": 0.2,
        "lr_end": 1e-3,
        "knots": ((0, 0.4), (40, 0.6), (100, 0.75), (280, 0.9)),
    }
)

IMAGENET = Profile(
    name="imagenet",
    models=MODELS,
    calibration=CalibrationSpec(images=4096),
    recipes=Recipes(FINETUNE, GRADUAL),
    option_rules=(
        OptionRule({"block_size": 192, "num_gradients": 4096}),
        OptionRule({"damp": 1e-8}, "cap"),
        OptionRule({"damp": 1e-6}, "woodfisher"),
        OptionRule({"block_size": 2048, "damp": 1e-6, "num_gradients": 512, "span_layers": True}, "mfac"),
        OptionRule({"num_gradients": 256, "damp": 1e-2}, "fastcap"),
        OptionRule({"block_size": 128, "sequential": True}, "sparsegpt"),
        OptionRule({"first_options": CAP_FIRST, "passes": 5, "images": 3000}, "snows"),
        OptionRule({"block_size": 128, "damp": 1e-7}, "cap", "convnext_large_clip"),
        OptionRule({"block_size": 256}, "cap", "resnet50d"),
        OptionRule({"block_size": 16}, "cap", "efficientnetv2_tiny"),
        OptionRule({"block_size": 256}, "woodfisher", "resnet50d"),
        OptionRule({"damp": 1e-5}, "mfac", "resnet50d"),
        # M-FAC keeps all gradients: 4 bytes a pruned weight each, of which at most 64 GiB
        OptionRule({"num_gradients": 2048}, "mfac", "deit_tiny"),
        OptionRule({"num_gradients": 1024}, "mfac", "efficientformer_l1"),
        OptionRule({"num_gradients": 1024}, "mfac", "levit_192"),
        OptionRule({"num_gradients": 1024}, "mfac", "efficientnetv2_tiny"),
        OptionRule({"num_gradients": 256}, "mfac", "convnext_small"),
        OptionRule({"num_gradients": 128}, "mfac", "deit_base"),
        OptionRule({"num_gradients": 128}, "fastcap", run="gradual"),
        OptionRule({"damp": 1e-7}, "cap", "resnet50d", "finetuned"),
        # a residual block has more operations than a transformer's; CAP's block is that of the model
        *(OptionRule({"operations": 20}, "snows", model) for model in CNN),
        OptionRule({"first_options": {**CAP_FIRST, "block_size": 256}}, "snows", "resnet50d"),
        OptionRule({"first_options": {**CAP_FIRST, "block_size": 16}}, "snows", "efficientnetv2_tiny"),
        OptionRule({"first_options": {**CAP_FIRST, "block_size": 128, "damp": 1e-7}}, "snows", "convnext_large_clip"),
    ),
    splits={"train": TRAINING_IMAGES, "test": TEST_IMAGES},
    augmentations={model: "light1" if model in LIGHT else "deit" for model in MODELS},
    model_recipes={model: Recipes(FINETUNE, CNN_GRADUAL) for model in CNN},
    release=RELEASE,
)

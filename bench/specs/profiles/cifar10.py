"""The profile cifar10: the ResNet-20 of WoodFisher, M-FAC and CHITA, one-shot, with the settings of their code.

WoodFisher's block (2,000), 1,000 gradients of single images and 1e-5 are those of the authors' sweep of this network
(IST-DASLab/WoodFisher, d4b1a96), M-FAC's block and dampening those for a ResNet, CHITA's block (500) that of the
authors' scripts (mazumder-lab/CHITA, 89c606d). CAP's block is the paper's 192; its dampening is WoodFisher's.
"""

from __future__ import annotations

from bench.data.cifar10 import split_sizes
from bench.models.cifar10 import CIFAR10 as MODELS
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.profile import OptionRule, Profile, Recipes
from bench.specs.recipes import FinetuneSpec, GradualSpec

FINETUNE = FinetuneSpec(epochs=1, images=40_000, batch_size=128, lr=1e-4, lr_end=1e-5, crop=0.75)
GRADUAL = GradualSpec(
    epochs=10, images=40_000, batch_size=128, lr=1e-4, lr_end=1e-6, crop=0.75, period=2,
    knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
)  # fmt: skip

CIFAR10 = Profile(
    name="cifar10",
    models=MODELS,
    calibration=CalibrationSpec(images=4000),  # four draws of the gradients, for parts with fresh ones
    recipes=Recipes(FINETUNE, GRADUAL),
    option_rules=(
        OptionRule({"block_size": 192, "num_gradients": 1000}),
        OptionRule({"damp": 1e-5}, "cap"),
        OptionRule({"block_size": 2000, "damp": 1e-5}, "woodfisher"),
        OptionRule({"block_size": 2048, "damp": 1e-5, "span_layers": True}, "mfac"),
        OptionRule({"block_size": 500, "damp": 1e-5}, "chita"),
        OptionRule({"block_size": 128, "sequential": True}, "sparsegpt"),
    ),
    splits=split_sizes(),
)

"""The profile embedded: the paper's settings scaled to models 100 times smaller.

A Fisher block is as wide as the ViT (64; the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024
(of 4,096), the dampening relative to the Fisher; docs/tuning.md has better ones. Gradual pruning has the paper's rates.
"""

from __future__ import annotations

from bench.models.embedded import EMBEDDED as MODELS
from bench.models.smaller import SMALLER
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.profile import Profile, Recipes
from bench.specs.profiles.untuned import untuned_rules
from bench.specs.recipes import FinetuneSpec, GradualSpec, QuantizationSpec

# a crop of at least three quarters leaves 24 of 28 pixels; the paper's 8 % would leave a few
FINETUNE = FinetuneSpec(epochs=1, images=4096, batch_size=32, lr=1e-3, lr_end=1e-4, crop=0.75)
GRADUAL = GradualSpec(
    epochs=10, images=4096, batch_size=32, lr=5e-4, lr_end=1e-5, crop=0.75, period=2,
    knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
)  # fmt: skip
INT8_FINETUNE = FINETUNE.model_copy(update={"images": 2048, "lr": 1e-4, "lr_end": 1e-5})  # the paper's own rates
# docs/protocol.md: the rate is one of those that are tried, in the middle until one is chosen
RECOVERY = FinetuneSpec(
    epochs=4, images=8192, batch_size=64, lr=1e-4, lr_end=1e-6, schedule="cosine", warmup=0.1, ema=0.99,
    augmentation="mild", crop=1.0,
)  # fmt: skip

EMBEDDED = Profile(
    name="embedded",
    models=MODELS,
    calibration=CalibrationSpec(),
    recipes=Recipes(FINETUNE, GRADUAL, QuantizationSpec(finetune=INT8_FINETUNE), RECOVERY),
    option_rules=untuned_rules(1024),
    splits={"train": 27_000, "validation": 10_000, "test": 10_000},
    dense_seeds=(0, 1, 2),
    controls=SMALLER,
)

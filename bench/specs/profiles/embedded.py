"""The profile embedded: the paper's settings scaled to models 100 times smaller.

A Fisher block is as wide as the ViT (64; the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024
(of 4,096), the dampening is the paper's own; the fine-tune is linear with the paper's ratio of ten between first and
last rate.
"""

from __future__ import annotations

from bench.models.embedded import EMBEDDED as MODELS
from bench.models.smaller import SMALLER
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.profile import OptionRule, Profile, Recipes
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

# of the dense models that sweeps are of: (0, 1, 2) as soon as they are trained and settings are chosen; until then
# none, which stands for the weights of before there were several
DENSE_SEEDS: tuple[int, ...] = ()

EMBEDDED = Profile(
    name="embedded",
    models=MODELS,
    calibration=CalibrationSpec(),
    recipes=Recipes(FINETUNE, GRADUAL, QuantizationSpec(finetune=INT8_FINETUNE), RECOVERY),
    option_rules=(
        OptionRule({"block_size": 64, "num_gradients": 1024}),
        OptionRule({"damp": 1e-8}, "cap"),
        OptionRule({"damp": 1e-6}, "woodfisher"),
        # M-FAC is for blocks too large for their matrices, and SparseGPT's block is no Fisher block
        OptionRule({"block_size": 2048, "span_layers": True}, "mfac"),
        OptionRule({"block_size": 128, "sequential": True}, "sparsegpt"),
        # CAP's own options first; a refit of at most two minutes
        OptionRule({"first_options": {"block_size": 64, "num_gradients": 1024, "damp": 1e-8}}, "snows"),
        OptionRule({"images": 256, "passes": 2, "cg_steps": 20}, "snows"),
    ),
    splits={"train": 27_000, "validation": 10_000, "test": 10_000},
    dense_seeds=DENSE_SEEDS,
    controls=SMALLER,
)

"""INT8 of pruned models: the one-shot pruned one, and after a short training in INT8 with masks held.

The same training in single precision stands beside it.
"""

from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid

PATTERNS = ("0.5", "0.75")

QUANTIZATION = EMBEDDED.recipes.quantization
assert QUANTIZATION is not None

SWEEP = Sweep(
    name="quantization",
    title="INT8 of pruned models, without and with training in INT8",
    profiles={
        "embedded": grid(
            sweep="quantization",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner="cap",
            pruner_options=EMBEDDED.pruner_options("cap"),
            patterns=PATTERNS,
            finetune_at=PATTERNS,
            finetune=QUANTIZATION.finetune,
            quantization=QUANTIZATION,
        )
    },
)

"""Accuracy against sparsity one-shot, of all pruners; `headline` has more sparsities of CAP and its strongest rivals.

The layer-wise pruners give every layer the same sparsity, as uniform magnitude does; the others rank all layers
together. Settings are tuned. On the profile imagenet the pruners of the paper run, with WoodFisher also at block size 1
(WF-1).
"""

from typing import Any

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

TOGETHER = ("magnitude", "gradient_weight", "woodfisher", "mfac", "cap")
LAYER_BY_LAYER = ("magnitude", "fastcap", "wanda", "sparsegpt", "obc")

PRUNERS = (
    "random", "magnitude", "synflow", "gradient_weight", "taylor", "woodfisher", "obert", "mfac", "chita", "fastcap",
    "wanda", "ria", "sparsegpt", "dsnot", "obc", "alps", "snows", "cap",
)  # fmt: skip
SPARSITIES = (0.5, 0.7, 0.8, 0.9)

MODELS = (
    "deit_tiny", "deit_small", "deit_base", "convnext_tiny", "convnext_small", "xcit_small", "efficientformer_l1",
    "levit_192", "swin_tiny", "resnet50d", "efficientnetv2_tiny",
)  # fmt: skip
POINTS = ("0.3", "0.4", "0.5", "0.6", "0.7", "0.75", "0.8", "0.9", "0.95", "0.98")  # of the profile imagenet


def wf1(model: str) -> dict[str, Any]:
    """Returns WoodFisher with the diagonal of the Fisher alone."""
    (case,) = IMAGENET.cases([model], ["woodfisher"])
    return {**case, "pruner_options": {**case["pruner_options"], "block_size": 1}, "patterns": POINTS}


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds; uniform magnitude stands beside the layer-wise pruners."""
    models = EMBEDDED.seeded_models
    uniform = tuple(f"{sparsity}@layer" for sparsity in SPARSITIES)
    cases = protocol_cases(EMBEDDED, models, PRUNERS, SPARSITIES)
    cases += protocol_cases(EMBEDDED, models, ["magnitude"], patterns=uniform)
    return seeded_grid("one_shot_curves", EMBEDDED, cases)


SWEEP = Sweep(
    name="one_shot_curves",
    title="One-shot accuracy against sparsity, all pruners",
    profiles={
        "embedded": seeded(),
        "imagenet": grid(
            sweep="one_shot_curves",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                *IMAGENET.cases(MODELS, TOGETHER, patterns=POINTS),
                *IMAGENET.cases(MODELS, LAYER_BY_LAYER, patterns=tuple(f"{sparsity}@layer" for sparsity in POINTS)),
                *map(wf1, MODELS),
            ],
            calibration=IMAGENET.calibration,
        ),
    },
)

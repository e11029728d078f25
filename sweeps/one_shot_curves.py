"""Accuracy against sparsity for every pruner, one-shot, 30 to 98 %.

The layer-wise pruners give every layer the same sparsity, as uniform magnitude does; the others rank all layers
together. WoodFisher also runs with block size 1 (WF-1).
"""

from bench.settings import pruner_options
from bench.spec import Sweep, grid

SPARSITIES = ("0.3", "0.5", "0.7", "0.8", "0.9", "0.98")
UNIFORM = tuple(f"{sparsity}@layer" for sparsity in SPARSITIES)
TOGETHER = ("magnitude", "gradient_weight", "woodfisher", "mfac", "cap")
LAYER_BY_LAYER = ("magnitude", "fastcap", "wanda", "sparsegpt", "obc")

SWEEP = Sweep(
    name="one_shot_curves",
    title="One-shot accuracy against sparsity, all pruners",
    profiles={
        "embedded": grid(
            sweep="one_shot_curves",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                *(
                    {"pruner": name, "pruner_options": pruner_options("embedded", name), "patterns": patterns}
                    for names, patterns in ((TOGETHER, SPARSITIES), (LAYER_BY_LAYER, UNIFORM))
                    for name in names
                ),
                {
                    "pruner": "woodfisher",
                    "pruner_options": {**pruner_options("embedded", "woodfisher"), "block_size": 1},
                    "patterns": SPARSITIES,
                },
            ],
        )
    },
)

"""Hyper-parameters of CAP and WoodFisher, one at a time: gradients m, block size B, dampening, recomputations N_r.

The paper's grids, with m up to 1,024 (of 4,096) and B up to 64 (of 192); one model, as in the paper (DeiT).
"""

from typing import Any

from bench.settings import pruner_options
from bench.spec import Sweep, grid

GRADIENTS, RECOMPUTATIONS = (16, 64, 256, 1024), (1, 2, 5, 8)
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "cap": {
        "num_gradients": GRADIENTS,
        "block_size": (8, 16, 32, 64),
        "damp": (1e-9, 1e-8, 1e-7),
        "num_recomputations": RECOMPUTATIONS,
    },
    "woodfisher": {
        "num_gradients": GRADIENTS,
        "block_size": (1, 16, 32, 64),
        "damp": (1e-7, 1e-6, 1e-5),
        "num_recomputations": RECOMPUTATIONS,
    },
}


def variants(pruner: str) -> list[dict[str, Any]]:
    """Returns the options of the pruner's base, and those that differ from it in one value."""
    base = {**pruner_options("embedded", pruner), "num_recomputations": 1}
    changed = [{**base, option: value} for option, values in GRIDS[pruner].items() for value in values]
    return [base, *(options for options in changed if options != base)]


SWEEP = Sweep(
    name="ablation",
    title="Gradients, block size, dampening and recomputations of CAP and WoodFisher",
    profiles={
        "embedded": grid(
            sweep="ablation",
            profile="embedded",
            model="vit",
            seed=[0, 1, 2],
            pruner=[{"pruner": name, "pruner_options": options} for name in GRIDS for options in variants(name)],
            patterns=("0.75", "0.9"),
        )
    },
)

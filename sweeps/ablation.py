"""Hyper-parameters of CAP and WoodFisher, one at a time: gradients m, block size B, dampening, recomputations N_r.

One model, as in the paper (DeiT). The profile imagenet has the paper's grids. Those of the embedded one are wider, so
that the best value is within, the dampening is relative to the Fisher, and validation images judge; `ablation_test` has
the base and the grids' ends on the test images.
"""

from typing import Any

from bench.specs.ablation import ablation_cases
from bench.specs.evidence import seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.sweep import Sweep, grid

RECOMPUTATIONS = (1, 2, 5, 8)
SIZES: dict[str, dict[str, tuple[Any, ...]]] = {  # the paper's grids
    "cap": {"num_gradients": (16, 64, 256, 1024, 4096), "block_size": (8, 16, 32, 48, 96, 192)},
    "woodfisher": {"num_gradients": (16, 64, 256, 1024, 4096), "block_size": (1, 48, 96, 192)},
}
DAMPENINGS = {"cap": (1e-9, 1e-8, 1e-7), "woodfisher": (1e-7, 1e-6, 1e-5)}


def variants(pruner: str) -> list[dict[str, Any]]:
    """Returns the options of the pruner's base, and those that differ from it in one value."""
    base = {**IMAGENET.pruner_options(pruner), "num_recomputations": 1}
    grids = {**SIZES[pruner], "damp": DAMPENINGS[pruner], "num_recomputations": RECOMPUTATIONS}
    changed = [{**base, option: value} for option, values in grids.items() for value in values]
    return [base, *(options for options in changed if options != base)]


SWEEP = Sweep(
    name="ablation",
    title="Gradients, block size, dampening and recomputations of CAP and WoodFisher",
    profiles={
        "embedded": seeded_grid("ablation", EMBEDDED, ablation_cases("vit"), evaluation_split="validation"),
        "imagenet": grid(
            sweep="ablation",
            profile="imagenet",
            model="deit_small",
            seed=[0, 1, 2],
            pruner=[{"pruner": name, "pruner_options": options} for name in DAMPENINGS for options in variants(name)],
            patterns=("0.75", "0.9"),
            calibration=IMAGENET.calibration,
        ),
    },
)

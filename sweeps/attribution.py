"""Mask and weights apart: {magnitude, WoodFisher, CAP} masks x {no update, WoodFisher's update, the joint one}.

One Fisher serves all: the same gradients, blocks and dampening, so that nothing differs but the mask and the update.
"""

from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid

MASKS = ("magnitude", "woodfisher", "cap")
UPDATES = ("none", "woodfisher", "obert")
DAMP = {"damp": 1e-5}


def composed(mask: str, weights: str) -> dict[str, object]:
    """Returns the options of a mask with an update."""
    return {
        **EMBEDDED.pruner_options("compose"),
        "mask": mask,
        "mask_options": None if mask == "magnitude" else DAMP,
        "weights": weights,
        "weights_options": None if weights == "none" else DAMP,
    }


SWEEP = Sweep(
    name="attribution",
    title="What is due to the mask, what to the update of the weights, one-shot",
    profiles={
        "embedded": grid(
            sweep="attribution",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner="compose",
            pruner_options=[{"pruner_options": composed(mask, weights)} for mask in MASKS for weights in UPDATES],
            patterns=("0.5", "0.75", "0.9"),
        )
    },
)

"""Mask and weights apart: {magnitude, WoodFisher, CAP} masks x {no update, WoodFisher's update, the joint one}.

One Fisher serves all: the same gradients, blocks and dampening, so that nothing differs but the mask and the update.
With dense seeds these are CAP's tuned ones, estimated once, and each pair runs with three allocations: all layers
ranked together, every layer at the same sparsity, and what OBC's errors give each layer.
"""

from typing import Any

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

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


SEEDED_MODELS = ("vit", "convnext", "xcit")
SPARSITIES = ("0.5", "0.75", "0.9")
FISHER = ("block_size", "num_gradients", "damp", "damp_scale")
ALLOCATIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, ""),
    ({}, "@layer"),
    ({"allocation": "obc", "allocation_options": {"allocation": "error"}}, ""),
)


def shared_fisher(mask: str, weights: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a mask with an update, both on one Fisher.

    Args:
        mask: Name of the mask's pruner.
        weights: Name of the update's.
        options: Options of the Fisher.
    """
    return {
        "mask": mask,
        "mask_options": None if mask == "magnitude" else options,
        "weights": weights,
        "weights_options": None if weights == "none" else options,
    }


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds."""
    cases = []
    for tuned in protocol_cases(EMBEDDED, SEEDED_MODELS, ["cap"]):
        fisher = {name: tuned["pruner_options"][name] for name in FISHER}
        cases += [
            {
                **tuned,
                "pruner": "compose",
                "pruner_options": {**shared_fisher(mask, weights, fisher), **allocation},
                "setting": None,
                "patterns": tuple(f"{sparsity}{scope}" for sparsity in SPARSITIES),
            }
            for allocation, scope in ALLOCATIONS
            for mask in MASKS
            for weights in UPDATES
        ]
    return seeded_grid("attribution", EMBEDDED, cases)


SWEEP = Sweep(
    name="attribution",
    title="What is due to the mask, what to the update of the weights, one-shot",
    profiles={
        "embedded": seeded()
        if EMBEDDED.dense_seeds
        else grid(
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

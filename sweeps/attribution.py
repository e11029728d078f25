"""Mask and weights apart: {magnitude, WoodFisher, CAP} masks x {no update, WoodFisher's update, the joint one}.

One Fisher serves all: the same gradients, blocks and dampening, so that nothing differs but the mask and the update.
These are CAP's tuned ones, estimated once. Each pair runs with three allocations: all layers ranked together, every
layer at the same sparsity, and what OBC's errors give each layer.

Beside them the layer-wise pruners run with CAP's layer sparsities, and with the same sparsity in every layer.
"""

from collections.abc import Iterator
from typing import Any

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial

MASKS = ("magnitude", "woodfisher", "cap")
UPDATES = ("none", "woodfisher", "obert")
LAYER_BY_LAYER = ("obc", "alps", "sparsegpt")
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


def pairs(fisher: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the options of every mask with every update and allocation, and the scope of its patterns.

    Args:
        fisher: Options of the Fisher that all have.
    """
    for allocation, scope in ALLOCATIONS:
        for mask in MASKS:
            for weights in UPDATES:
                yield {**shared_fisher(mask, weights, fisher), **allocation}, scope


def hybrids(model: str, fisher: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the options of the layer-wise pruners on CAP's layer sparsities and on equal ones, with the scope.

    Args:
        model: Name of the model, on which their settings are tuned.
        fisher: Options of CAP's Fisher.
    """
    for case in protocol_cases(EMBEDDED, [model], LAYER_BY_LAYER):
        whole = {"mask": case["pruner"], "mask_options": case["pruner_options"], "weights": None}
        yield {**whole, "allocation": "cap", "allocation_options": fisher}, ""
        yield whole, "@layer"


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds."""
    cases = []
    for tuned in protocol_cases(EMBEDDED, SEEDED_MODELS, ["cap"]):
        fisher = {name: tuned["pruner_options"][name] for name in FISHER}
        for options, scope in (*pairs(fisher), *hybrids(tuned["model"], fisher)):
            patterns = tuple(f"{sparsity}{scope}" for sparsity in SPARSITIES)
            composed = {"pruner": "compose", "pruner_options": options, "setting": None, "patterns": patterns}
            cases.append({**tuned, **composed})
    return seeded_grid("attribution", EMBEDDED, cases)


SWEEP = Sweep(
    name="attribution",
    title="What is due to the mask, what to the update of the weights, one-shot",
    profiles={"embedded": seeded()},
)

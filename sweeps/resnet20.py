"""The ResNet-20 that WoodFisher, M-FAC, CBS and CHITA prune, one-shot from 30 to 90 %: their rows, and CAP's.

With one estimate of the Fisher, and in stages: CHITA++ and CAP with recomputations. A stage costs what a fit does, and
each sparsity is reached anew, so these run at the sparsities where one estimate loses accuracy. There, the statistics
of batch normalisation are also estimated anew: for magnitude, and for CAP and CHITA in one stage and in many.
"""

from collections.abc import Iterable
from typing import Any

from bench.specs.profiles import CIFAR10
from bench.specs.sweep import Sweep, grid

SPARSITIES = ("0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")
HIGH = ("0.5", "0.7", "0.8", "0.9")
STAGED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cap", {"num_recomputations": 8}),
    ("cap", {"num_recomputations": 16, "schedule": "geometric", "fresh_gradients": True}),
    ("chita", {"stages": 16, "fresh_gradients": True}),
)
REESTIMATED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("magnitude", {}),
    ("cap", {}),
    ("chita", {}),
    *STAGED[1:],
)


def at_high(cases: Iterable[tuple[str, dict[str, Any]]], batch_norm: str) -> list[dict[str, Any]]:
    """Returns the fields of trials at the high sparsities, the profile's options below a case's own."""
    return [
        {
            "pruner": name,
            "pruner_options": {**CIFAR10.pruner_options(name), **options},
            "patterns": HIGH,
            "batch_norm": batch_norm,
        }
        for name, options in cases
    ]


SWEEP = Sweep(
    name="resnet20",
    title="ResNet-20 on CIFAR-10, one-shot, beside published rows",
    profiles={
        "cifar10": grid(
            sweep="resnet20",
            profile="cifar10",
            model="resnet20",
            seed=[0, 1, 2],
            case=[
                *CIFAR10.cases(["resnet20"], ("magnitude", "woodfisher", "mfac", "chita", "cap"), patterns=SPARSITIES),
                *at_high(STAGED, "kept"),
                *at_high(REESTIMATED, "reestimated"),
            ],
            calibration=CIFAR10.calibration,
        )
    },
)

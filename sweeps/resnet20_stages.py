"""How CAP and CHITA++ go to a sparsity in stages on the ResNet-20, decided on validation images; and what it costs.

Number of stages, their sizes, other images in each, and statistics of batch normalisation kept or estimated anew.
"""

from bench.specs.profiles import CIFAR10
from bench.specs.sweep import Sweep, grid

STAGES = (1, 4, 16)
SCHEDULES = ("polynomial", "geometric")


def staged(pruner: str, **options: object) -> dict[str, object]:
    """Returns the fields of a trial with the profile's options and some of its own."""
    return {"pruner": pruner, "pruner_options": {**CIFAR10.pruner_options(pruner), **options}}


SWEEP = Sweep(
    name="resnet20_stages",
    title="ResNet-20 on CIFAR-10: CAP and CHITA++ in stages, on validation images",
    tuning=True,
    profiles={
        "cifar10": grid(
            sweep="resnet20_stages",
            profile="cifar10",
            model="resnet20",
            seed=[0],
            case=[
                staged("cap"),
                *(
                    staged("cap", num_recomputations=stages, schedule=schedule, fresh_gradients=fresh)
                    for stages in STAGES[1:]
                    for schedule in SCHEDULES
                    for fresh in (False, True)
                ),
                staged("chita"),
                *(staged("chita", stages=stages, fresh_gradients=True) for stages in STAGES[1:]),
            ],
            statistics=[{"batch_norm": "kept"}, {"batch_norm": "reestimated"}],
            patterns=("0.8", "0.9"),
            evaluation_split="validation",
            calibration=CIFAR10.calibration,
        )
    },
)

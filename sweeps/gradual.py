"""Gradual pruning: one run gives a model at each of 50, 60, 75, 80 and 90 %.

The paper's schedule in small: steps at the sparsities of its ramp that its tables report, the rate falling from 5e-4 to
1e-5 between two steps, light1 augmentation, two epochs of 4,096 images a step (of 20 epochs of ImageNet).
"""

from bench.settings import GRADUAL, pruner_options
from bench.spec import Sweep, grid

SWEEP = Sweep(
    name="gradual",
    title="Gradual pruning to 50, 60, 75, 80 and 90 % in one run",
    profiles={
        "embedded": grid(
            sweep="gradual",
            profile="embedded",
            model=["vit", "convnext"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": name, "pruner_options": pruner_options("embedded", name)}
                for name in ("magnitude", "woodfisher", "cap")
            ],
            patterns=("0.5", "0.6", "0.75", "0.8", "0.9"),
            training=GRADUAL["embedded"],
        )
    },
)

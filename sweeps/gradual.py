"""Gradual pruning: one run gives a model at each of 50, 60, 75, 80 and 90 %.

The paper's schedule in small: steps at the sparsities of its ramp that its tables report, the rate falling from 5e-4 to
1e-5 between two steps, light1 augmentation, two epochs of 4,096 images a step (of 20 epochs of ImageNet). The profile
imagenet has the paper's 300 epochs.
"""

from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.sweep import Sweep, grid

PRUNERS = ("magnitude", "woodfisher", "cap")
MODELS = (
    "deit_tiny", "deit_small", "deit_base", "convnext_tiny", "convnext_small", "xcit_small", "swin_tiny", "resnet50d",
    "efficientnetv2_tiny",
)  # fmt: skip

SWEEP = Sweep(
    name="gradual",
    title="Gradual pruning to 50, 60, 75, 80 and 90 % in one run",
    profiles={
        "embedded": grid(
            sweep="gradual",
            profile="embedded",
            model=["vit", "convnext"],
            seed=[0, 1, 2],
            pruner=[{"pruner": name, "pruner_options": EMBEDDED.pruner_options(name)} for name in PRUNERS],
            patterns=("0.5", "0.6", "0.75", "0.8", "0.9"),
            training=EMBEDDED.recipes.gradual,
        ),
        "imagenet": grid(
            sweep="gradual",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                case
                for model in MODELS
                for case in IMAGENET.cases(
                    [model],
                    PRUNERS,
                    "gradual",
                    training=IMAGENET.recipes_of(model).gradual,
                )
            ],
            patterns=("0.5", "0.6", "0.75", "0.8", "0.9"),
            calibration=IMAGENET.calibration,
        ),
    },
)

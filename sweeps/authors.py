"""The authors' setting beside the suite's on ImageNet, one-shot: gradients of 128 augmented images each.

The options of the pruners are the same in both; docs/imagenet.md has what differs and what it costs.
"""

from bench.specs.profiles import IMAGENET
from bench.specs.settings import setting_cases
from bench.specs.sweep import Sweep, grid

MODELS = ("deit_tiny", "deit_small", "convnext_small", "resnet50d")
PRUNERS = ("woodfisher", "cap")

SWEEP = Sweep(
    name="authors",
    title="The authors' setting beside the suite's, one-shot",
    profiles={
        "imagenet": grid(
            sweep="authors",
            profile="imagenet",
            case=[
                {"calibration": IMAGENET.calibration, **case}
                for model in MODELS
                for case in (
                    *IMAGENET.cases([model], ("magnitude", *PRUNERS)),
                    *setting_cases(IMAGENET, [model], PRUNERS, ["authors"]),
                )
            ],
            patterns=("0.5", "0.75", "0.9"),
        ),
    },
)

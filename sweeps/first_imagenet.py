"""The first hour on ImageNet: DeiT-Tiny, one-shot, four pruners, one seed; see docs/imagenet.md."""

from bench.specs.profiles import IMAGENET
from bench.specs.sweep import Sweep, grid

PRUNERS = ("magnitude", "woodfisher", "obert", "cap")

SWEEP = Sweep(
    name="first_imagenet",
    title="The first hour on ImageNet: DeiT-Tiny, one-shot",
    profiles={
        "imagenet": grid(
            sweep="first_imagenet",
            profile="imagenet",
            case=IMAGENET.cases(["deit_tiny"], PRUNERS),
            patterns=("0.5", "0.75", "0.9"),
            calibration=IMAGENET.calibration,
        ),
    },
)

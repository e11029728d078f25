"""Large models, most of them trained without labels or on captions, one-shot at moderate sparsity.

On the profile imagenet alone; DINO and DINOv2 have a linear head that the suite fits to their features.
"""

from bench.specs.profiles import IMAGENET
from bench.specs.sweep import Sweep, grid

MODELS = (
    "convnext_large_clip", "vit_large", "dino_small", "dino_base", "dinov2_small", "dinov2_base", "dinov2_large",
)  # fmt: skip

SWEEP = Sweep(
    name="large_ssl",
    title="Large and self-supervised models, one-shot",
    profiles={
        "imagenet": grid(
            sweep="large_ssl",
            profile="imagenet",
            seed=[0, 1, 2],
            case=IMAGENET.cases(MODELS, ("magnitude", "woodfisher", "cap")),
            patterns=("0.4", "0.5", "0.6", "0.75"),
            calibration=IMAGENET.calibration,
        )
    },
)

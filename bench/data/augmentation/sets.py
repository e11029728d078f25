"""Augmentation sets by name: the paper's, and a mild one."""

from __future__ import annotations

from bench.core.config import Spec


class AugmentationSet(Spec):
    """Augmentation set, and the regularisation that goes with it.

    Attributes:
        rand_augment: String of timm's RandAugment. `inc1` makes all operations grow with the magnitude; without it,
            magnitude 0 is the strongest posterisation and solarisation. Empty for colour jitter in its place.
        color_jitter: Largest relative change of brightness, contrast and saturation, where there is no RandAugment.
        shift: Largest translation in each direction, share of the side.
        mixup: Alpha of mixup, 0 for none.
        cutmix: Alpha of cutmix, 0 for none.
        mix_probability: Probability of mixing a batch at all.
        erasing: Probability of random erasing.
        drop_path: Rate of stochastic depth in the last block.
        weight_decay: Weight decay of AdamW.
        grad_clip: Largest norm of the gradient, None for no limit.
    """

    rand_augment: str
    color_jitter: float = 0.3
    shift: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    erasing: float = 0.0
    drop_path: float = 0.0
    weight_decay: float = 0.03
    grad_clip: float | None = 1.0


# random resized crop and horizontal flip are common to all; "mild" is nearly that of the dense embedded models' last
# epochs: two of 28 pixels, no RandAugment
AUGMENTATION_SETS = {
    "mild": AugmentationSet(rand_augment="", color_jitter=0.2, shift=0.07, erasing=0.1),
    "light1": AugmentationSet(rand_augment="rand-m0-n2-inc1"),
    "light2": AugmentationSet(rand_augment="rand-m10-n2-inc1", mixup=0.2, cutmix=0.2),
    "medium1": AugmentationSet(rand_augment="rand-m15-n2-inc1", mixup=0.2, cutmix=0.2),
    "medium2": AugmentationSet(rand_augment="rand-m15-n2-inc1", mixup=0.5, cutmix=0.5),
    "deit": AugmentationSet(
        rand_augment="rand-m9-mstd0.5-inc1", mixup=0.8, cutmix=1.0, erasing=0.25, drop_path=0.1, weight_decay=0.05,
        grad_clip=None,
    ),
}  # fmt: skip

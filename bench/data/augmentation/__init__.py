"""Augmentation sets of the paper, built from timm's transforms, mixup and random erasing."""

from bench.data.augmentation.sets import AUGMENTATION_SETS, AugmentationSet

__all__ = ["AUGMENTATION_SETS", "AugmentationSet"]

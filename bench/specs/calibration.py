"""Calibration images of a trial."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.core.config import Spec


class CalibrationSpec(Spec):
    """The training images that a pruner may see, and what one gradient is.

    Attributes:
        images: Number of training images drawn.
        batch_size: Images in one forward pass.
        gradient: `sample` or `batch`, see `cap.Calibration`.
        label_source: `given`, or `drawn` from the model's own prediction, see `cap.Calibration`.
        augmentation: None for images as they are evaluated, held in memory; `crops` for random resized crops, mirror
            images and colour jitter, one view of each image, made anew each time it is wanted.
    """

    images: int = Field(1024, ge=1)
    batch_size: int = Field(128, ge=1)
    gradient: Literal["sample", "batch"] = "sample"
    label_source: Literal["given", "drawn"] = "given"
    augmentation: Literal["crops"] | None = None

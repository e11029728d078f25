"""The profiles of networks that others trained on natural images, whose weights Python packages bring.

`pretrained` fits linear heads to their features, of Fashion-MNIST or of data that the environment names;
`pretrained_imagenet` has the classifier among them with its own head and ImageNet-1k. Options are not tuned: a Fisher
block is as small as two cores can prune 21 million weights with.
"""

from __future__ import annotations

import os
from dataclasses import replace

from bench.data.own import open_data
from bench.data.transfer import DATA_VARIABLE
from bench.models.pretrained import PRETRAINED as MODELS
from bench.models.pretrained import PRETRAINED_IMAGENET as IMAGENET_MODELS
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.imagenet import TEST_IMAGES, TRAINING_IMAGES
from bench.specs.profiles.profile import OptionRule, Profile, Recipes
from bench.specs.profiles.untuned import untuned_rules
from bench.specs.recipes import FinetuneSpec, GradualSpec

FINETUNE = FinetuneSpec(epochs=1, images=2048, batch_size=32, lr=1e-4, lr_end=1e-5, crop=0.75)
GRADUAL = GradualSpec(
    epochs=10, images=2048, batch_size=32, lr=1e-4, lr_end=1e-6, crop=0.75, period=2,
    knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
)  # fmt: skip
BLOCK = 32
MFAC = OptionRule({"num_gradients": 64}, "mfac")

PRETRAINED = Profile(
    name="pretrained",
    models=MODELS,
    calibration=CalibrationSpec(images=256, batch_size=64),
    recipes=Recipes(FINETUNE, GRADUAL),
    option_rules=(*untuned_rules(256, BLOCK), MFAC),
    splits={"train": 27_000, "validation": 10_000, "test": 10_000},
)
PRETRAINED_IMAGENET = Profile(
    name="pretrained_imagenet",
    models=IMAGENET_MODELS,
    calibration=CalibrationSpec(images=1024, batch_size=32),
    recipes=Recipes(FINETUNE, GRADUAL),
    option_rules=(*untuned_rules(600, BLOCK), MFAC),
    splits={"train": TRAINING_IMAGES, "test": TEST_IMAGES},
)


def pretrained_profile() -> Profile:
    """Returns the profile `pretrained` with the splits of the data that the environment names, if it names some.

    Raises:
        UserError: If there are no such data.
    """
    text = os.environ.get(DATA_VARIABLE)
    return replace(PRETRAINED, splits=open_data(text).counts()) if text else PRETRAINED

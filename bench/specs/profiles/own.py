"""Profiles of a user's own: data with any model, or a `Profile` in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import UserError
from bench.data.own import KINDS, open_data
from bench.data.own.user_file import find_in_file
from bench.models import ModelSpec
from bench.models.own import TIMM
from bench.models.own_text import model_of_text
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles.profile import OptionRule, Profile, Recipes
from bench.specs.profiles.untuned import untuned_rules
from bench.specs.recipes import FinetuneSpec, GradualSpec

IMAGES, BATCH = 1024, 128  # to calibrate on, where there are as many
TUNING_IMAGES, TUNING_BATCH = 4096, 32


@dataclass(frozen=True)
class OwnProfile(Profile):
    """A profile of a user's own data: besides the models that have names, any that a text stands for.

    Attributes:
        data: Text of the data.
    """

    data: str = ""

    def model(self, name: str) -> ModelSpec:
        """Returns a model: one of the profile's, or that of a text, see `bench.models.own.model_text`.

        Raises:
            UserError: If there is no such model.
        """
        if name not in self.models and (name.startswith(TIMM) or ".py:" in name):
            return model_of_text(name, self.data)
        if not self.models:
            raise UserError(f"unknown model {name!r} with data {self.data}: give timm:NAME, or my_model.py:FUNCTION")
        return super().model(name)


def own_profile(
    data: str,
    models: Mapping[str, ModelSpec] | None = None,
    calibration: CalibrationSpec | None = None,
    recipes: Recipes | None = None,
    option_rules: tuple[OptionRule, ...] | None = None,
) -> OwnProfile:
    """Returns a profile of a user's own data, with settings that its number of images allows.

    Args:
        data: The data, see `bench.own_model`.
        models: {name: model with the same data}; others are named by their text.
        calibration: Images that a pruner may see; by default 1,024, or all that there are for it.
        recipes: Training; by default an epoch of fine-tuning on at most 4,096 images.
        option_rules: Options of pruners; by default those of `bench.specs.profiles.untuned`.

    Raises:
        UserError: If there are no such data, or a model has others.
    """
    for name, model in (models or {}).items():
        if model.dataset != data:
            raise UserError(f"model {name!r} has the data {model.dataset}, but the profile has {data}")
    counts = open_data(data).counts()
    images = min(IMAGES, counts["calibration"])
    chosen = calibration or CalibrationSpec(images=images, batch_size=min(BATCH, images))
    return OwnProfile(
        name=data,
        models=dict(models or {}),
        calibration=chosen,
        recipes=recipes or _recipes(counts["tuning"]),
        option_rules=untuned_rules(min(IMAGES, chosen.images)) if option_rules is None else option_rules,
        splits=counts,
        data=data,
    )


def _recipes(images: int) -> Recipes:
    """Returns the training on so many images: rates of a model that others trained, the schedules' usual shape."""
    images = max(1, min(TUNING_IMAGES, images))
    batch = min(TUNING_BATCH, images)
    finetune = FinetuneSpec(epochs=1, images=images, batch_size=batch, lr=1e-4, lr_end=1e-5, crop=0.75)
    gradual = GradualSpec(
        epochs=10, images=images, batch_size=batch, lr=1e-4, lr_end=1e-6, crop=0.75, period=2,
        knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
    )  # fmt: skip
    return Recipes(finetune, gradual)


def profile_file(name: str) -> Path | None:
    """Returns the file that a profile's name leads to, of the profile or of the data; None where it leads to none."""
    path, _, attribute = name.rpartition(":")
    return Path(path) if path.endswith(".py") and attribute else None


def load_profile(name: str) -> Profile:
    """Returns the profile that a name with a colon stands for.

    Args:
        name: `my_profile.py:PROFILE`, or a text of data; a `my_data.py:FUNCTION` is data.

    Raises:
        UserError: If there is none; the message says what is valid.
    """
    file = profile_file(name)
    if file is None:
        return own_profile(name)
    attribute = name.rpartition(":")[2]
    found, name = find_in_file(file, attribute), f"{file}:{attribute}"
    if isinstance(found, Profile):
        return replace(found, name=name)
    if callable(found) and not isinstance(found, type):
        return own_profile(name)
    raise UserError(f"{name} is a {type(found).__name__}: it must be a bench.Profile, or a function of data; data are "
                    f"{KINDS}")  # fmt: skip

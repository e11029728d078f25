"""Registry of the models, by profile and name."""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.errors import UserError
from bench.models.cifar10 import CIFAR10
from bench.models.embedded import EMBEDDED
from bench.models.imagenet import IMAGENET
from bench.models.model import ModelSpec
from bench.models.pretrained import PRETRAINED, PRETRAINED_IMAGENET

MODELS: dict[str, Mapping[str, ModelSpec]] = {
    "embedded": EMBEDDED,
    "imagenet": IMAGENET,
    "cifar10": CIFAR10,
    "pretrained": PRETRAINED,
    "pretrained_imagenet": PRETRAINED_IMAGENET,
}
"""Models of every profile, {profile: {name: model}}."""


def get_model(profile: str, name: str) -> ModelSpec:
    """Looks a model up.

    Raises:
        UserError: If the profile has no such model; the message lists those it has.
    """
    if profile not in MODELS:
        raise UserError(f"unknown profile {profile!r}: choose from {', '.join(MODELS)}")
    models = MODELS[profile]
    if name not in models:
        raise UserError(f"unknown model {name!r} in profile {profile!r}: choose from {', '.join(sorted(models))}")
    return models[name]

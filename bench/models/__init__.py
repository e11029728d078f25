"""The models: timm names, layers to prune, weights, data and recorded dense accuracy."""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.errors import UserError
from bench.models.embedded import EMBEDDED
from bench.models.imagenet import IMAGENET
from bench.models.model import ModelSpec

__all__ = ["EMBEDDED", "IMAGENET", "PROFILES", "ModelSpec", "get_model"]

PROFILES: dict[str, Mapping[str, ModelSpec]] = {"embedded": EMBEDDED, "imagenet": IMAGENET}


def get_model(profile: str, name: str) -> ModelSpec:
    """Looks a model up.

    Raises:
        UserError: If the profile has no such model; the message lists those it has.
    """
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}: choose from {', '.join(PROFILES)}")
    models = PROFILES[profile]
    if name not in models:
        raise UserError(f"unknown model {name!r} in profile {profile!r}: choose from {', '.join(sorted(models))}")
    return models[name]

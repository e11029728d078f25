"""Profiles by name."""

from __future__ import annotations

from bench.core.errors import UserError
from bench.specs.profiles.embedded import EMBEDDED
from bench.specs.profiles.imagenet import IMAGENET
from bench.specs.profiles.profile import OptionRule, Profile, Recipes

__all__ = ["EMBEDDED", "IMAGENET", "PROFILES", "OptionRule", "Profile", "Recipes", "get_profile"]

PROFILES = {profile.name: profile for profile in (EMBEDDED, IMAGENET)}


def get_profile(name: str) -> Profile:
    """Returns a profile.

    Raises:
        UserError: If there is none of that name; the message lists those there are.
    """
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}: choose from {', '.join(PROFILES)}")
    return PROFILES[name]

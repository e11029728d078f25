"""Profiles by name."""

from __future__ import annotations

from bench.core.errors import UserError
from bench.data.own import KINDS as DATA_KINDS
from bench.specs.profiles.cifar10 import CIFAR10
from bench.specs.profiles.embedded import EMBEDDED
from bench.specs.profiles.imagenet import IMAGENET
from bench.specs.profiles.own import OwnProfile, load_profile, own_profile, profile_file
from bench.specs.profiles.pretrained import PRETRAINED, PRETRAINED_IMAGENET, pretrained_profile
from bench.specs.profiles.profile import OptionRule, Profile, Recipes

__all__ = [
    "CIFAR10",
    "EMBEDDED",
    "IMAGENET",
    "PRETRAINED",
    "PRETRAINED_IMAGENET",
    "PROFILES",
    "OptionRule",
    "OwnProfile",
    "Profile",
    "Recipes",
    "get_profile",
    "own_profile",
    "profile_file",
]

PROFILES = {one.name: one for one in (EMBEDDED, IMAGENET, CIFAR10, PRETRAINED, PRETRAINED_IMAGENET)}


def get_profile(name: str) -> Profile:
    """Returns a profile.

    Args:
        name: Name of a profile of this package, a user's own `my_profile.py:PROFILE`, or the text of a user's own data:
            see `bench.own_model`.

    Raises:
        UserError: If there is none of that name; the message lists those there are.
    """
    if name == PRETRAINED.name:
        return pretrained_profile()
    if name in PROFILES:
        return PROFILES[name]
    if ":" in name:
        return load_profile(name)
    raise UserError(
        f"unknown profile {name!r}: choose from {', '.join(PROFILES)}, or give my_profile.py:PROFILE; data of your own "
        f"are {DATA_KINDS}"
    )

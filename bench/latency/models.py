"""The models whose speed is measured: those of a profile, and a user's own."""

from __future__ import annotations

from bench.models import ModelSpec, get_model
from bench.models.own_shapes import OwnShapes, is_own, shapes_of_text

OWN = "own"
"""What stands in place of a profile where the model is a user's own."""


def find_model(profile: str, name: str) -> ModelSpec | OwnShapes:
    """Looks up a model whose speed is measured.

    Args:
        profile: Name of the profile; that of a user's own model makes no difference.
        name: Name in the profile, or the text of a user's own model.

    Raises:
        UserError: If there is no such model.
    """
    return shapes_of_text(name) if is_own(name) else get_model(profile, name)

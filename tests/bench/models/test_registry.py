from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.models import MODELS, get_model


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(UserError, match="choose from convnext, dino, simclr, vit, xcit"):
        get_model("embedded", "resnet")


def test_unknown_profile_lists_the_known() -> None:
    with pytest.raises(UserError, match=f"unknown profile 'cifar': choose from {', '.join(MODELS)}"):
        get_model("cifar", "vit")

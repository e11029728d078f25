from __future__ import annotations

import pytest

from bench.models.imagenet import ImageNetModel

SIZE = 48


@pytest.fixture(autouse=True)
def _alone(no_network: None) -> None:
    """No test of this folder reaches the hub."""


@pytest.fixture(scope="session")
def tiny() -> ImageNetModel:
    """A small architecture that timm has for tests."""
    return ImageNetModel(
        name="tiny", family="vit", timm_name="test_vit.r160_in1k", prunable=(r".*mlp.fc\d.weight",), input_size=SIZE
    )

from __future__ import annotations

import pytest

import cap
from bench.models.embedded import EMBEDDED
from bench.models.smaller import SMALLER
from bench.specs.profiles import EMBEDDED as PROFILE


@pytest.mark.parametrize("name", SMALLER)
def test_it_has_as_many_weights_as_a_pruned_model_has_left(name: str) -> None:
    """At most 1 % more, and at most a seventh fewer: widths are whole."""
    one = SMALLER[name]
    dense = EMBEDDED[one.base].with_seed(0).outline()
    total = sum(parameter.numel() for parameter in dense.parameters())
    layers = cap.select_layers(dense, EMBEDDED[one.base].with_seed(0).prunable)
    left = total - one.sparsity * sum(weight.numel() for weight in layers.values())
    own = sum(parameter.numel() for parameter in one.outline().parameters())
    assert 0.85 * left < own < 1.01 * left
    assert cap.select_layers(one.outline(), one.prunable).keys() == layers.keys(), "narrower, and nothing else"


def test_there_is_one_for_every_architecture_and_sparsity_of_table_1() -> None:
    assert {(one.base, one.sparsity) for one in SMALLER.values()} == {
        (base, sparsity) for base in ("vit", "convnext", "xcit") for sparsity in (0.5, 0.75, 0.9)
    }
    assert PROFILE.model("vit_75").with_seed(1).files == ("zoo/vit_75-1.safetensors", "zoo/vit_75-1.json")  # type: ignore[attr-defined]

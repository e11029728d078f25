from __future__ import annotations

import pytest
import timm
from torch import nn

import cap

DEIT = r".*(attn.(qkv|proj)|mlp.fc\d+).weight"


@pytest.fixture(scope="module")
def deit() -> nn.Module:
    return timm.create_model("deit_tiny_patch16_224")


def test_paper_pattern_on_deit(deit: nn.Module) -> None:
    names = list(cap.select_layers(deit, [DEIT]))
    assert len(names) == 12 * 4
    assert not [name for name in names if "patch_embed" in name or "head" in name or "norm" in name]


@pytest.mark.parametrize(
    "split", [r".*(attn.(q|k|v|proj)|mlp.fc\d+).weight", r".*(attn.(query|key|value|proj)|mlp.fc\d+).weight",
              r".*(attn.(q_proj|k_proj|v_proj|proj)|mlp.fc\d+).weight"]
)  # fmt: skip
def test_a_pattern_for_split_attention_finds_the_fused_weight(deit: nn.Module, split: str) -> None:
    assert list(cap.select_layers(deit, [split])) == list(cap.select_layers(deit, [DEIT]))


def test_each_pattern_must_match(deit: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"'\.\*convolution\.\*' matches no weight"):
        cap.select_layers(deit, [DEIT, ".*convolution.*"])


def test_norms_and_biases_are_no_layers(deit: nn.Module) -> None:
    with pytest.raises(ValueError, match="matches no weight"):
        cap.select_layers(deit, [r".*norm\d.weight"])


def test_a_broken_expression_is_named(deit: nn.Module) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        cap.select_layers(deit, ["(mlp"])


@pytest.mark.parametrize(
    ("name", "pattern", "count"),
    [("convnext_tiny", r".*(downsample.1|fc\d).weight", 3 + 18 * 2),
     ("resnet50d", r".*(conv1.(3|6)|layer\d.\d.(conv\d|downsample.1)).weight", 54)],
)  # fmt: skip
def test_paper_patterns_on_convolutional_models(name: str, pattern: str, count: int) -> None:
    model = timm.create_model(name)
    layers = cap.select_layers(model, [pattern])
    assert len(layers) == count
    assert not [n for n in layers if "conv_dw" in n or "stem" in n or "head" in n]

"""The models of the profile `imagenet`: every pattern against the real architecture, built without weights."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from timm.models import get_pretrained_cfg
from torch import nn

import cap
from bench.data.imagenet.transforms import data_config
from bench.models.imagenet import IMAGENET, ImageNetModel
from cap.gradients import hooked_layers, per_sample_gradients

PLAIN_VIT = {"cls_token", "pos_embed", "patch_embed.proj.weight", "head.weight"}
CONVNEXT = {"stem.#.weight", "stages.#.blocks.#.conv_dw.weight", "head.fc.weight"}
# all that has two dimensions or more and stays dense, with # for numbers in the name
DENSE = {
    "vit": PLAIN_VIT,
    "dino": PLAIN_VIT,
    "convnext": CONVNEXT,
    "convnext_large_clip": {*CONVNEXT, "stages.#.downsample.#.weight"},
    "xcit_small": {
        "cls_token", "patch_embed.proj.#.#.weight", "pos_embed.token_projection.weight", "blocks.#.attn.temperature",
        "head.weight",
    },
    "swin_tiny": {"patch_embed.proj.weight", "layers.#.blocks.#.attn.relative_position_bias_table", "head.fc.weight"},
    "efficientformer_l1": {
        "stem.conv1.weight", "stem.conv2.weight", "stages.#.blocks.#.token_mixer.attention_biases", "head.weight",
        "head_dist.weight",
    },
    "levit_192": {
        *(f"stem.conv{n}.linear.weight" for n in (1, 2, 3, 4)), "stages.#.blocks.#.attn.attention_biases",
        "stages.#.downsample.attn_downsample.attention_biases", "head.linear.weight", "head_dist.linear.weight",
    },
    "resnet50d": {"conv1.0.weight", "fc.weight"},
    "efficientnetv2_tiny": {"conv_stem.weight", "blocks.#.#.conv_dw.weight", "classifier.weight"},
}  # fmt: skip


def vit(width: int, depth: int) -> int:
    return depth * 12 * width**2


def convnext(width: int, depths: tuple[int, ...]) -> int:
    """The pointwise layers of all blocks, and the three reductions of 2 x 2 pixels to twice the width."""
    widths = [width * 2**stage for stage in range(4)]
    return sum(8 * w**2 * depth for w, depth in zip(widths, depths, strict=True)) + sum(8 * w**2 for w in widths[:3])


# pruned weights, counted on paper
PRUNED = {
    "deit_tiny": vit(192, 12),
    "deit_small": vit(384, 12),
    "deit_base": vit(768, 12),
    "vit_large": vit(1024, 24),
    "deit3_small": vit(384, 12),
    "dino_small": vit(384, 12),
    "dino_base": vit(768, 12),
    "dinov2_small": vit(384, 12),
    "dinov2_base": vit(768, 12),
    "dinov2_large": vit(1024, 24),
    "deit3_base": vit(768, 12),
    "deit3_large": vit(1024, 24),
    "convnext_tiny": convnext(96, (3, 3, 9, 3)),
    "convnext_small": convnext(96, (3, 3, 27, 3)),
    "convnext_base": convnext(128, (3, 3, 27, 3)),
    "convnext_large": convnext(192, (3, 3, 27, 3)),
    # its reductions stay dense, a hidden layer of the head does not
    "convnext_large_clip": convnext(192, (3, 3, 27, 3)) - 8 * (192**2 + 384**2 + 768**2) + 1536**2,
    # two class-attention blocks beside the twelve, whose local interaction is two depthwise 3 x 3 convolutions
    "xcit_small": vit(384, 14) + 12 * 2 * 9 * 384,
    "swin_tiny": sum(vit(96 * 2**stage, depth) for stage, depth in enumerate((2, 2, 6, 2)))
    + sum(8 * (96 * 2**stage) ** 2 for stage in range(3)),
}


@pytest.fixture(params=list(IMAGENET.values()), ids=list(IMAGENET))
def spec(request: pytest.FixtureRequest) -> ImageNetModel:
    return request.param


def test_prunable_layers(spec: ImageNetModel) -> None:
    model = spec.outline()
    assert all(parameter.is_meta for parameter in model.parameters())
    layers = cap.select_layers(model, spec.prunable)
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    assert set(hooked_layers(model, layers)) == set(layers), "per-sample gradients of all of them come in one pass"
    dense = {
        name if name.startswith("conv1.") else re.sub(r"(?<=\.)\d+(?=\.)", "#", name)
        for name in set(weights) - set(layers)
    }
    assert dense == DENSE.get(spec.name, DENSE.get(spec.family))
    for pattern in spec.prunable:
        assert any(re.fullmatch(pattern, name) for name in layers)
    total = sum(weight.numel() for weight in layers.values())
    if spec.name in PRUNED:
        assert total == PRUNED[spec.name]
    assert 0.89 < total / sum(p.numel() for p in model.parameters()) < 1


def test_every_model_of_the_issue_is_there_with_its_tag(spec: ImageNetModel) -> None:
    found = get_pretrained_cfg(spec.timm_name)
    assert found is not None
    assert found.tag == spec.timm_name.partition(".")[2]
    assert found.hf_hub_id == f"timm/{spec.timm_name}"
    assert (found.num_classes == 0) == (spec.family == "dino")


def test_images_are_prepared_as_timm_has_it_on_record(spec: ImageNetModel) -> None:
    found = get_pretrained_cfg(spec.timm_name)
    config = data_config(spec.timm_name, spec.input_size)
    for key in ("mean", "std", "interpolation", "crop_pct", "crop_mode"):
        assert config[key] == getattr(found, key), key
    assert config["input_size"] == spec.input_shape
    if not spec.name.startswith("dinov2"):  # see docs/deviations.md
        assert found.input_size == spec.input_shape


def test_recorded_accuracies_are_those_of_the_paper_notes() -> None:
    assert {name: spec.top1 for name, spec in IMAGENET.items() if spec.top1 is not None} == {
        "deit_tiny": 72.19, "deit_small": 79.86, "deit_base": 81.98, "convnext_tiny": 82.07, "convnext_small": 83.14,
        "convnext_base": 83.84, "convnext_large": 84.30, "xcit_small": 81.98, "swin_tiny": 81.39,
        "efficientformer_l1": 80.50, "levit_192": 79.86, "resnet50d": 80.55, "efficientnetv2_tiny": 81.37,
        "convnext_large_clip": 87.97,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["deit_tiny", "levit_192", "xcit_small"])
def test_the_heads_give_the_classes_and_stochastic_depth_can_be_switched_on(name: str) -> None:
    model = IMAGENET[name].build(drop_path_rate=0.1).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, *IMAGENET[name].input_shape)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["levit_192", "xcit_small"])
def test_gradients_of_single_images_add_up(name: str) -> None:
    """Also for layers within other modules, depthwise convolutions and tokens that are taken apart."""
    torch.manual_seed(0)
    model = IMAGENET[name].build().eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # scales of residual branches begin at or near zero
            nn.init.uniform_(parameter, 0.5, 1.5)
    layers = cap.select_layers(model, IMAGENET[name].prunable)
    images, labels = torch.randn(2, *IMAGENET[name].input_shape), torch.tensor([3, 5])
    found = per_sample_gradients(model, layers, images, labels, F.cross_entropy)
    whole = torch.autograd.grad(F.cross_entropy(model(images), labels, reduction="sum"), list(layers.values()))
    for layer, gradient in zip(layers, whole, strict=True):
        error = (found.of(layer).sum(0) - gradient.flatten()).abs().max()
        assert error < 1e-4 * gradient.abs().max(), layer

from __future__ import annotations

import torch

import cap
from bench.data.fashion_mnist import load_split, to_input
from bench.evaluation.macs import count_macs
from bench.models.embedded import EMBEDDED


def test_multiply_adds_by_hand() -> None:
    """A ViT's products, counted on paper."""
    options = EMBEDDED["vit"].timm_options
    width, depth, heads, patch = (options[key] for key in ("embed_dim", "depth", "num_heads", "patch_size"))
    tokens = (28 // patch) ** 2 + 1
    linear = 12 * width**2 * tokens  # qkv, proj, fc1, fc2
    attention = 2 * tokens**2 * width  # QK^T and attention times V, all heads together
    embedding, head = (tokens - 1) * patch**2 * width, 10 * width
    spec = EMBEDDED["vit"]
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    macs = count_macs(model, layers, to_input(load_split("test").images[:1], 28))
    assert heads == 4
    assert macs.total == depth * (linear + attention) + embedding + head
    assert sum(macs.layers.values()) == depth * linear
    half = dict.fromkeys(layers, 0.5)
    assert macs.sparse(half) == macs.total - depth * linear // 2


def test_layer_shares_by_hand_on_convolutions() -> None:
    spec = EMBEDDED["convnext"]
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    macs = count_macs(model, layers, to_input(load_split("test").images[:1], 32))
    seen = {}
    for name in layers:
        module = model.get_submodule(name.rpartition(".")[0])
        module.register_forward_hook(
            lambda m, _, out, name=name: seen.update({name: out.numel() // len(m.bias) * m.weight.numel()})
        )
    model(torch.zeros(1, 1, 32, 32))
    assert macs.layers == seen

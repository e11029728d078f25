"""The plain versions that the library is measured against, in single precision as the release computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def eliminate(weight: Tensor, inverse: Tensor, in_place: bool = False) -> Tensor:
    """Algorithm 1 of the paper in batched torch: every step updates every inverse, and stores the weights.

    Args:
        weight: (num_blocks, B).
        inverse: (num_blocks, B, B).
        in_place: Subtract the rank-one matrix as it is multiplied out, instead of making it first.

    Returns:
        The weights after every removal: (B + 1, num_blocks, B).
    """
    w, h = weight.clone(), inverse.clone()
    num_blocks, size = w.shape
    block = torch.arange(num_blocks, device=w.device)
    removed = torch.zeros_like(w, dtype=torch.bool)
    trace = w.new_empty(size + 1, num_blocks, size)
    trace[0] = w
    for k in range(size):
        diagonal = h.diagonal(dim1=1, dim2=2)
        p = (w**2 / diagonal).masked_fill(removed, torch.inf).argmin(dim=1)
        column, pivot = h[block, :, p], diagonal[block, p]
        w -= column * (w[block, p] / pivot)[:, None]
        if in_place:
            h.baddbmm_((column / pivot[:, None])[:, :, None], column[:, None, :], alpha=-1)
        else:
            h -= column[:, :, None] * column[:, None, :] / pivot[:, None, None]
        removed[block, p] = True
        w[removed] = 0
        trace[k + 1] = w
    return trace


def sherman_morrison(gradients: Tensor, block_size: int, damp: float, in_place: bool = False) -> Tensor:
    """The inverse Fisher blocks, updated with one gradient after another.

    Args:
        gradients: (m, num_weights).
        block_size: B, a divisor of num_weights.
        damp: Dampening.
        in_place: As in `eliminate`.

    Returns:
        (num_blocks, B, B).
    """
    m = len(gradients)
    inverse = torch.eye(block_size, device=gradients.device).div(damp).repeat(gradients.shape[1] // block_size, 1, 1)
    for gradient in gradients:
        g = gradient.view(-1, block_size, 1)
        product = torch.bmm(inverse, g)
        scale = m + torch.bmm(g.transpose(1, 2), product)
        if in_place:
            inverse.baddbmm_(product / scale, product.transpose(1, 2), alpha=-1)
        else:
            inverse -= product * product.transpose(1, 2) / scale
    return inverse


def vmap_gradients(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, chunk: int
) -> dict[str, Tensor]:
    """Per-sample gradients by `torch.func.vmap(torch.func.grad(loss))`, so many images at a time.

    Returns:
        The gradients of the last images; those before were dropped.
    """
    state = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {name: state.pop(name) for name in layers}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, {**state, **weights}, (image[None],)), label[None])

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    result: dict[str, Tensor] = {}
    for image_chunk, label_chunk in zip(images.split(chunk), labels.split(chunk), strict=True):
        result = {name: g.flatten(1) for name, g in per_sample(chosen, image_chunk, label_chunk).items()}
    return result


def fit(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, block_size: int, damp: float
) -> None:
    """All of the above, one layer after another."""
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    for image_chunk, label_chunk in zip(images.split(64), labels.split(64), strict=True):
        for name, gradients in vmap_gradients(model, layers, image_chunk, label_chunk, 64).items():
            rows[name].append(gradients)
    for name, weight in layers.items():
        inverse = sherman_morrison(torch.cat(rows.pop(name)), block_size, damp)
        eliminate(weight.detach().reshape(-1, block_size), inverse)

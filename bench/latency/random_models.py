"""Models with random weights and pruned masks, to measure speed: it depends on shapes and masks, not on values."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

import cap
from bench.models import ModelSpec
from bench.models.own_shapes import OwnShapes

SPREAD = 0.02  # standard deviation of the weights
ATTENTION_SPREAD = 0.03  # so that attention stays denser than the MLPs, about as in trained ViTs pruned by CAP


@torch.no_grad()
def randomise(model: nn.Module, prunable: Sequence[str], seed: int) -> None:
    """Draws all weights anew.

    None is left at zero, or so small that a layer makes no difference to the outputs: scales of norms and layers lie
    around 1, the rest around 0.

    Args:
        model: The model, changed in place.
        prunable: Regular expressions on parameter names, for `cap.select_layers`.
        seed: Seed of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = cap.select_layers(model, prunable)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and not name.endswith("bias"):
            weight.uniform_(0.5, 1.5, generator=generator)
        else:
            spread = ATTENTION_SPREAD if name in layers and "attn." in name else SPREAD
            weight.normal_(0, spread, generator=generator)


def pruned_models(
    spec: ModelSpec | OwnShapes, sparsities: Sequence[float], seed: int
) -> dict[float, tuple[nn.Module, float]]:
    """Returns the model at each sparsity with the sparsity that its prunable layers really have.

    The masks are those of the magnitude pruner over all prunable layers together.

    Args:
        spec: The model.
        sparsities: Fractions of zeros; 0 is the model as it is.
        seed: Seed of the weights.

    Returns:
        {sparsity: (model in eval mode, fraction of zeros in its prunable layers)}.
    """
    model = spec.build().eval()
    randomise(model, spec.prunable, seed)
    nothing = cap.Calibration(torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.long))  # magnitude looks at no data
    pruner = cap.create("magnitude").fit(model, cap.select_layers(model, spec.prunable), nothing)
    found = {}
    for sparsity in sparsities:
        pruned = pruner.prune(cap.Unstructured(sparsity))
        copied = copy.deepcopy(model)
        pruned.apply_to(copied)
        found[sparsity] = (copied, pruned.sparsity)
    return found

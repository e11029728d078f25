"""Per-sample gradients of any weights at all, through `torch.func`; slower than reading them off the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cap.inputs import Inputs
from cap.model_state import differentiable, evaluating
from cap.recording import allowing_writes

Loss = Callable[[Any, Tensor], Tensor]  # (outputs of the model, labels) to the mean over the batch


def functional_gradients(
    model: nn.Module, names: Sequence[str], inputs: Inputs, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Returns {name: (n, num_weights)}, the gradient of every image's own loss."""
    with evaluating(model), torch.enable_grad():
        try:
            per_sample = _vectorised(model, names, inputs, labels, loss)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # an operation that `vmap` does not know; one that fails by itself fails again
            per_sample = _one_by_one(model, names, inputs, labels, loss)
    # of weights that the loss is computed without, all rows are one and the same zeros in memory: not to be written to
    return {name: gradient.detach().flatten(1).contiguous() for name, gradient in per_sample.items()}


def _vectorised(
    model: nn.Module, names: Sequence[str], inputs: Inputs, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Returns the gradients (n, *weight) of all images at once."""
    # functional_call takes a shared weight under its first name alone, and a compiled module's under its full one
    first_names = {id(weight): name for name, weight in model.named_parameters()}
    keys = {name: first_names[id(model.get_parameter(name))] for name in names}
    state = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {key: state.pop(key) for key in keys.values()}

    def sample_loss(
        weights: dict[str, Tensor], positional: tuple[Tensor, ...], keywords: dict[str, Tensor], label: Tensor
    ) -> Tensor:
        image = tuple(x[None] for x in positional), {name: x[None] for name, x in keywords.items()}
        return loss(torch.func.functional_call(model, {**state, **weights}, *image), label[None])

    own_images = inputs.clone()  # which the model may write into
    per_image = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0, 0))
    found: dict[str, Tensor] = per_image(chosen, own_images.positional, dict(own_images.keywords), labels)
    return {name: found[key] for name, key in keys.items()}


def _one_by_one(
    model: nn.Module, names: Sequence[str], inputs: Inputs, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Returns the gradients (n, *weight) with a forward and backward pass for each image."""
    weights = [model.get_parameter(name) for name in names]
    rows: list[tuple[Tensor, ...]] = []
    with differentiable(model, weights):
        for i in range(len(inputs)):

            def gradients(_: bool, chosen: slice = slice(i, i + 1)) -> tuple[Tensor, ...]:
                value = loss(inputs[chosen].run(model), labels[chosen])
                if not value.requires_grad:
                    return tuple(torch.zeros_like(weight) for weight in weights)
                return torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)

            rows.append(allowing_writes(gradients))
    return {name: torch.stack([row[i] for row in rows]) for i, name in enumerate(names)}

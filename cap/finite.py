"""Checks that weights, gradients, layer inputs and scores are finite, with the cause where they are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.gradients import GradientBatch, largest_entry
from cap.inputs import Inputs, StreamedInputs


def check_weights(layers: Mapping[str, Tensor]) -> None:
    """Refuses weights that are not finite.

    Args:
        layers: Weights, {name: weight}.

    Raises:
        ValueError: If one is not, with its layer.
    """
    advice = "check the checkpoint, and the learning rate of the training that made it"
    for name in _suspects(layers):
        _refuse("weights", name, layers[name], advice)


def check_gradients(batch: GradientBatch, model: nn.Module, images: Inputs) -> None:
    """Refuses gradients that are not finite; where they cannot have overflowed no gradient is looked at.

    Args:
        batch: Gradients.
        model: Model that they are of.
        images: Calibration images.

    Raises:
        ValueError: If one is not, with its layer and the cause.
    """
    bounds = batch.bounds()
    if not bounds or bool((torch.stack(list(bounds.values())) < torch.inf).all()):
        return
    for name in bounds:
        if not (rows := batch.of(name)).isfinite().all():
            _refuse("gradients", name, rows, _cause("gradients", model, images))


def check_inputs(inputs: Mapping[str, Tensor], model: nn.Module, images: Inputs) -> None:
    """Refuses layer inputs that are not finite.

    Args:
        inputs: Inputs of the layers, {name: inputs}.
        model: Model that the layers belong to.
        images: Calibration images.

    Raises:
        ValueError: If one is not, with its layer and the cause.
    """
    for name in _suspects(inputs):
        _refuse("inputs", name, inputs[name], _cause("inputs", model, images))


def check_scores(scores: Mapping[str, Tensor]) -> None:
    """Refuses scores that are NaN; infinite ones keep or remove a weight.

    Args:
        scores: Scores, {name: score per weight}.

    Raises:
        ValueError: If one is NaN, with its layer.
    """
    for name in _suspects(scores):
        if scores[name].isnan().any():
            _refuse("scores", name, scores[name], "weights and calibration data are finite, so the pruner overflows")


def _suspects(tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of tensors that are not finite, with one transfer from the device if all are."""
    largest = {name: largest_entry(tensor) for name, tensor in tensors.items() if tensor.numel()}
    if not largest or bool((torch.stack(list(largest.values())) < torch.inf).all()):
        return []
    return [name for name, one in largest.items() if not one < torch.inf]


def _refuse(what: str, name: str, values: Tensor, advice: str) -> None:
    counts = {"NaN": int(values.isnan().sum()), "infinity": int(values.isinf().sum())}
    found = " and ".join(f"{kind} in {count:,}" for kind, count in counts.items() if count)
    raise ValueError(f"the {what} of layer {name} are not finite ({found} of {values.numel():,}): {advice}")


def _cause(what: str, model: nn.Module, images: Inputs) -> str:
    """Returns what made gradients or inputs not finite: the model, the images, or an overflow between them."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and not value.isfinite().all():
            return f"{name} of the model is not either: check the checkpoint, and the training that made it"
    for values in () if isinstance(images, StreamedInputs) else [*images.positional, *images.keywords.values()]:
        bad = (~values.isfinite()).view(len(values), -1).any(1).nonzero().flatten()
        if len(bad):
            found = (
                f"{len(bad):,} of {len(images):,} calibration images are not either, the first is number {int(bad[0])}"
            )
            return f"{found}: check the images and their normalisation"
    return (
        f"weights and images are, so the {what} overflow: check the normalisation of the images, the labels and the "
        "scale of the loss"
    )

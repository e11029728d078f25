"""Modes, calls and weights of a network that spoil what pruners compute from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bench.diagnosis.finding import Finding
from bench.diagnosis.subject import Subject
from cap.gradients import unused_weights
from cap.layers import all_parameters

SHOWN = 4  # names in a message
SOME = 8  # images that show whether outputs depend on one another
TOLERANCE = 1e-3  # of the largest logit
ZEROS = 0.001  # share of the weights from which zeros are worth a warning


def check_modes(subject: Subject) -> Iterator[Finding]:
    """Yields whether each image's output depends on that image alone, the same each time: no module in train mode."""
    model = subject.model.eval()
    norms = [(name, one) for name, one in model.named_modules() if isinstance(one, _BatchNorm)]
    training = [name for name, one in model.named_modules() if one.training]
    without = [name for name, one in norms if one.running_mean is None]
    if training:
        message = f"in train mode after model.eval(): {_some(training)}; let train() reach all modules"
        yield Finding("eval mode", "failure", message)
    elif without:
        message = f"BatchNorm without running statistics: {_some(without)}; an image's output depends on the others"
        yield Finding("eval mode", "failure", message)
    else:
        yield _independence(subject)
    if norms and all(_untouched(norm) for _, norm in norms):
        message = f"{len(norms)} BatchNorm layers have the statistics of no training: were the buffers saved?"
        yield Finding("BatchNorm", "warning", message)


def _some(names: Sequence[str]) -> str:
    """Returns the first of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name or "the model" for name in names[:SHOWN]) + more


def _untouched(norm: _BatchNorm) -> bool:
    """Returns whether running statistics are those of a new module."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    return not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all())


@torch.inference_mode()
def _independence(subject: Subject) -> Finding:
    """Compares outputs of a batch with those of the same batch, and of each image by itself."""
    images = subject.images.images[:SOME].to(subject.device)
    outputs = subject.model(images)
    scale = float(outputs.abs().max()) or 1.0
    again = float((subject.model(images) - outputs).abs().max()) / scale
    alone = torch.cat([subject.model(image[None]) for image in images])
    apart = float((alone - outputs).abs().max()) / scale
    values = {"difference_of_a_repetition": again, "difference_alone": apart}
    if again > TOLERANCE:
        message = f"outputs for the same images differ by {100 * again:.2g} % from one time to the next: dropout is on"
        return Finding("eval mode", "failure", message, values)
    if apart > TOLERANCE:
        message = (
            f"outputs differ by {100 * apart:.2g} % when an image is alone: the model normalises with its batch, so "
            "gradients of single images mean nothing"
        )
        return Finding("eval mode", "failure", message, values)
    return Finding("eval mode", "ok", "an image's output depends on that image alone", values)


def check_calls(subject: Subject) -> Iterator[Finding]:
    """Yields which layers to prune no image goes through."""
    calibration, names = subject.calibration, list(subject.layers)
    for images, labels in zip(calibration.inputs.split(SOME), calibration.labels.split(SOME), strict=True):
        if names:
            device = torch.device(subject.device)
            names = unused_weights(subject.model, names, images.to(device), labels.to(device), calibration.loss)
    if names:
        message = f"without effect on the loss: {_some(names)}; leave them out of the layers to prune"
        yield Finding("calls", "failure", message, {"unused": names})
    else:
        yield Finding("calls", "ok", f"the loss depends on all {len(subject.layers)} layers to prune")


def check_shared(subject: Subject) -> Iterator[Finding]:
    """Yields which weights to prune have several names."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, weight in all_parameters(subject.model).items():
        names[id(weight)].append(name)
    wanted = {id(subject.model.get_parameter(name)) for name in subject.layers}
    shared = [some for key, some in names.items() if key in wanted and len(some) > 1]
    if shared:
        which = "; ".join(" = ".join(some) for some in shared)
        message = f"tied: {which}. Such a weight is pruned once, in all its places, and its gradients take longer"
        yield Finding("tied weights", "warning", message, {"tied": shared})


def check_zeros(subject: Subject) -> Iterator[Finding]:
    """Yields how many weights to prune are zero already, and which layers have outputs without any weight."""
    total = sum(weight.numel() for weight in subject.layers.values())
    zeros = sum(int((weight == 0).sum()) for weight in subject.layers.values())
    silent = {
        name: int((weight.flatten(1) == 0).all(1).sum())
        for name, weight in subject.layers.items()
        if bool((weight.flatten(1) == 0).all(1).any())
    }
    values = {"zeros": zeros, "weights": total, "outputs_without_weights": silent}
    if zeros > ZEROS * total:
        where = f", with them {sum(silent.values())} whole outputs of {_some([*silent])}" if silent else ""
        message = f"{100 * zeros / total:.1f} % of the weights to prune are zero already{where}: they go first"
        yield Finding("zeros", "warning", message, values)
    else:
        yield Finding("zeros", "ok", f"{zeros:,} of {total:,} weights to prune are zero", values)

"""Accuracy and loss of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cap
from bench.data.inputs import Inputs
from cap.distributed import all_reduce_scalar, all_reduce_sum, shard, world_size
from cap.model_state import full_precision

ShowEvaluation = Callable[[int, int], None]  # of images that are evaluated, and of all


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over a whole split.

    Attributes:
        top1: Percent of the images whose label has the highest logit.
        top5: Percent of the images whose label is among the five highest.
        loss: Mean cross-entropy, nats.
        n_images: Number of images that were evaluated.
        classes: Classes with the highest logit, (n_images,), int64, on the CPU.
        labels: Labels of the images, likewise.
    """

    top1: float
    top5: float
    loss: float
    n_images: int
    classes: Tensor = field(compare=False, repr=False)
    labels: Tensor = field(compare=False, repr=False)

    def agreement(self, other: Accuracy) -> float:
        """Returns the percentage of the images to which both give the same class."""
        return 100 * float((self.classes == other.classes).double().mean())


@torch.inference_mode()
@full_precision()
def evaluate(
    model: nn.Module, inputs: Inputs, batch_size: int = 250, on_progress: ShowEvaluation | None = None
) -> Accuracy:
    """Evaluates a model: sums over samples, divided once at the end; processes that work together share the batches.

    Args:
        model: Classifier; it is put into eval mode.
        inputs: Images to evaluate on.
        batch_size: Number of images at a time; does not change the result.
        on_progress: Function that is told how many of this process's images are evaluated, and how many there are.
    """
    model.eval()
    device = next(model.parameters()).device
    n, top1, top5, loss = len(inputs), 0, 0, 0.0
    found = []  # class and label of each image
    order = shard_indices(n, batch_size)
    for images, labels in inputs.batches(batch_size, order, device) if order is None or len(order) else ():
        logits = model(images).float()
        highest = logits.topk(min(5, logits.shape[1])).indices
        ranked = highest == labels[:, None]
        found.append(torch.stack([highest[:, 0], labels], 1).cpu())
        top1 += int(ranked[:, 0].sum())
        top5 += int(ranked.any(dim=1).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        if on_progress is not None:
            on_progress(sum(map(len, found)), n if order is None else len(order))
    top1, top5, loss = all_reduce_scalar(top1), all_reduce_scalar(top5), all_reduce_scalar(loss)
    if not math.isfinite(loss):
        raise ValueError("the model's outputs are not finite, so it has no accuracy")
    classes, labels = _gather(found, order, n, device).unbind(1)
    return Accuracy(100 * top1 / n, 100 * top5 / n, loss / n, n, classes, labels)


def _gather(found: list[Tensor], order: Tensor | None, count: int, device: torch.device) -> Tensor:
    """Returns values (count, 2) of all images, of which processes that work together have a part each.

    Args:
        found: Values of this process's images, batch by batch.
        order: Indices of these images; None for all of them.
        count: Number of images.
        device: Device of the model, where the group's backend wants tensors.
    """
    if order is None:
        return torch.cat(found)
    every = torch.zeros(count, 2, dtype=torch.int64)
    every[order] = torch.cat([torch.empty(0, 2, dtype=torch.int64), *found])
    every = every.to(device)
    all_reduce_sum(every)
    return every.cpu()


def shard_indices(count: int, batch_size: int) -> Tensor | None:
    """Returns the indices of the images that this process evaluates, whole batches; None if it evaluates all alone."""
    if world_size() == 1:
        return None
    batches = torch.arange(count).split(batch_size)
    return torch.cat([torch.empty(0, dtype=torch.int64), *shard(batches)])


@torch.inference_mode()
@full_precision()
def mean_loss(model: nn.Module, calibration: cap.Calibration, batch_size: int = 250) -> float:
    """Returns the mean loss over the calibration images, model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    parts = (calibration.images.split(batch_size), calibration.labels.split(batch_size))
    total = 0.0
    for images, labels in shard(zip(*parts, strict=True)):
        total += float(calibration.loss(model(images.to(device)), labels.to(device))) * len(labels)
    return all_reduce_scalar(total) / len(calibration)

"""What is measured on a model: accuracy and loss, sparsity, parameters, multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import cap
from bench.data.fashion_mnist import Inputs
from cap.distributed import all_reduce_scalar, all_reduce_sum, shard, world_size


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over a whole split.

    Attributes:
        top1: Percent of the images whose label has the highest logit.
        top5: Percent of the images whose label is among the five highest.
        loss: Mean cross-entropy, nats.
        n_images: How many images were evaluated.
        classes: (n_images,), int64, on the CPU: the class with the highest logit.
    """

    top1: float
    top5: float
    loss: float
    n_images: int
    classes: Tensor = field(compare=False, repr=False)

    def agreement(self, other: Accuracy) -> float:
        """Returns the percentage of the images to which both give the same class."""
        return 100 * float((self.classes == other.classes).double().mean())


@torch.inference_mode()
def evaluate(model: nn.Module, inputs: Inputs, batch_size: int = 250) -> Accuracy:
    """Evaluates a model: sums over samples, divided once at the end; processes that work together share the batches.

    Args:
        model: A classifier; it is put into eval mode.
        inputs: The images.
        batch_size: Images at a time; does not change the result.
    """
    model.eval()
    device = next(model.parameters()).device
    n, top1, top5, loss = len(inputs), 0, 0, 0.0
    classes = []
    order = own_images(n, batch_size)
    for images, labels in inputs.batches(batch_size, order, device) if order is None or len(order) else ():
        logits = model(images).float()
        highest = logits.topk(min(5, logits.shape[1])).indices
        ranked = highest == labels[:, None]
        classes.append(highest[:, 0].cpu())
        top1 += int(ranked[:, 0].sum())
        top5 += int(ranked.any(dim=1).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    top1, top5, loss = all_reduce_scalar(top1), all_reduce_scalar(top5), all_reduce_scalar(loss)
    if not math.isfinite(loss):
        raise ValueError("the model's outputs are not finite, so it has no accuracy")
    if order is not None:
        found = torch.zeros(n, dtype=torch.int64)
        found[order] = torch.cat([order[:0], *classes])
        found = found.to(device)  # where the group's backend wants it
        all_reduce_sum(found)
        classes = [found.cpu()]
    return Accuracy(100 * top1 / n, 100 * top5 / n, loss / n, n, torch.cat(classes))


def own_images(count: int, batch_size: int) -> Tensor | None:
    """Returns the images that this process evaluates, whole batches, or None if it is alone and evaluates all."""
    if world_size() == 1:
        return None
    batches = torch.arange(count).split(batch_size)
    return torch.cat([torch.empty(0, dtype=torch.int64), *shard(batches)])


@torch.inference_mode()
def mean_loss(model: nn.Module, calibration: cap.Calibration, batch_size: int = 250) -> float:
    """Returns the mean loss over the calibration images, model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    parts = (calibration.images.split(batch_size), calibration.labels.split(batch_size))
    total = 0.0
    for images, labels in shard(zip(*parts, strict=True)):
        total += float(calibration.loss(model(images.to(device)), labels.to(device))) * len(labels)
    return all_reduce_scalar(total) / len(calibration)


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one forward pass for one image.

    Attributes:
        total: Of the whole dense model: layers, convolutions and attention products.
        layers: {parameter name: multiply-adds of that weight}, for the weights asked for.
    """

    total: int
    layers: dict[str, int]

    def sparse(self, sparsities: dict[str, float]) -> int:
        """Returns the multiply-adds left when each layer skips its zeros: {parameter name: fraction of zeros}."""
        return round(self.total - sum(self.layers[name] * sparsity for name, sparsity in sparsities.items()))


@torch.no_grad()
def count_macs(model: nn.Module, layers: Iterable[str], image: Tensor) -> Cost:
    """Counts multiply-adds with torch's own counter; attention runs as plain matrix products, so that it sees them.

    Args:
        model: The dense model.
        layers: Names of weights whose share is wanted.
        image: One input, (1, channels, height, width).
    """
    model.eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(image)
    root = type(model).__name__
    flops = {module: sum(counts.values()) for module, counts in counter.get_flop_counts().items()}
    shares = {name: flops[f"{root}.{name.rpartition('.')[0]}"] // 2 for name in layers}
    return Cost(counter.get_total_flops() // 2, shares)

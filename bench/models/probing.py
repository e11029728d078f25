"""Accuracy of features: a linear head on frozen ones, and the nearest neighbours'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.data.inputs import Inputs
from bench.evaluation.accuracy import shard_indices
from cap.distributed import all_gather_scalar, all_reduce_sum

DECAYS = (1e-3, 1e-4, 1e-5, 1e-6)  # of the head's weights; the best on held-out features is taken
ITERATIONS = 200  # of L-BFGS at most, for each decay
HELD_OUT = 0.05  # share of the training features
CHUNK = 1 << 16  # features whose logits are in memory at a time
RECIPE = f"L-BFGS, {ITERATIONS}, standardised, decay {DECAYS}, {HELD_OUT} held out"  # part of what identifies a head


Backbone = Callable[[Tensor], Tensor]  # images to features (n, width)


def pooled(model: nn.Module) -> Backbone:
    """Returns what a timm model, in eval mode, gives its head: images to (n, width)."""
    net: Any = model.eval()
    return lambda images: net.forward_head(net.forward_features(images), pre_logits=True)


@torch.no_grad()
def features(
    backbone: Backbone, inputs: Inputs, device: str | torch.device = "cpu", batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Returns the features of all images, in half precision where they are computed on a GPU.

    Processes that work together share the work.

    Args:
        backbone: Function from images to features, on the device.
        inputs: Images.
        device: Torch device to compute on.
        batch_size: Number of images at a time.

    Returns:
        Features (n, width), float32, and labels (n,), on the device.
    """
    device = torch.device(device)
    order = shard_indices(len(inputs), batch_size)
    found = torch.empty(0)
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=device)
    chosen = torch.arange(len(inputs)) if order is None else order
    start = 0
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for images, batch_labels in inputs.batches(batch_size, order, device) if len(chosen) else ():
            values = backbone(images).float()
            if not start:
                found = values.new_zeros(len(inputs), values.shape[1])
            where = chosen[start : start + len(values)].to(device)
            found[where], labels[where] = values, batch_labels
            start += len(values)
    width = max(all_gather_scalar(found.shape[-1]))
    if not start:  # there was nothing left for this process
        found = torch.zeros(len(inputs), width, device=device)
    all_reduce_sum(found, labels)
    return found, labels


def knn_top1(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, num_classes: int, k: int = 20
) -> float:
    """Returns the top-1 in percent of DINO's weighted k-nearest-neighbour classifier (Caron et al., 2021).

    Votes are weighted by exp(cosine similarity / 0.07).

    Args:
        bank: Features of training images, (n, width).
        bank_labels: Classes of the training images, (n,).
        queries: Features of test images, (m, width).
        labels: Classes of the test images, (m,).
        num_classes: Number of classes of the data set.
        k: Number of neighbours.
    """
    known = F.normalize(bank, dim=1)
    correct = 0
    for query, label in zip(F.normalize(queries, dim=1).split(500), labels.split(500), strict=True):
        similarity, nearest = (query @ known.T).topk(min(k, len(known)))
        votes = query.new_zeros(len(query), num_classes)
        votes.scatter_add_(1, bank_labels[nearest], (similarity / 0.07).exp())
        correct += int((votes.argmax(1) == label).sum())
    return 100 * correct / len(labels)


def fit_linear_head(
    inputs: Tensor, labels: Tensor, num_classes: int, decay: float, start: Tensor | None = None
) -> tuple[nn.Linear, Tensor]:
    """Fits multinomial logistic regression on frozen features, to convergence.

    The features are standardised first, so that one decay suits all of them; the head takes them as they are. L-BFGS
    with a line search, as in the linear probes of Radford et al. (arXiv 2103.00020); nothing is random.

    Args:
        inputs: Features, (n, width).
        labels: Classes, (n,).
        num_classes: Number of classes of the data set.
        decay: Factor of the squared weights, summed, beside the mean cross-entropy.
        start: Second value of an earlier call, to go on from.

    Returns:
        The head, and its parameters for standardised features (num_classes, width + 1), the bias last.
    """
    mean, std = inputs.mean(0), inputs.std(0)
    std = torch.where(std > 0, std, 1)
    fitted = inputs.new_zeros(num_classes, inputs.shape[1] + 1) if start is None else start.clone()
    fitted.requires_grad_()
    optimizer = torch.optim.LBFGS([fitted], max_iter=ITERATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = decay * fitted[:, :-1].square().sum()
        total.backward()
        for rows, targets in zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True):
            logits = F.linear((rows - mean) / std, fitted[:, :-1], fitted[:, -1])
            part = F.cross_entropy(logits, targets, reduction="sum") / len(labels)
            part.backward()
            total = total + part.detach()
        return total.detach()

    optimizer.step(loss)
    fitted = fitted.detach()
    head = nn.Linear(inputs.shape[1], num_classes).to(inputs)
    with torch.no_grad():
        head.weight.copy_(fitted[:, :-1] / std)
        head.bias.copy_(fitted[:, -1] - head.weight @ mean)
    return head, fitted


def best_linear_head(inputs: Tensor, labels: Tensor, num_classes: int, seed: int = 0) -> nn.Linear:
    """Returns a linear head on all features, with the decay that does best on held-out ones; see `fit_linear_head`.

    Args:
        inputs: Features, (n, width).
        labels: Classes, (n,).
        num_classes: Number of classes of the data set.
        seed: Seed of the choice of the held-out features.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    held_out, rest = order.split([round(HELD_OUT * len(order)), len(order) - round(HELD_OUT * len(order))])
    starts: list[Tensor] = []
    losses: list[float] = []
    for decay in DECAYS:  # the strongest first: each goes on from the one before
        head, fitted = fit_linear_head(inputs[rest], labels[rest], num_classes, decay, starts[-1] if starts else None)
        with torch.inference_mode():
            losses.append(float(F.cross_entropy(head(inputs[held_out]), labels[held_out])))
        starts.append(fitted)
    best = min(range(len(DECAYS)), key=losses.__getitem__)
    return fit_linear_head(inputs, labels, num_classes, DECAYS[best], starts[best])[0]

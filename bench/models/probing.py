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

HEAD_RATES = (3e-4, 1e-3, 3e-3)  # of the head's AdamW; the best on held-out features is taken
HELD_OUT = 0.05  # share of the training features
RECIPE = f"AdamW {HEAD_RATES} cosine, 30 epochs, batch 1024, {HELD_OUT} held out"  # part of what identifies a head


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
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    seed: int,
    lr: float = 5e-3,
    batch_size: int = 256,
    epochs: int = 30,
) -> nn.Linear:
    """Fits a linear classifier on frozen features.

    Args:
        inputs: Features, (n, width).
        labels: Classes, (n,).
        num_classes: Number of classes of the data set.
        seed: Seed of the first weights and the order of the features.
        lr: First learning rate; it falls to zero along a cosine.
        batch_size: Number of features in a step.
        epochs: Number of passes.
    """
    torch.manual_seed(seed)
    head = nn.Linear(inputs.shape[1], num_classes).to(inputs.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(head(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
        scheduler.step()
    return head


def best_linear_head(inputs: Tensor, labels: Tensor, num_classes: int, seed: int = 0) -> nn.Linear:
    """Returns the linear head with the best of a few learning rates; see `fit_linear_head`."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    held_out, rest = order.split([round(HELD_OUT * len(order)), len(order) - round(HELD_OUT * len(order))])
    heads = [fit_linear_head(inputs[rest], labels[rest], num_classes, seed, lr, batch_size=1024) for lr in HEAD_RATES]
    with torch.inference_mode():
        losses = [float(F.cross_entropy(head(inputs[held_out]), labels[held_out])) for head in heads]
    return heads[min(range(len(heads)), key=losses.__getitem__)]

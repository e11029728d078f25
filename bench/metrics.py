"""What is measured on a model: accuracy and loss, sparsity, parameters, multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from bench.data import Split, to_input


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over a whole split.

    Attributes:
        top1: Percent of the images whose label has the highest logit.
        top5: Percent of the images whose label is among the five highest.
        loss: Mean cross-entropy, nats.
        n_images: How many images were evaluated.
    """

    top1: float
    top5: float
    loss: float
    n_images: int


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, input_size: int, batch_size: int = 500) -> Accuracy:
    """Evaluates a model: sums over samples, divided once at the end.

    Args:
        model: A classifier; it is put into eval mode.
        split: The images.
        input_size: Side of the model's input, pixels.
        batch_size: Images at a time; does not change the result.
    """
    model.eval()
    device = next(model.parameters()).device
    top1 = top5 = 0
    loss = 0.0
    for images, labels in split.batches(batch_size):
        labels = labels.to(device)
        logits = model(to_input(images.to(device), input_size)).float()
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        top1 += int(ranked[:, 0].sum())
        top5 += int(ranked.any(dim=1).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    n = len(split)
    return Accuracy(100 * top1 / n, 100 * top5 / n, loss / n, n)

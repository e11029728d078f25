"""Fine-tuning of a pruned model with its masks held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap.masks import Masks
from cap.schedules import linear

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class FinetuneRecipe:
    """The paper's one-shot + fine-tune recipe: AdamW and a linearly falling rate.

    Attributes:
        epochs: Passes over the training images.
        lr: First learning rate; `lr_end` is the last one.
        weight_decay: Of AdamW.
        label_smoothing: Of the cross-entropy.
        grad_clip: Largest norm of the gradient.
    """

    epochs: int
    lr: float = 1e-4
    lr_end: float = 1e-5
    weight_decay: float = 0.03
    label_smoothing: float = 0.1
    grad_clip: float = 1.0


def finetune(
    model: nn.Module, masks: Mapping[str, Tensor], batches: Batches, steps_per_epoch: int, recipe: FinetuneRecipe
) -> None:
    """Trains a pruned model in place; masked weights stay zero throughout.

    Args:
        model: The model, with the pruned weights in it.
        masks: {name: keep-mask}.
        batches: Called with the epoch's number, yields (inputs, labels); the only source of randomness.
        steps_per_epoch: How many batches an epoch yields.
        recipe: Schedule and optimiser.

    Raises:
        RuntimeError: If a masked weight is found not to be zero at an epoch's end.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    held = Masks(model, masks)
    held.attach(optimizer)
    step = 0
    for epoch in range(recipe.epochs):
        model.train()
        for inputs, labels in batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = linear(step, recipe.epochs * steps_per_epoch, recipe.lr, recipe.lr_end)
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
            optimizer.step()
            step += 1
        held.check()
    model.eval()

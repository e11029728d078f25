"""Training of a pruned model with its masks held, which can be stopped after any epoch and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap.masks import Masks

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]
Rate = Callable[[int], float]


@dataclass(frozen=True)
class Distillation:
    """Learning from the dense model beside the labels (Hinton et al., 2015, arXiv 1503.02531).

    Attributes:
        teacher: The dense model.
        share: Of the loss.
        temperature: Both outputs are divided by it; the divergence is multiplied by its square.
    """

    teacher: nn.Module
    share: float
    temperature: float = 1.0

    def mixed(self, loss: Tensor, logits: Tensor, inputs: Tensor) -> Tensor:
        """Returns the loss with its share of the divergence from the teacher's outputs."""
        self.teacher.eval()
        with torch.no_grad():
            target = F.log_softmax(self.teacher(inputs) / self.temperature, dim=1)
        ours = F.log_softmax(logits / self.temperature, dim=1)
        divergence = F.kl_div(ours, target, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.share) * loss + self.share * divergence


class Training:
    """Training of a model in place, epoch by epoch.

    Args:
        model: The model.
        optimizer: Of its parameters.
        batches: Called with the epoch's number, yields (inputs, labels or class probabilities); the probabilities are
            taken to be smoothed already.
        rate: Learning rate at a step, counted from 0 over all epochs.
        label_smoothing: Of the cross-entropy with labels.
        grad_clip: Largest norm of the gradient, None for no limit.
        distillation: Learning from another model's outputs.

    Attributes:
        step: Steps so far.
        masks: What is held at zero, None for nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        rate: Rate,
        label_smoothing: float = 0.0,
        grad_clip: float | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        self.model, self.optimizer, self.batches, self.rate = model, optimizer, batches, rate
        self.label_smoothing, self.grad_clip, self.distillation = label_smoothing, grad_clip, distillation
        self.step = 0
        self.masks: Masks | None = None
        self._attached: Any = None

    def hold(self, masks: Mapping[str, Tensor] | None) -> None:
        """Sets the masked weights to zero now and after every step; None frees all weights.

        Freed weights start again from zero, with an optimiser that has forgotten what they were.
        """
        if self._attached is not None:
            self._attached.remove()
        if masks is None and self.masks is not None:
            self._forget(self.masks.state_dict())
        self.masks = Masks(self.model, masks) if masks is not None else None
        self._attached = self.masks.attach(self.optimizer) if self.masks is not None else None

    def _forget(self, masks: Mapping[str, Tensor]) -> None:
        """Sets the optimiser's running averages of masked weights to zero."""
        for name, mask in masks.items():
            weight = self.model.get_parameter(name)
            for value in self.optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(mask)

    def run_epoch(self, epoch: int) -> None:
        """Trains for one epoch.

        Raises:
            RuntimeError: If a masked weight is found not to be zero at its end.
        """
        self.model.train()
        for inputs, labels in self.batches(epoch):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.step)
            logits = self.model(inputs)
            smoothing = 0.0 if labels.is_floating_point() else self.label_smoothing
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
            if self.distillation is not None:
                loss = self.distillation.mixed(loss, logits, inputs)
            self.optimizer.zero_grad()
            loss.backward()
            if self.grad_clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
            self.optimizer.step()
            self.step += 1
        if self.masks is not None:
            self.masks.check()
        self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on, but for the model's weights and the state of random generators."""
        masks = self.masks.state_dict() if self.masks is not None else None
        return {"optimizer": self.optimizer.state_dict(), "step": self.step, "masks": masks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state; the model must have the weights that it had then."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.masks = None  # what was held is part of the optimiser's state already
        self.hold(state["masks"])

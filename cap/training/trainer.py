"""Training of a pruned model with its masks held, which can be stopped and resumed after any step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cap import distributed
from cap.model_state import fingerprint
from cap.training.accelerator import Precision, float32_products
from cap.training.averaging import WeightAverage
from cap.training.masks import Masks

Batches = Callable[[int, int], Iterable[tuple[Tensor, Tensor]]]
Rate = Callable[[int], float]


@dataclass(frozen=True)
class Distillation:
    """Learning from the dense model beside the labels (Hinton et al., 2015, arXiv 1503.02531).

    Attributes:
        teacher: Dense model.
        share: Share of the divergence in the loss, from 0 to 1.
        temperature: Number that both outputs are divided by; the divergence is multiplied by its square.
    """

    teacher: nn.Module
    share: float
    temperature: float = 1.0

    def mixed(self, loss: Tensor, logits: Tensor, inputs: Tensor) -> Tensor:
        """Returns the loss with its share of the divergence from the teacher's outputs."""
        self.teacher.eval()
        with torch.no_grad():
            target = F.log_softmax(_widened(self.teacher(inputs)) / self.temperature, dim=1)
        ours = F.log_softmax(logits / self.temperature, dim=1)
        divergence = F.kl_div(ours, target, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.share) * loss + self.share * divergence


def _widened(outputs: Tensor) -> Tensor:
    """Returns outputs in at least single precision, which autocast may have left in half."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


class Training:
    """Training of a model in place, epoch by epoch.

    In a torch.distributed group all processes train the same model with DistributedDataParallel, each on its share of
    every batch; steps are those of the whole batch. BatchNorm normalises with the images that a process has in one
    pass; its running statistics are process 0's.

    Args:
        model: Model that trains.
        optimizer: Optimiser of its parameters.
        batches: Function of the epoch's number and how many of its batches are done already, which yields this
            process's share of each batch: inputs, and labels or class probabilities, which are taken to be smoothed
            already.
        rate: Learning rate at a step, counted from 0 over all epochs.
        label_smoothing: Label smoothing of the cross-entropy with labels.
        grad_clip: Largest norm of the gradient, None for no limit.
        distillation: Distillation from another model's outputs, if any.
        precision: Precision of the forward pass; below float32 by autocast, and for float16 with a scaled loss. Weights
            and optimiser stay as they are.
        micro_batch: Images of this process in one forward and backward pass; their gradients are added up. By default
            its whole share of the batch.
        ema: Decay of a moving average of the weights, see `averaged`; 0 for none.
        tf32: Whether products of float32 values in the passes may have the precision of TF32, on cards that have it.
        channels_last: Whether images go through the model with their channels last; weights stay as they are.
        compiled: Backend of `torch.compile` that the passes go through, such as `inductor`; None for none.

    Attributes:
        step: Number of steps so far.
        batch: Number of batches of the present epoch that are done.
        masks: Masks that are held, None for none.
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
        precision: Precision = "float32",
        micro_batch: int | None = None,
        ema: float = 0.0,
        *,
        tf32: bool = False,
        channels_last: bool = False,
        compiled: str | None = None,
    ) -> None:
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(f"a micro-batch of {micro_batch} images is not valid: it must be at least 1")
        self.model, self.optimizer, self.batches, self.rate = model, optimizer, batches, rate
        self.label_smoothing, self.grad_clip, self.distillation = label_smoothing, grad_clip, distillation
        self.precision, self.micro_batch = precision, micro_batch
        self.tf32, self.channels_last = tf32, channels_last
        self.step = self.batch = 0
        self.masks: Masks | None = None
        self._attached: Any = None
        self._device = next(model.parameters()).device
        self._losses: list[Tensor] = []  # of the parts of the last batch, weighted, on the device
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "float16")
        self._average = WeightAverage(model, ema) if ema else None
        self._passes: Any = torch.compile(model, backend=compiled) if compiled is not None else model
        self._parallel = DistributedDataParallel(self._passes) if distributed.world_size() > 1 else None

    def set_masks(self, masks: Mapping[str, Tensor] | None) -> None:
        """Sets the masked weights to zero now and after every step; None frees all weights.

        Freed weights start again from zero, with an optimiser that has forgotten what they were. In a group all
        processes take process 0's masks and weights.
        """
        if self._attached is not None:
            self._attached.remove()
        if masks is None and self.masks is not None:
            self._forget(self.masks.state_dict())
        self.masks = Masks(self.model, masks) if masks is not None else None
        if self.masks is not None:
            distributed.broadcast_from_rank0(self.masks.state_dict().values())
        distributed.broadcast_from_rank0(self.model.state_dict().values())
        self._attached = self.masks.attach(self.optimizer) if self.masks is not None else None
        if self._average is not None:
            self._average.restart()  # what it was an average of is no longer the model

    def averaged(self) -> nn.Module:
        """Returns a copy of the model with the moving average of its weights, or without one the model itself."""
        if self._average is None:
            return self.model
        model = copy.deepcopy(self.model)
        model.load_state_dict(self._average.values)
        return model

    def _forget(self, masks: Mapping[str, Tensor]) -> None:
        """Sets the optimiser's running averages of masked weights to zero."""
        for name, mask in masks.items():
            weight = self.model.get_parameter(name)
            for value in self.optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(mask)

    def run_epoch(self, epoch: int, after_step: Callable[[], None] | None = None) -> None:
        """Trains for one epoch, or for the rest of one that a state was loaded from.

        Args:
            epoch: Number of the epoch, from 0.
            after_step: Function that is called after every step; the state may be saved then.

        Raises:
            RuntimeError: If a masked weight is found not to be zero at its end, or the processes' weights differ.
        """
        self.model.train()
        for inputs, labels in self.batches(epoch, self.batch):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.step)
            self.optimizer.zero_grad()
            products = float32_products(tf32=True) if self.tf32 else nullcontext()
            with distributed.rank_random_state(self.step), products:
                self._backward(inputs, labels)
            if self.grad_clip is not None:
                self._scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
            self._scaler.step(self.optimizer)
            self._scaler.update()
            if self._average is not None:
                self._average.update()
            self.step += 1
            self.batch += 1
            if after_step is not None:
                after_step()
        self.batch = 0
        if self.masks is not None:
            self.masks.check()
        if self._parallel is not None:
            distributed.broadcast_from_rank0(self.model.buffers())
            if self._average is not None:
                distributed.broadcast_from_rank0(self._average.values.values())
            distributed.check_same(fingerprint(self.model), "the weights")
        self.model.eval()

    def last_loss(self) -> float:
        """Returns the mean loss over this process's share of the last batch; nan before the first one."""
        return float(torch.stack(self._losses).sum()) if self._losses else float("nan")

    def _backward(self, inputs: Tensor, labels: Tensor) -> None:
        """Adds up the gradient of the mean loss over the whole batch, of which this is one process's share."""
        share = len(labels)
        whole: Tensor | int = share
        if self._parallel is not None:
            whole = torch.tensor(float(share), device=inputs.device)  # stays on the device: nothing waits for it
            distributed.all_reduce_sum(whole)
            if not share:  # the others' sum needs this process too: one image that counts for nothing
                inputs, labels = (tensor.new_zeros(1, *tensor.shape[1:]) for tensor in (inputs, labels))
        self._losses = []
        size = self.micro_batch or len(labels)
        parts = list(zip(inputs.split(size), labels.split(size), strict=True))
        for number, (images, targets) in enumerate(parts, 1):
            with self._adding_up(last=number == len(parts)):
                # processes are averaged, so each one's part counts as many times as there are processes
                weight = min(share, len(targets)) * distributed.world_size() / whole
                loss = self._loss(images, targets)
                self._losses.append(loss.detach() * len(targets) / len(labels))
                self._scaler.scale(loss * weight).backward()

    def _adding_up(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged in the last of several passes."""
        return nullcontext() if self._parallel is None or last else self._parallel.no_sync()

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        half = self.precision != "float32"
        autocast = torch.autocast(self._device.type, getattr(torch, self.precision)) if half else nullcontext()
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        model = self._parallel if self._parallel is not None else self._passes
        with autocast:
            logits = _widened(model(inputs))
            smoothing = 0.0 if labels.is_floating_point() else self.label_smoothing
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
            return loss if self.distillation is None else self.distillation.mixed(loss, logits, inputs)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on, but for the model's weights and the state of random generators."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "batch": self.batch,
            "masks": self.masks.state_dict() if self.masks is not None else None,
            "average": self._average.state_dict() if self._average is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state; the model must have the weights that it had then."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # a card with bfloat16 may have gone before, which scales no loss
            self._scaler.load_state_dict(state["scaler"])
        self.step, self.batch = state["step"], state["batch"]
        self.masks = None  # what was held is part of the optimiser's state already
        self.set_masks(state["masks"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])

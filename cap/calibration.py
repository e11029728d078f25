"""The data that a pruner may see, and the gradients of the loss on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from cap.layers import owner

Loss = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode and each of its modules back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class Calibration:
    """Training images, their labels and the loss: all that a pruner may see, and never validation data.

    Args:
        images: Model inputs, (n, ...), in random order: fewer gradients than images means the first images.
        labels: Targets, (n, ...).
        loss: Maps (outputs, labels) to the mean loss over the batch; cross-entropy by default. For per-sample gradients
            it must not mix samples.
        batch_size: Images in one forward pass and, with `gradient="batch"`, in one gradient.
        gradient: `sample` for the gradient of every single image's loss, which is what the empirical Fisher is defined
            on; `batch` for the gradients of mini-batch means, which the release uses.
        seed: Order in which images are drawn when `batch` gradients go around the images again.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        loss: Loss = F.cross_entropy,
        batch_size: int = 128,
        gradient: Literal["sample", "batch"] = "sample",
        seed: int = 0,
    ) -> None:
        if len(images) != len(labels) or not len(images):
            raise ValueError(f"{len(images)} images and {len(labels)} labels: there must be as many, and at least one")
        if gradient not in ("sample", "batch"):
            raise ValueError(f"unknown gradient {gradient!r}: choose sample or batch")
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} is not valid: it must be at least 1")
        self.images, self.labels, self.loss = images, labels, loss
        self.batch_size, self.gradient, self.seed = batch_size, gradient, seed

    def __len__(self) -> int:
        return len(self.images)

    def gradients(
        self, model: nn.Module, layers: Mapping[str, Tensor], num_gradients: int | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yields gradients of the loss with respect to the chosen weights, model in eval mode.

        The model's own `.grad` is not touched.

        Args:
            model: The model.
            layers: Parameter names to weights, as `select_layers` returns them.
            num_gradients: How many in all; by default one per image, or per whole batch.

        Yields:
            For every layer (b, num_weights) gradients, b rows at a time.

        Raises:
            ValueError: If more per-sample gradients are asked for than there are images.
        """
        device = next(iter(layers.values())).device
        if self.gradient == "sample":
            total = len(self) if num_gradients is None else num_gradients
            if total > len(self):
                raise ValueError(f"{total} per-sample gradients need as many images, but calibration has {len(self)}")
            parts = (self.images[:total].split(self.batch_size), self.labels[:total].split(self.batch_size))
            for images, labels in zip(*parts, strict=True):
                yield per_sample_gradients(model, layers, images.to(device), labels.to(device), self.loss)
        else:
            total = max(1, len(self) // self.batch_size) if num_gradients is None else num_gradients
            for chosen in self._batch_indices(total):
                images, labels = self.images[chosen].to(device), self.labels[chosen].to(device)
                yield batch_gradient(model, layers, images, labels, self.loss)

    def _batch_indices(self, count: int) -> Iterator[Tensor]:
        """Yields `count` batches of indices; each pass over the images is in a new order."""
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.batch_size, len(self))
        while count > 0:
            for chosen in torch.randperm(len(self), generator=generator).split(size)[: len(self) // size][:count]:
                count -= 1
                yield chosen


def batch_gradient(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Returns the gradient of the batch's mean loss: {name: (1, num_weights)}."""
    weights = {name: model.get_parameter(name) for name in layers}
    with evaluating(model), _differentiable(list(weights.values())), torch.enable_grad():
        gradients = torch.autograd.grad(loss(model(images), labels), list(weights.values()))
    return {name: gradient.detach().reshape(1, -1) for name, gradient in zip(weights, gradients, strict=True)}


@contextmanager
def _differentiable(weights: list[nn.Parameter]) -> Iterator[None]:
    """Lets gradients flow to the weights, frozen or not."""
    states = [(weight, weight.requires_grad) for weight in weights]
    for weight, _ in states:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, state in states:
            weight.requires_grad_(state)


def per_sample_gradients(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Returns the gradient of every image's own loss: {name: (n, num_weights)}.

    One forward and one backward pass serve the whole batch: the gradient of a linear layer's weight for one image is
    the sum over tokens of output gradient times input. Linear and Conv2d layers are read off their inputs and output
    gradients; the weights of any other module, those that several modules share and those that are used without calling
    their module go through `torch.func`. The first dimension of every layer's input must run over the images (each may
    own several consecutive entries, like windows).
    """
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    weights = {name: model.get_parameter(name) for name in layers}
    modules = {name: owner(model, name) for name in layers}
    hooked = {n: module for n, module in modules.items() if _has_rule(module, n) and owners[id(weights[n])] == 1}
    calls: dict[str, list[tuple[Tensor, GradientEdge]]] = {name: [] for name in hooked}

    def record(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        # the edge stays valid when a later operation overwrites the output in place
        calls[name].append((args[0].detach(), get_gradient_edge(output)))

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: record(name, args, output))
        for name, module in hooked.items()
    ]
    try:
        with evaluating(model), _differentiable(list(weights.values())), torch.enable_grad():
            outputs = model(images)
            total = loss(outputs, labels) * len(images)
            edges = [edge for pairs in calls.values() for _, edge in pairs]
            flows = iter(torch.autograd.grad(total, edges) if edges else ())
    finally:
        for handle in handles:
            handle.remove()
    result = {}
    for name, module in hooked.items():
        if not calls[name]:
            continue
        parts = [_weight_gradients(module, inputs, next(flows), len(images)) for inputs, _ in calls[name]]
        result[name] = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
    if others := [name for name in layers if name not in result]:
        result |= _functional_gradients(model, others, images, labels, loss)
    return {name: result[name] for name in layers}


def _has_rule(module: nn.Module, name: str) -> bool:
    if not name.endswith("weight"):
        return False
    return type(module) is nn.Linear or (
        type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    )


def _weight_gradients(module: nn.Module, inputs: Tensor, flow: Tensor, n: int) -> Tensor:
    """Returns per-sample weight gradients (n, num_weights) of one call of a layer.

    Args:
        module: Linear or Conv2d.
        inputs: The layer's inputs.
        flow: Gradient of the summed loss with respect to the layer's outputs.
        n: Number of images.
    """
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)  # see _has_rule
        groups = module.groups
        columns = F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)
        columns = columns.view(n, groups, -1, columns.shape[-1])  # (n, groups, in * kh * kw / groups, positions)
        flow = flow.reshape(n, groups, module.out_channels // groups, -1)  # (n, groups, out / groups, positions)
        return torch.matmul(flow, columns.transpose(-1, -2)).flatten(1)
    inputs = inputs.reshape(n, -1, inputs.shape[-1])  # (n, tokens, in)
    flow = flow.reshape(n, -1, flow.shape[-1])  # (n, tokens, out)
    return torch.matmul(flow.transpose(1, 2), inputs).flatten(1)


def _functional_gradients(
    model: nn.Module, names: list[str], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Per-sample gradients of any weights at all, through `torch.func`; slower than the hooks."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    chosen = {name: state.pop(name).detach() for name in names}

    def sample_loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, {**state, **weights}, (image[None],))
        return loss(outputs, label[None])

    with evaluating(model):
        per_sample = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))(chosen, images, labels)
    return {name: gradient.detach().flatten(1) for name, gradient in per_sample.items()}

"""Gradients of the loss with respect to weights: of every single image, or of a batch."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cap.functional_gradients import Loss, functional_gradients
from cap.inputs import Images, as_inputs
from cap.layer_inputs import Convolution, has_known_inputs, patches
from cap.layers import owner
from cap.model_state import differentiable, evaluating
from cap.recording import Calls, allowing_writes, intact, run_recorded


class GradientBatch:
    """Gradients of one batch: those of Linear and convolution layers are computed when they are asked for.

    Until then a layer's inputs and output gradients are all that is held, which for most layers is less than the
    gradients are, and a caller that has room for them already need not make any other.

    Args:
        count: n, number of gradients.
        calls: Module of every layer that is read off its inputs and output gradients, and a pair of these for every
            call.
        ready: Gradients of the other layers, {name: (n, num_weights)}.
        in_doubt: Layers of which this batch does not show that the loss depends on them.

    Attributes:
        first: Number of the first of them among all gradients.
    """

    def __init__(
        self,
        count: int,
        calls: dict[str, tuple[nn.Module, list[tuple[Tensor, Tensor]]]],
        ready: dict[str, Tensor],
        in_doubt: Sequence[str] = (),
    ) -> None:
        self.count, self._calls, self._ready, self.in_doubt = count, calls, ready, in_doubt
        self.first = 0

    def at(self, first: int) -> GradientBatch:
        """Returns this batch, which stands at a place among all gradients."""
        self.first = first
        return self

    def of(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Returns a layer's gradients (n, num_weights), or a range of their columns.

        Args:
            name: Name of the layer.
            start: Position of the first weight, a multiple of the weights of one output.
            stop: Position after the last weight, likewise.
        """
        if name in self._ready:
            return self._ready[name][:, start:stop]
        module, calls = self._calls[name]
        parts = (_weight_gradients(module, x, flow, self.count, start, stop) for x, flow in calls)
        return functools.reduce(torch.add, parts)

    def bounds(self) -> dict[str, Tensor]:
        """Returns bounds of what each layer's gradients can hold, {name: 0-dim, float64}.

        A bound is infinite or NaN where an input or an output gradient is, or where sums of their products may exceed
        the largest number of their type; then the gradients may still be finite.
        """
        found = {name: largest_entry(rows) for name, rows in self._ready.items()}
        for name, (_, calls) in self._calls.items():
            parts = [
                largest_entry(inputs) * largest_entry(flow) * (flow[0].numel() * len(flow) / self.count)
                for inputs, flow in calls
            ]
            total = functools.reduce(torch.add, parts)
            limit = torch.finfo(calls[0][1].dtype).max
            found[name] = torch.where(total <= limit, total, torch.inf)
        return found

    def write(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """Writes a range of a layer's gradients where they are wanted, if possible without a copy.

        Args:
            name: Name of the layer.
            start: Position of the first weight, a multiple of the weights of one output.
            stop: Position after the last weight, likewise.
            out: Room for the gradients, (n, stop - start).
        """
        if name in self._calls:
            module, calls = self._calls[name]
            if (
                isinstance(module, nn.Linear)
                and len(calls) == 1
                and out.is_contiguous()
                and out.dtype == calls[0][0].dtype
            ):
                flow, inputs = _linear_factors(module, *calls[0], self.count, start, stop)
                torch.bmm(flow, inputs, out=out.view(self.count, -1, inputs.shape[-1]))
                return
        out.copy_(self.of(name, start, stop))


def largest_entry(tensor: Tensor) -> Tensor:
    """Returns the largest absolute value, 0-dim, float64; infinite or NaN if an entry is."""
    least, most = torch.aminmax(tensor.detach())
    return torch.maximum(-least, most).double()


def batch_gradient(
    model: nn.Module, layers: Mapping[str, Tensor], images: Images, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of the batch's mean loss."""
    found = _mean_gradients(model, list(layers), images, labels, loss)
    unused = [name for name, gradient in found.items() if gradient is None]
    rows = {name: torch.zeros_like(layers[name]) if gradient is None else gradient for name, gradient in found.items()}
    return GradientBatch(1, {}, {name: row.detach().reshape(1, -1) for name, row in rows.items()}, unused)


def unused_weights(model: nn.Module, names: Sequence[str], images: Images, labels: Tensor, loss: Loss) -> list[str]:
    """Returns those weights that a batch's loss is computed without."""
    found = _mean_gradients(model, names, images, labels, loss)
    return [name for name, gradient in found.items() if gradient is None]


def check_used(unused: Sequence[str]) -> None:
    """Refuses layers that no calibration image goes through.

    Args:
        unused: Names of these layers.

    Raises:
        ValueError: If there are any.
    """
    if unused:
        them, are = ("them", "are") if len(unused) > 1 else ("it", "is")
        raise ValueError(
            f"{', '.join(unused)} {are} not called by the forward pass on the calibration images, or without effect on "
            f"the loss: leave {them} out of the layers to prune"
        )


def _mean_gradients(
    model: nn.Module, names: Sequence[str], images: Images, labels: Tensor, loss: Loss
) -> dict[str, Tensor | None]:
    """Returns the gradients of a batch's mean loss, None for weights that it is computed without."""
    weights, inputs = [model.get_parameter(name) for name in names], as_inputs(images)

    def gradients(_: bool) -> dict[str, Tensor | None]:
        mean = loss(inputs.run(model), labels)
        if not mean.requires_grad:
            return dict.fromkeys(names)
        return dict(zip(names, torch.autograd.grad(mean, weights, allow_unused=True), strict=True))

    with evaluating(model), differentiable(model, weights), torch.enable_grad():
        return allowing_writes(gradients)


def per_sample_gradients(
    model: nn.Module, layers: Mapping[str, Tensor], images: Images, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of every image's own loss.

    One forward and one backward pass serve the whole batch: the gradient of a linear layer's weight for one image is
    the sum over tokens of output gradient times input. Linear and convolution layers are read off their inputs and
    output gradients; the weights of any other module, those that several modules share and those that are used without
    calling their module go through `torch.func`. The first dimension of every layer's input must run over the images
    (each may own several consecutive entries, like windows).
    """
    inputs, hooked = as_inputs(images), hooked_layers(model, layers)

    def read(calls: Calls) -> dict[str, list[tuple[Tensor, Tensor]]]:
        total = loss(inputs.run(model), labels) * len(inputs)
        intact(calls)
        edges = [call.edge for name in calls for call in calls[name] if call.edge is not None]
        if not edges or not total.requires_grad:
            return {}
        flows = iter(torch.autograd.grad(total, edges, allow_unused=True))
        pairs = {name: [(call.inputs, next(flows)) for call in calls[name] if call.edge is not None] for name in calls}
        return {name: [(x, flow) for x, flow in pairs[name] if flow is not None] for name in pairs}

    weights = [model.get_parameter(name) for name in hooked]
    flowing: dict[str, list[tuple[Tensor, Tensor]]] = {}
    if hooked:
        with evaluating(model), differentiable(model, weights), torch.enable_grad():
            flowing = run_recorded({name: [module] for name, module in hooked.items()}, read)
    found = {name: (hooked[name], pairs) for name, pairs in flowing.items() if pairs}
    others = [name for name in layers if name not in found]
    ready = functional_gradients(model, others, inputs, labels, loss) if others else {}
    return GradientBatch(len(inputs), found, ready, others)


def hooked_layers(model: nn.Module, layers: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Returns the modules of those layers whose per-sample gradients can be read off inputs and output gradients."""
    shared = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    modules = {name: owner(model, name) for name in layers}
    return {
        name: module
        for name, module in modules.items()
        if has_known_inputs(module, name) and shared[id(model.get_parameter(name))] == 1
    }


def _linear_factors(
    module: nn.Linear, inputs: Tensor, flow: Tensor, n: int, start: int, stop: int | None
) -> tuple[Tensor, Tensor]:
    """Returns (n, outputs, tokens) and (n, tokens, in), whose product is the gradient of weights start to stop."""
    outputs = slice(start // module.in_features, None if stop is None else stop // module.in_features)
    flow = flow.reshape(n, -1, module.out_features)[:, :, outputs]
    return flow.transpose(1, 2), inputs.reshape(n, -1, module.in_features)


def _weight_gradients(module: nn.Module, inputs: Tensor, flow: Tensor, n: int, start: int, stop: int | None) -> Tensor:
    """Returns per-sample gradients (n, stop - start) of one call of a layer.

    Args:
        module: Linear or convolution layer.
        inputs: Inputs of the layer.
        flow: Gradient of the summed loss with respect to the layer's outputs.
        n: Number of images.
        start: Position of the first weight, a multiple of the weights of one output.
        stop: Position after the last weight, likewise.
    """
    if isinstance(module, nn.Linear):
        return torch.bmm(*_linear_factors(module, inputs, flow, n, start, stop)).flatten(1)
    assert isinstance(module, Convolution)
    groups = module.groups
    columns = patches(module, inputs).reshape(n, groups, -1, flow[0, 0].numel())
    flow = flow.reshape(n, groups, module.out_channels // groups, -1)  # (n, groups, out / groups, positions)
    if groups == 1:
        width = columns.shape[2]
        flow, start, stop = flow[:, :, start // width : None if stop is None else stop // width], 0, None
    return torch.matmul(flow, columns.transpose(-1, -2)).flatten(1)[:, start:stop]

"""Gradients of the loss with respect to weights: of every single image, or of a batch."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from cap.layers import owner
from cap.model_state import differentiable, evaluating

Loss = Callable[[Tensor, Tensor], Tensor]


class GradientBatch:
    """Gradients of one batch: those of Linear and Conv2d layers are computed when they are asked for.

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
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of the batch's mean loss."""
    found = _mean_gradients(model, list(layers), images, labels, loss)
    unused = [name for name, gradient in found.items() if gradient is None]
    rows = {name: torch.zeros_like(layers[name]) if gradient is None else gradient for name, gradient in found.items()}
    return GradientBatch(1, {}, {name: row.detach().reshape(1, -1) for name, row in rows.items()}, unused)


def unused_weights(model: nn.Module, names: Sequence[str], images: Tensor, labels: Tensor, loss: Loss) -> list[str]:
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
    model: nn.Module, names: Sequence[str], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor | None]:
    """Returns the gradients of a batch's mean loss, None for weights that it is computed without."""
    weights = [model.get_parameter(name) for name in names]
    with evaluating(model), differentiable(model, weights), torch.enable_grad():
        mean = loss(model(images), labels)
        if not mean.requires_grad:
            return dict.fromkeys(names)
        return dict(zip(names, torch.autograd.grad(mean, weights, allow_unused=True), strict=True))


def per_sample_gradients(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> GradientBatch:
    """Returns the gradient of every image's own loss.

    One forward and one backward pass serve the whole batch: the gradient of a linear layer's weight for one image is
    the sum over tokens of output gradient times input. Linear and Conv2d layers are read off their inputs and output
    gradients; the weights of any other module, those that several modules share and those that are used without calling
    their module go through `torch.func`. The first dimension of every layer's input must run over the images (each may
    own several consecutive entries, like windows).
    """
    hooked = hooked_layers(model, layers)
    calls: dict[str, list[tuple[Tensor, GradientEdge]]] = {name: [] for name in hooked}

    def record(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        # the edge stays valid when a later operation overwrites the output in place
        calls[name].append((args[0].detach(), get_gradient_edge(output)))

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: record(name, args, output))
        for name, module in hooked.items()
    ]
    flows: Iterator[Tensor | None] = itertools.repeat(None)
    try:
        weights = [model.get_parameter(name) for name in hooked]
        with evaluating(model), differentiable(model, weights), torch.enable_grad():
            if hooked:
                total = loss(model(images), labels) * len(images)
                edges = [edge for pairs in calls.values() for _, edge in pairs]
                if edges and total.requires_grad:
                    flows = iter(torch.autograd.grad(total, edges, allow_unused=True))
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, pairs in calls.items():
        read = [(inputs, next(flows)) for inputs, _ in pairs]
        if used := [(inputs, flow) for inputs, flow in read if flow is not None]:
            found[name] = (hooked[name], used)
    others = [name for name in layers if name not in found]
    ready = _functional_gradients(model, others, images, labels, loss) if others else {}
    return GradientBatch(len(images), found, ready, others)


def hooked_layers(model: nn.Module, layers: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Returns the modules of those layers whose per-sample gradients can be read off inputs and output gradients."""
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    modules = {name: owner(model, name) for name in layers}
    return {
        name: module
        for name, module in modules.items()
        if has_known_inputs(module, name) and owners[id(model.get_parameter(name))] == 1
    }


def has_known_inputs(module: nn.Module, name: str) -> bool:
    """Returns whether a parameter is the weight of a Linear or Conv2d layer whose inputs `input_rows` can lay out."""
    if not name.endswith("weight"):
        return False
    return type(module) is nn.Linear or (
        type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    )


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
        module: Linear or Conv2d layer.
        inputs: Inputs of the layer.
        flow: Gradient of the summed loss with respect to the layer's outputs.
        n: Number of images.
        start: Position of the first weight, a multiple of the weights of one output.
        stop: Position after the last weight, likewise.
    """
    if isinstance(module, nn.Linear):
        return torch.bmm(*_linear_factors(module, inputs, flow, n, start, stop)).flatten(1)
    assert isinstance(module, nn.Conv2d)
    groups = module.groups
    columns = _columns(module, inputs).reshape(n, groups, -1, flow[0, 0].numel())
    flow = flow.reshape(n, groups, module.out_channels // groups, -1)  # (n, groups, out / groups, positions)
    if groups == 1:
        width = columns.shape[2]
        flow, start, stop = flow[:, :, start // width : None if stop is None else stop // width], 0, None
    return torch.matmul(flow, columns.transpose(-1, -2)).flatten(1)[:, start:stop]


def input_rows(module: nn.Module, inputs: Tensor) -> Tensor:
    """Returns what a layer's weights are multiplied with: (groups, positions, columns)."""
    if isinstance(module, nn.Linear):
        return inputs.detach().reshape(1, -1, module.in_features)
    assert isinstance(module, nn.Conv2d)
    n, groups = len(inputs), module.groups
    kernel = module.kernel_size[0] * module.kernel_size[1]
    columns = _columns(module, inputs.detach()).reshape(n, groups, module.in_channels // groups, kernel, -1)
    return columns.permute(1, 0, 4, 3, 2).flatten(3).flatten(1, 2)


def _columns(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Returns what each output position sees: (n, in * kh * kw, positions), in any shape of that order."""
    height, width = module.kernel_size
    if module.stride == module.kernel_size and module.padding == (0, 0) and module.dilation == (1, 1):
        n, channels = inputs.shape[:2]  # patches side by side: a view, where `unfold` would go through every entry
        rows, columns = inputs.shape[2] // height, inputs.shape[3] // width
        patches = inputs[:, :, : rows * height, : columns * width].reshape(n, channels, rows, height, columns, width)
        return patches.permute(0, 1, 3, 5, 2, 4)
    assert not isinstance(module.padding, str)  # see has_known_inputs
    return F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)


def _functional_gradients(
    model: nn.Module, names: list[str], images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """Per-sample gradients of any weights at all, through `torch.func`; slower than the hooks."""
    state = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {name: state.pop(name) for name in names}

    def sample_loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, {**state, **weights}, (image[None],))
        return loss(outputs, label[None])

    with evaluating(model), torch.enable_grad():
        per_sample = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))(chosen, images, labels)
    # of weights that the loss is computed without, all rows are one and the same zeros in memory: not to be written to
    return {name: gradient.detach().flatten(1).contiguous() for name, gradient in per_sample.items()}

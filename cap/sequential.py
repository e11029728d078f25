"""Inputs of layer after layer of a model whose earlier layers are pruned already."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cap.finite import check_inputs
from cap.gradients import check_used
from cap.inputs import Inputs
from cap.layer_inputs import input_layers, input_rows
from cap.layers import owner
from cap.model_state import evaluating
from cap.recording import first_input

Batches = Callable[[bool], Iterable[Inputs]]


class _Reached(Exception):  # noqa: N818  no error: the rest of the forward pass is not needed
    """End of a forward pass at the layer whose inputs are wanted."""


@dataclass
class SequentialLayer:
    """A layer to prune, of a model whose layers before it are pruned.

    Attributes:
        name: Name of the weight.
        weight: Dense weight, detached.
        groups: Number of groups of its inputs: 1 but for grouped convolutions.
        replaced: Whether the pruned weight is in the model.
    """

    name: str
    weight: Tensor
    groups: int
    _model: nn.Module = field(repr=False)
    _batches: Batches = field(repr=False)
    _calls: int = field(repr=False)
    replaced: bool = False

    @torch.no_grad()
    def inputs(self, divided: bool = False) -> Iterator[Tensor]:
        """Yields what the weight is multiplied with, batch after batch; each time by forward passes up to the layer.

        Args:
            divided: Whether what other processes of a torch.distributed group compute is left out.

        Yields:
            (groups, positions, columns), as `Calibration.layer_inputs`.
        """
        modules = input_layers(self._model, {self.name: self.weight})[self.name]
        for images in self._batches(divided):
            parts: list[Tensor] = []

            def record(module: nn.Module, args: Any, kwargs: Any, parts: list[Tensor] = parts) -> None:
                inputs = first_input(args, kwargs)
                # before the next call the model may write into them
                parts.append(input_rows(module, inputs.clone() if self._calls > 1 else inputs))
                if len(parts) == self._calls:
                    raise _Reached

            with _hooked(dict.fromkeys(modules, record)), evaluating(self._model), suppress(_Reached):
                images.to(self.weight.device).run(self._model)
            check_used([] if parts else [self.name])
            rows = torch.cat(parts, dim=1)
            check_inputs({self.name: rows}, self._model, images)
            yield rows

    @torch.no_grad()
    def replace(self, weight: Tensor) -> None:
        """Puts the pruned weight into the model, which later layers' inputs are those of.

        Args:
            weight: Pruned weight, in the shape of the dense one.

        Raises:
            ValueError: If the shape is another.
        """
        if weight.shape != self.weight.shape:
            raise ValueError(
                f"{self.name} has shape {tuple(self.weight.shape)}, its pruned weight {tuple(weight.shape)}"
            )
        self._model.get_parameter(self.name).copy_(weight)
        self.replaced = True


def sequential_layers(
    model: nn.Module, layers: Mapping[str, Tensor], batches: Batches, order: Mapping[str, int]
) -> Iterator[SequentialLayer]:
    """Yields the layers in the order in which the forward pass comes to them; each must be replaced before the next.

    Args:
        model: Dense model, left as it is.
        layers: Weights of Linear and convolution layers, {name: weight}.
        batches: Function that returns the images batch by batch, and with True this process's share of them.
        order: {name: calls in a forward pass}, in forward order, from `forward_order`.

    Raises:
        ValueError: If a layer was not replaced.
    """
    pruned = copy.deepcopy(model)
    for name, calls in order.items():
        groups = getattr(owner(pruned, name), "groups", 1)
        layer = SequentialLayer(name, layers[name].detach(), groups, pruned, batches, calls)
        yield layer
        if not layer.replaced:
            raise ValueError(
                f"{name} was not handed back: call layer.replace(weight) before going on to the next layer"
            )


@torch.no_grad()
def forward_order(model: nn.Module, layers: Mapping[str, Tensor], images: Inputs) -> dict[str, int]:
    """Returns the layers in the order in which the forward pass comes to them, with the number of calls of each.

    Args:
        model: The model, left as it is.
        layers: Weights of Linear and convolution layers, {name: weight}.
        images: Inputs of one forward pass.

    Raises:
        ValueError: If a layer is of another kind, or is not called.
    """
    calls: dict[str, int] = {}

    def count(name: str) -> None:
        calls[name] = calls.get(name, 0) + 1

    counting = {
        module: lambda *_, name=name: count(name)
        for name, modules in input_layers(model, layers).items()
        for module in modules
    }
    with _hooked(counting), evaluating(model):
        images.to(next(iter(layers.values())).device).run(model)
    check_used([name for name in layers if name not in calls])
    return calls


@contextmanager
def _hooked(hooks: Mapping[nn.Module, Callable[..., None]]) -> Iterator[None]:
    """Calls functions of (module, args, kwargs) before modules are."""
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

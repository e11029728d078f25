"""Inputs of layers, recorded while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, allow_mutation_on_saved_tensors, get_gradient_edge

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        module: The layer.
        inputs: Inputs, detached; the layer's own tensor unless copies are recorded.
        version: Number of times that something had been written into the inputs, None for copies.
        edge: Place in the graph where the gradient of the outputs can be read off, None if they have none.
    """

    module: nn.Module
    inputs: Tensor
    version: int | None
    edge: GradientEdge | None

    @property
    def overwritten(self) -> bool:
        """Whether the model has written into the inputs after the call, as `nn.ReLU(inplace=True)` does."""
        return self.version is not None and self.inputs._version != self.version


Calls = dict[str, list[Call]]


def run_recorded(modules: Mapping[str, Sequence[nn.Module]], run: Callable[[Calls], T]) -> T:
    """Returns what a function computes from the calls of layers in the forward pass that it runs.

    Inputs are kept as they are, without a copy. Should the model have written into one afterwards, the function is run
    again with copies: it must call `intact` on the calls before it uses them.

    Args:
        modules: Layers, {name: modules that hold the weight}.
        run: Function that runs a forward pass and uses the calls, {name: calls}, empty before it.
    """

    def recorded(copies: bool) -> T:
        with _recorded(modules, copies) as calls:
            return run(calls)

    return allowing_writes(recorded)


def allowing_writes(run: Callable[[bool], T]) -> T:
    """Returns what a function computes from gradients, though the model write into tensors that these depend on.

    Args:
        run: Function that runs a forward and a backward pass; called with False, and once more with True, within
            PyTorch's record of such writes, which costs time, if the first call finds any.
    """
    try:
        return run(False)
    except _OverwrittenError:
        pass
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
    with allow_mutation_on_saved_tensors():  # out of the handlers, which hold on to the first pass
        return run(True)


def intact(calls: Calls) -> None:
    """Ends the function of `run_recorded` if inputs are not what the layers saw; it is then run again."""
    if any(call.overwritten for name in calls for call in calls[name]):
        raise _OverwrittenError


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Returns the input of a layer, whether it is given by position or by keyword."""
    tensor = args[0] if args else next(iter(kwargs.values()))
    assert isinstance(tensor, Tensor)
    return tensor


class _OverwrittenError(Exception):
    """An input that the model has written into."""


@contextmanager
def _recorded(modules: Mapping[str, Sequence[nn.Module]], copies: bool) -> Iterator[Calls]:
    """Records the calls of layers, inputs as they are or as copies."""
    calls: Calls = {name: [] for name in modules}

    def record(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        inputs = first_input(args, kwargs).detach()
        if copies or inputs.is_inference():  # writes into tensors of `torch.inference_mode` are not counted
            inputs, version = inputs.clone(), None
        else:
            version = inputs._version
        # the edge stays valid when a later operation overwrites the output in place
        edge = get_gradient_edge(output) if output.requires_grad else None
        calls[name].append(Call(module, inputs, version, edge))

    handles = [
        module.register_forward_hook(
            lambda module, args, kwargs, output, name=name: record(name, module, args, kwargs, output), with_kwargs=True
        )
        for name, holders in modules.items()
        for module in holders
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()

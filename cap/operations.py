"""The operations of a forward pass, in order, and their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cap.inputs import Inputs
from cap.layers import owner
from cap.model_state import evaluating


class _Reached(Exception):  # noqa: N818  no error: the rest of the forward pass is not needed
    """End of a forward pass at the last operation whose output is wanted."""


@torch.no_grad()
def operations(model: nn.Module, layers: Iterable[str], images: Inputs) -> list[str]:
    """Returns the names of the modules that compute something, in the order in which the forward pass first ends them.

    Modules within modules count, not those around them; but a module counts that owns one of the weights. One that
    hands on its input, like dropout in eval mode, does not.

    Args:
        model: The model.
        layers: Names of weights.
        images: Images of one forward pass.
    """
    owners = {owner(model, name) for name in layers}
    names = {module: name for name, module in model.named_modules() if module in owners or not [*module.children()]}
    before: dict[nn.Module, list[Tensor]] = {}
    found: dict[str, None] = {}

    def enter(module: nn.Module, args: tuple[object, ...]) -> None:
        before[module] = [value.clone() for value in args if isinstance(value, Tensor)]

    def leave(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and not any(output.equal(value) for value in before[module]):
            found.setdefault(names[module])

    handles = [module.register_forward_pre_hook(enter) for module in names]
    handles += [module.register_forward_hook(leave) for module in names]
    try:
        with evaluating(model):
            images.run(model)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


def outputs(model: nn.Module, names: Sequence[str], images: Inputs) -> list[Tensor]:
    """Returns the first output of each of these modules, by a forward pass that ends when all are there.

    They can be differentiated twice where autograd is on, attention included.

    Args:
        model: The model.
        names: Names of modules.
        images: Images.
    """
    found: dict[str, Tensor] = {}

    def record(name: str, output: Tensor) -> None:
        found.setdefault(name, output.clone())  # a later operation may write into it
        if len(found) == len(names):
            raise _Reached

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, args, output, name=name: record(name, output))
        for name in names
    ]
    try:
        with evaluating(model), sdpa_kernel(SDPBackend.MATH):  # the fast kernels have no second derivative
            images.run(model)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return [found[name] for name in names]

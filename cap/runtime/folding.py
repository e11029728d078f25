"""Convolutions with the batch norm and the activation after them, in one call of oneDNN on channels-last images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {  # oneDNN's names and scalars
    "ReLU": ("relu", ()), "ReLU6": ("hardtanh", (0.0, 6.0)), "SiLU": ("swish", ()), "GELU": ("gelu", ()),
}  # fmt: skip
NOTHING = "none"


@dataclass(frozen=True)
class Fold:
    """Modules that become one.

    Attributes:
        convolution: Name of the convolution.
        norm: Name of the batch norm that takes its output, or None.
        activation: Name of the activation that takes the output of both, or None: it may be the norm, if that has one.
        shape: Shape of the convolution's input.
    """

    convolution: str
    norm: str | None
    activation: str | None
    shape: tuple[int, ...]


class FoldedConv(nn.Conv2d):
    """Convolution whose activation is a part of it; its weights lie as oneDNN wants them.

    Args:
        weight: Weights, (outputs, inputs / groups, height, width).
        bias: Biases.
        like: Convolution with the same stride, padding and groups.
        shape: Shape of the input for which the weights are laid out; others will do, too.
        activation: Name of the activation's class, a key of `ACTIVATIONS`, or "none".
    """

    def __init__(self, weight: Tensor, bias: Tensor, like: nn.Conv2d, shape: tuple[int, ...], activation: str) -> None:
        sizes = (like.in_channels, like.out_channels, like.kernel_size, like.stride, like.padding, like.dilation)
        super().__init__(*sizes, like.groups, device="meta")  # type: ignore[arg-type]
        self.weight, self.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
        self.activation = activation
        self._operation = ACTIVATIONS.get(activation, (NOTHING, ()))
        self._where = (list(like.padding), list(like.stride), list(like.dilation), like.groups)
        order = torch.ops.mkldnn._reorder_convolution_weight
        self._packed = order(weight.contiguous(), *self._where, list(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (images, outputs, ...) in the channels-last layout."""
        x = x.contiguous(memory_format=torch.channels_last)
        name, scalars = self._operation
        convolve = torch.ops.mkldnn._convolution_pointwise
        return convolve(x, self._packed, self.bias, *self._where, name, list(scalars), "none")

    def __deepcopy__(self, memo: object) -> FoldedConv:
        return self  # it never changes, and its packed weights cannot be copied


def find_folds(model: nn.Module, example: Tensor) -> list[Fold]:
    """Returns the convolutions of a model that can take the modules after them in, found out by a pass.

    A module is taken in if its input is the very output of the one before, unchanged. That nothing else reads that
    output cannot be seen: the caller compares the outputs of the whole.

    Args:
        model: Model in evaluation mode.
        example: Input of the pass.
    """
    if not torch.backends.mkldnn.is_available():
        return []
    trace = _Trace()
    hooks = []
    for name, module in model.named_modules():
        if _can_fold(module) or _is_batch_norm(module) or _activation(module):
            hooks.append(module.register_forward_hook(trace.hook(name)))
    try:
        with torch.inference_mode(False), torch.no_grad():  # inference tensors count no versions
            model(example.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return trace.folds()


def fold(root: nn.Module, folds: Sequence[Fold]) -> None:
    """Replaces modules of a model by folded ones, in place.

    Args:
        root: The model.
        folds: What `find_folds` found in it.
    """
    for found in folds:
        layer = root.get_submodule(found.convolution)
        assert isinstance(layer, nn.Conv2d)
        weight = layer.weight.detach()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        activation = NOTHING
        if found.norm is not None:
            norm = root.get_submodule(found.norm)
            assert isinstance(norm, nn.BatchNorm2d)
            factor = (norm.get_buffer("running_var") + norm.eps).rsqrt() * norm.weight.detach()
            weight = weight * factor[:, None, None, None]
            bias = (bias - norm.get_buffer("running_mean")) * factor + norm.bias.detach()
            _replace(root, found.norm, nn.Identity())
        if found.activation is not None:
            activation = str(
                _activation(norm if found.activation == found.norm else root.get_submodule(found.activation))
            )
            _replace(root, found.activation, nn.Identity())
        _replace(root, found.convolution, FoldedConv(weight, bias, layer, found.shape, activation))


class _Trace:
    """Outputs of modules in a pass, and who took them in."""

    def __init__(self) -> None:
        self._outputs: dict[int, tuple[str, Tensor, int]] = {}  # by identity; kept, so that none is given away
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._after: dict[str, list[tuple[str, nn.Module]]] = {}
        self._calls: dict[str, int] = {}

    def hook(self, name: str) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._calls[name] = self._calls.get(name, 0) + 1
            if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
                return
            before = self._outputs.get(id(args[0]))
            if before is not None and args[0]._version == before[2]:
                self._after.setdefault(before[0], []).append((name, module))
            if isinstance(module, nn.Conv2d):
                self._shapes[name] = tuple(args[0].shape)
            self._outputs[id(output)] = (name, output, output._version)

        return record

    def folds(self) -> list[Fold]:
        """Returns the chains of a convolution, perhaps a batch norm, perhaps an activation."""
        folds = []
        for name, shape in self._shapes.items():
            norm = activation = None
            following = self._only(name)
            if following is not None and _is_batch_norm(following[1]):
                norm = following[0]
                activation = norm if _activation(following[1]) else None
                following = self._only(norm)
            if activation is None and following is not None and not _is_batch_norm(following[1]):
                activation = following[0] if _activation(following[1]) else None
            if self._calls[name] == 1:
                folds.append(Fold(name, norm, activation, shape))
        return folds

    def _only(self, name: str) -> tuple[str, nn.Module] | None:
        """Returns the only module that takes the output of another one and is itself called once, or None."""
        after = self._after.get(name, [])
        return after[0] if len(after) == 1 and self._calls[after[0][0]] == 1 else None


def _can_fold(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_batch_norm(module: nn.Module) -> bool:
    """Returns whether a module is a batch norm with weights and statistics, perhaps with timm's activation in it."""
    return (
        isinstance(module, nn.BatchNorm2d)
        and module.running_mean is not None
        and module.weight is not None
        and (
            type(module) is nn.BatchNorm2d
            or (type(module).__name__ == "BatchNormAct2d" and _has_plain_activation(module))
        )
    )


def _has_plain_activation(module: nn.Module) -> bool:
    act = getattr(module, "act", None)
    return isinstance(getattr(module, "drop", None), nn.Identity) and (
        isinstance(act, nn.Identity) or _activation(module) is not None
    )


def _activation(module: nn.Module) -> str | None:
    """Returns the class of the activation that a module is, or has if it is timm's batch norm; None for others."""
    if type(module).__name__ == "BatchNormAct2d":
        module = module.act  # type: ignore[assignment]
    if getattr(module, "approximate", "none") != "none":
        return None
    name = type(module).__name__
    return name if name in ACTIVATIONS else None


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)

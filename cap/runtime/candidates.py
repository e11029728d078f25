"""Modules that have a sparse counterpart which computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import nn

from cap.runtime.codegen import TILE
from cap.runtime.cost import Work, attention_work, linear_work
from cap.runtime.layers import SparseAttention, SparseConv, SparseLinear, SparseMLP


@dataclass(frozen=True)
class Candidate:
    """A sparse counterpart of a module.

    Attributes:
        kind: Name of its class.
        shape: Shape of the input.
        work: Work for an input of this shape.
        build: Function that makes it; takes whether to make AVX-512 code.
    """

    kind: str
    shape: tuple[int, ...]
    work: Work
    build: Callable[[bool], nn.Module]


def find(module: nn.Module, shape: tuple[int, ...]) -> Candidate | None:
    """Returns the sparse counterpart of a module, or None.

    Args:
        module: The dense module.
        shape: Shape of the input that it is called with.
    """
    tokens = prod(shape[:-1])
    if type(module) is nn.Linear:
        return Candidate("SparseLinear", shape, linear_work(tokens, module), lambda code: SparseLinear(module, code))
    if type(module) is nn.Conv2d and _is_pointwise(module) and len(shape) == 4:
        tokens = shape[0] * prod(-(-size // step) for size, step in zip(shape[2:], module.stride, strict=True))
        return Candidate("SparseConv", shape, linear_work(tokens, module), lambda code: SparseConv(module, code))
    if mlp := _mlp(module):
        return Candidate("SparseMLP", shape, linear_work(tokens, *mlp), lambda code: SparseMLP(*mlp, code))
    if (attention := _attention(module)) and len(shape) == 3:
        work = attention_work(*shape[:2], *attention)
        heads = int(module.num_heads)  # type: ignore[arg-type]
        return Candidate("SparseAttention", shape, work, lambda code: SparseAttention(*attention, heads, code))
    return None


def _is_pointwise(module: nn.Conv2d) -> bool:
    """Returns whether a convolution multiplies every pixel's channels with one matrix."""
    return module.kernel_size == (1, 1) and module.groups == 1 and module.padding in ((0, 0), "valid", "same")


def _mlp(module: nn.Module) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns the layers of a module that is linear, exact GELU, linear, as `timm.layers.Mlp` is by default."""
    children = dict(module.named_children())
    first, act, second = (children.pop(name, None) for name in ("fc1", "act", "fc2"))
    if (
        type(module).__name__ == "Mlp"
        and type(first) is nn.Linear
        and type(second) is nn.Linear
        and first.out_features == second.in_features
        and type(act).__name__ == "GELU"
        and getattr(act, "approximate", "none") == "none"
        and _nothing_else(module, children)
    ):
        return first, second
    return None


def _attention(module: nn.Module) -> tuple[nn.Linear, nn.Linear] | None:
    """Returns qkv and proj of a module that is plain self-attention, as `timm.layers.Attention` is by default."""
    children = dict(module.named_children())
    qkv, proj = (children.pop(name, None) for name in ("qkv", "proj"))
    heads = getattr(module, "num_heads", 0)
    if (
        type(module).__name__ == "Attention"
        and type(qkv) is nn.Linear
        and type(proj) is nn.Linear
        and isinstance(heads, int)
        and heads > 0
        and proj.in_features % (TILE * heads) == 0
        and qkv.out_features == 3 * proj.in_features
        and getattr(module, "scale", None) == (proj.in_features // heads) ** -0.5
        and _nothing_else(module, children)
    ):
        return qkv, proj
    return None


def _nothing_else(module: nn.Module, children: dict[str, nn.Module]) -> bool:
    """Returns whether the other children do nothing in evaluation mode and the module has no weights of its own."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return not own and all(isinstance(child, (nn.Identity, nn.Dropout)) for child in children.values())

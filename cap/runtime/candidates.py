"""Modules that have a sparse counterpart which computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import nn

from cap.runtime.codegen import Assembler
from cap.runtime.cost import Work, attention_work, linear_work
from cap.runtime.finding import attention_layers, find_block, mlp_layers
from cap.runtime.folding import FoldedConv
from cap.runtime.layers import SparseAttention, SparseConv, SparseLinear, SparseMLP


@dataclass(frozen=True)
class Candidate:
    """A sparse counterpart of a module.

    Attributes:
        kind: Name of its class.
        shape: Shape of the input.
        arguments: Numbers that it is called with after the input.
        work: Work for an input of this shape.
        build: Function that makes it; takes the maker of its program.
    """

    kind: str
    shape: tuple[int, ...]
    work: Work
    build: Callable[[Assembler], nn.Module]
    arguments: tuple[int, ...] = ()


def find(module: nn.Module, shape: tuple[int, ...], arguments: tuple[int, ...] = ()) -> Candidate | None:
    """Returns the sparse counterpart of a module, or None.

    Args:
        module: The dense module.
        shape: Shape of the input that it is called with.
        arguments: Numbers that it is called with after the input.
    """
    if block := find_block(module, shape, arguments):
        work = (
            linear_work(prod(shape[:-1]), *block.layers)
            if len(shape) == 3
            else linear_work(shape[0] * prod(shape[2:]), *block.layers)
        )
        return Candidate(block.kind, shape, work, block.build, arguments)
    if arguments:
        return None
    tokens = prod(shape[:-1])
    if type(module) is nn.Linear:
        return Candidate("SparseLinear", shape, linear_work(tokens, module), lambda made: SparseLinear(module, made))
    if isinstance(module, nn.Conv2d) and _is_pointwise(module) and len(shape) == 4:
        tokens = shape[0] * prod(-(-size // step) for size, step in zip(shape[2:], module.stride, strict=True))
        return Candidate("SparseConv", shape, linear_work(tokens, module), lambda made: SparseConv(module, made))
    if mlp := mlp_layers(module):
        return Candidate("SparseMLP", shape, linear_work(tokens, *mlp), lambda made: SparseMLP(*mlp, made))
    if (attention := attention_layers(module)) and len(shape) == 3:
        work = attention_work(*shape[:2], *attention)
        heads = int(module.num_heads)  # type: ignore[arg-type]
        return Candidate("SparseAttention", shape, work, lambda made: SparseAttention(*attention, heads, made))
    return None


def _is_pointwise(module: nn.Conv2d) -> bool:
    """Returns whether a convolution multiplies every pixel's channels with one matrix, and perhaps clamps or GELUs."""
    known = type(module) is nn.Conv2d or (type(module) is FoldedConv and module.activation in SparseConv.activations)
    return known and module.kernel_size == (1, 1) and module.groups == 1 and module.padding in ((0, 0), "valid", "same")

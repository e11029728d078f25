"""Greedy Optimal Brain Surgeon on blocks: the order in which weights go, and the values of those that stay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from cap.kernels import eliminator
from cap.kernels.batched import compensate_blocks, not_positive
from cap.patterns import NM

# Saliencies `w^2 / H_jj` that differ by less than this, relatively, are a tie: weights and gradients come in single
# precision, rounded by up to 2^-24, of which the square of the weight makes 2^-23, and that of the gradients in H as
# much again. Which one goes first is up to a kernel's rounding; if they are equal bit for bit, the lower index.
TIE_TOLERANCE = 2.0**-22
CHUNK_BYTES = 2**27  # double-precision scratch of `compensate`
LARGE = 256  # weights of a block above which `compensate` solves for the removed ones alone, block by block


class NotPositiveError(ValueError):
    """Error of a block that is not positive definite.

    Attributes:
        block: Number of the block, from 0.
        what: Name of its kind.
        advice: Way out, for the message.
    """

    def __init__(self, block: int, what: str, advice: str) -> None:
        self.block, self.what, self.advice = block, what, advice
        super().__init__(f"{what} {block} is not positive definite: {advice}")


def check_positive(
    failed: Tensor, what: str = "the inverse of block", advice: str = "raise the dampening", first: int = 0
) -> None:
    """Raises an error that names the first block which is not positive definite.

    Args:
        failed: Flags, (num_blocks,), True for such blocks.
        what: Name of the blocks' kind.
        advice: Way out, for the message.
        first: Number of the first of these blocks.
    """
    if failed.any():
        raise NotPositiveError(first + int(failed.nonzero()[0]), what, advice)


@contextmanager
def layer_in_errors(layer: str, first: int) -> Iterator[None]:
    """Adds the layer to errors on blocks, and the number of the first of these blocks to the number of the bad one."""
    try:
        with counted_from(first):
            yield
    except NotPositiveError as error:
        raise NotPositiveError(error.block, f"{layer}: {error.what}", error.advice) from None


@contextmanager
def counted_from(first: int) -> Iterator[None]:
    """Adds the number of the first of some blocks to the number of the bad one in errors."""
    try:
        yield
    except NotPositiveError as error:
        raise NotPositiveError(first + error.block, error.what, error.advice) from None


class Elimination(NamedTuple):
    """Outcome of the greedy loop.

    Attributes:
        order: Order of removal, (num_blocks, K), int64: the index within its block of the weight removed k-th.
        loss: Cumulative loss increase at which each weight goes, (num_blocks, B), float64; inf for one that stays.
    """

    order: Tensor
    loss: Tensor


def _check(weight: Tensor, fisher_inverse: Tensor) -> None:
    if weight.ndim != 2 or fisher_inverse.shape != (*weight.shape, weight.shape[1]):
        raise ValueError(
            f"weight {tuple(weight.shape)} and inverse {tuple(fisher_inverse.shape)} do not fit: "
            "expected (num_blocks, B) and (num_blocks, B, B)"
        )


def eliminate(
    weight: Tensor, fisher_inverse: Tensor, pattern: NM | None = None, max_sparsity: float = 1.0
) -> Elimination:
    """Runs the greedy loop of Algorithm 1 (Kuznedelev et al., 2023) in every block.

    Equal saliencies are resolved by position: the lowest index goes first. Those that differ by less than
    `TIE_TOLERANCE` go in either order, as the device's kernel rounds. Weights that are zero go first of all, at no
    cost. The arithmetic is in double precision.

    Args:
        weight: Weights, (num_blocks, B).
        fisher_inverse: Inverse of the dampened Fisher blocks, (num_blocks, B, B).
        pattern: N:M pattern, if any: a group of M consecutive weights that has lost M - N is closed, and the loop
            stops when all are closed.
        max_sparsity: Fraction of each block after which the loop stops, rounded up to whole weights.

    Raises:
        ValueError: If the shapes do not fit, M does not divide B, the fraction is none or a block is not positive
            definite.
    """
    _check(weight, fisher_inverse)
    if not 0 < max_sparsity <= 1:
        raise ValueError(f"max_sparsity {max_sparsity} is not valid: it is larger than 0 and at most 1")
    size = weight.shape[1]
    quota, group = (1, 1) if pattern is None else (pattern.of - pattern.keep, pattern.of)
    if size % group:
        raise ValueError(f"pattern {pattern} needs a block size that is a multiple of {group}, not {size}")
    steps = min(size // group * quota, math.ceil(max_sparsity * size))
    order, loss = eliminator(weight.device)(weight, fisher_inverse, quota, group, steps)
    check_positive(loss.isnan().any(dim=1))
    return Elimination(order, loss)


def compensate(weight: Tensor, fisher_inverse: Tensor, keep: Tensor) -> Tensor:
    """Removes a set of weights at once and sets the others to their optimal values: the joint OBS update.

    `w - H[:,S] (H[S,S])^-1 w_S` with S the removed set: the values that the greedy loop arrives at in any order.

    Args:
        weight: Weights, (num_blocks, B).
        fisher_inverse: Inverse Fisher blocks, (num_blocks, B, B), untouched by any elimination.
        keep: Keep-mask, (num_blocks, B), True where the weight stays.

    Returns:
        (num_blocks, B), exactly zero outside `keep`.

    Raises:
        ValueError: If the shapes do not fit or a block is not positive definite.
    """
    _check(weight, fisher_inverse)
    if weight.shape[1] > LARGE:
        return _compensate_each(weight, fisher_inverse, keep)
    result = torch.empty_like(weight)
    chunk = max(1, CHUNK_BYTES // (8 * 3 * weight.shape[1] ** 2))
    for start in range(0, len(weight), chunk):
        part = slice(start, start + chunk)
        updated, failed = compensate_blocks(weight[part].double(), fisher_inverse[part].double(), keep[part])
        check_positive(failed, first=start)
        result[part] = updated
    return result


def _compensate_each(weight: Tensor, fisher_inverse: Tensor, keep: Tensor) -> Tensor:
    """Returns what `compensate` does; a system is as large as the number of removed weights, not as their block."""
    result = torch.empty_like(weight)
    for block, (w, h, kept) in enumerate(zip(weight.double(), fisher_inverse, keep, strict=True)):
        gone = (~kept).nonzero()[:, 0]
        columns = h[:, gone].double()
        lower, info = torch.linalg.cholesky_ex(columns[gone])
        check_positive(not_positive(lower[None], info[None]), first=block)
        solution = torch.cholesky_solve(w[gone, None], lower)
        result[block] = (w - (columns @ solution)[:, 0]) * kept
    return result

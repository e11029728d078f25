"""Layers as columns, one for each weight of an output: their inputs, and removal column by column."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.elimination import check_positive
from cap.kernels.batched import not_positive
from cap.layers import owner
from cap.selection import count_removed
from cap.sequential import SequentialLayer


def second_moments(
    model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration, full: bool = True
) -> dict[str, Tensor]:
    """Returns the mean outer product of each layer's inputs over images and positions.

    Args:
        model: The model.
        layers: Weights of Linear and Conv2d layers, {name: weight}.
        calibration: Calibration images.
        full: Whether the whole matrix is returned, or only its diagonal.

    Returns:
        For every layer `X X^T` over the number of images, (groups, columns, columns) or (groups, columns), float64:
        columns are the weights of one output; groups are 1 but for grouped convolutions.
    """
    sums: dict[str, Tensor] = {}
    for batch in calibration.layer_inputs(model, layers, divided=True):
        for name, inputs in batch.items():  # (groups, positions, columns)
            x = inputs.double()
            moment = torch.bmm(x.transpose(1, 2), x) if full else x.square().sum(1)
            sums[name] = sums[name] + moment if name in sums else moment
    if distributed.world_size() > 1:
        for name, weight in layers.items():
            if name not in sums:  # there was no batch for this process
                columns = weight[0].numel()
                shape = (getattr(owner(model, name), "groups", 1), *([columns, columns] if full else [columns]))
                sums[name] = weight.new_zeros(shape, dtype=torch.float64)
        distributed.all_reduce_sum(*(sums[name] for name in layers))
    return {name: total / len(calibration) for name, total in sums.items()}


def sequential_moment(layer: SequentialLayer, images: int) -> Tensor:
    """Returns the mean outer product of one layer's inputs in a model as pruned so far, as `second_moments` does.

    Args:
        layer: Layer of `Calibration.sequential`.
        images: Number of calibration images.
    """
    columns = layer.weight[0].numel()
    total = layer.weight.new_zeros((layer.groups, columns, columns), dtype=torch.float64)
    for inputs in layer.inputs(divided=True):
        x = inputs.double()
        total += torch.bmm(x.transpose(1, 2), x)
    distributed.all_reduce_sum(total)
    return total / images


def as_columns(weight: Tensor, groups: int) -> Tensor:
    """Views a weight as (groups, outputs of a group, columns), neighbouring inputs side by side.

    A convolution's columns are ordered by kernel position, then by input, so that N:M groups are consecutive columns.
    """
    return weight.flatten(2).transpose(1, 2).reshape(groups, weight.shape[0] // groups, -1) if weight.ndim > 2 else (
        weight.reshape(groups, weight.shape[0] // groups, -1)
    )  # fmt: skip


def from_columns(columns: Tensor, like: Tensor) -> Tensor:
    """Undoes `as_columns`."""
    if like.ndim == 2:
        return columns.reshape(like.shape)
    return columns.reshape(like.shape[0], -1, like.shape[1]).transpose(1, 2).reshape(like.shape)


def upper_factor(moment: Tensor, damp: float) -> Tensor:
    """Returns the upper Cholesky factor of the inverse of dampened second moments.

    Args:
        moment: Second moments, (groups, columns, columns), float64. A column that is all zero, that
            of an input which is always zero, is replaced by that of the identity.
        damp: Dampening, relative to the mean of the diagonal.

    Returns:
        C, (groups, columns, columns), with `C^T C` the inverse.

    Raises:
        ValueError: If the dampened moments are not positive definite.
    """
    moment = moment.clone()
    diagonal = moment.diagonal(dim1=1, dim2=2)
    diagonal[diagonal == 0] = 1
    diagonal += damp * diagonal.mean(dim=1, keepdim=True)
    lower, info = torch.linalg.cholesky_ex(moment)
    advice = f"raise the dampening above {damp:g}"
    check_positive(not_positive(lower, info), "the second moment of group", advice)
    upper, info = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    check_positive(not_positive(upper, info), "the second moment of group", advice)
    return upper


def obs_column_update(w: Tensor, factor: Tensor, keep: Tensor, part: slice) -> None:
    """Removes weights column by column and spreads each one's error over the columns to its right.

    Args:
        w: Weights, (outputs, columns), float64; changed in place.
        factor: C, the upper Cholesky factor of the inverse, (columns, columns).
        keep: Keep-mask, (outputs, columns), True where the weight stays.
        part: Range of columns to go through.
    """
    for c in range(part.start, part.stop):
        error = (w[:, c] * ~keep[:, c]) / factor[c, c]
        w[:, c:] -= error[:, None] * factor[c, c:]
        w[:, c] *= keep[:, c]  # exactly zero


def split_count(count: int, sizes: list[int]) -> list[int]:
    """Splits the weights to remove from a layer among its blocks of columns, as evenly as whole numbers allow.

    Args:
        count: Number of weights to remove from the layer.
        sizes: Number of weights in each block.

    Returns:
        Weights to remove from each block; their sum is `count`.
    """
    fraction = count / max(1, sum(sizes))
    ends = [0, *(count_removed(fraction, done) for done in itertools.accumulate(sizes))]
    return [end - start for start, end in itertools.pairwise(ends)]

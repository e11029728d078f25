"""Estimation of the Fisher blocks of a model, in as many passes over the calibration gradients as planned."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.fisher.blocks import block_chunks, scratch_like
from cap.fisher.dampening import Dampening
from cap.fisher.gram import Gram
from cap.fisher.planning import LayerSlice, MemoryPlan
from cap.fisher.reconstruction import Reconstruction

logger = logging.getLogger(__name__)


def fisher_blocks(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    plan: MemoryPlan,
    dampening: Dampening,
    reconstruction: Reconstruction | None = None,
) -> Iterator[tuple[str, slice, Tensor]]:
    """Estimates the Fisher blocks of every layer, in as many passes over the gradients as planned.

    Gradients of weights that are already zero are left out, as are those under a mask in the release.

    Args:
        model: The model.
        layers: Weights of the layers, {name: weight}.
        calibration: Calibration images.
        plan: Parts that are accumulated in each pass.
        dampening: Dampening. Where it is relative and the plan has several passes, there is one more before them, for
            the mean square of the gradients.
        reconstruction: Layer-wise objective that is mixed in; None for the Fisher alone.

    Yields:
        The layer, a range of its blocks, and F for these, (blocks, B, B), float64, which the next one overwrites.
    """
    logger.info("Fisher blocks: %s", plan)
    block_size = plan.block_size
    most = max(-(-(part.stop - part.start) // block_size) for parts in plan.passes for part in parts)
    scratch = scratch_like(most, block_size, next(iter(layers.values())).device)
    damp = 0.0 if dampening.scale == "noise" else dampening.value
    if dampening.scale == "relative" and len(plan.passes) > 1:
        damp = dampening.of_model(_mean_square(layers, _squares(model, layers, calibration, plan), plan.num_gradients))
    for parts in plan.passes:
        if plan.shared:
            key = ("gram", tuple(layers), plan.num_gradients, block_size)
            compute = partial(_accumulate, model, layers, calibration, plan, parts)
            grams = calibration.shared(model, key, compute, plan.gram_bytes)
        else:
            calibration.forget()
            grams = _accumulate(model, layers, calibration, plan, parts)
        if dampening.scale == "relative" and len(plan.passes) == 1:
            total = sum(gram.trace() for gram in grams.values())
            damp = dampening.of_model(_mean_square(layers, total, plan.num_gradients))
        for part in parts:
            gram = grams[part] if plan.shared else grams.pop(part)
            first = part.start // block_size
            for chunk in block_chunks(gram.num_blocks, block_size):
                here = slice(first + chunk.start, first + chunk.stop)
                fisher = gram.fisher(chunk, 0.0 if reconstruction else damp, scratch[: chunk.stop - chunk.start])
                other = reconstruction.blocks(part.name, here, fisher) if reconstruction else None
                if dampening.scale == "noise":
                    dampening.add_noise(fisher, plan.num_gradients)
                if other is not None:
                    fisher.add_(other).diagonal(dim1=1, dim2=2).add_(damp)
                yield part.name, here, fisher
            del gram


def _mean_square(layers: Mapping[str, Tensor], total: float, num_gradients: int) -> float:
    """Returns the mean of F's diagonal over the weights that are not zero.

    Args:
        layers: Weights of the layers, {name: weight}.
        total: Sum of the squares of all gradients.
        num_gradients: Number of gradients.
    """
    return total / (num_gradients * max(1, sum(int(weight.count_nonzero()) for weight in layers.values())))


def _squares(model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration, plan: MemoryPlan) -> float:
    """Goes through the calibration gradients once and returns the sum of their squares, a part of a layer at a time."""
    present = {name: (weight != 0).flatten() for name, weight in layers.items()}
    parts, total = [part for parts in plan.passes for part in parts], 0.0
    for batch in calibration.gradient_batches(model, layers, plan.num_gradients, plan.forward_images, divided=True):
        for part in parts:
            norms = torch.linalg.vector_norm(batch.of(part.name, part.start, part.stop), dim=0, dtype=torch.float64)
            total += float((norms.square() * present[part.name][part.start : part.stop]).sum())
        del batch  # before the next one is computed
    return distributed.all_reduce_scalar(total)


def _accumulate(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    plan: MemoryPlan,
    parts: tuple[LayerSlice, ...],
) -> dict[LayerSlice, Gram]:
    """Goes through the calibration gradients once and returns the Gram matrices of some parts.

    The processes of a torch.distributed group share the gradients among them; all get the same matrices.
    """
    wanted = {part.name: layers[part.name] for part in parts}
    device = next(iter(wanted.values())).device
    zero = {name: (weight == 0).flatten() for name, weight in wanted.items() if (weight == 0).any()}
    grams = {
        part: Gram(
            part.stop - part.start,
            plan.block_size,
            device,
            expected=plan.num_gradients,
            gathered=torch.float64 if layers[part.name].dtype == torch.float64 else torch.float32,
        )
        for part in parts
    }
    for batch in calibration.gradient_batches(model, wanted, plan.num_gradients, plan.forward_images, divided=True):
        for part, gram in grams.items():
            if batch.first > gram.count:
                gram.skip(batch.first - gram.count)
            room = gram.slots(batch.count)
            batch.write(part.name, part.start, part.stop, room)
            if part.name in zero:
                room.masked_fill_(zero[part.name][part.start : part.stop], 0)
        del batch  # before the next one is computed
    for gram in grams.values():
        if distributed.world_size() > 1:
            gram.skip(plan.num_gradients - gram.count)
            gram.join()
        gram.finish()
    return grams

"""The plan by which the Fisher blocks of a model are estimated within a memory budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize
from cap.device_memory import fit_budget, gib
from cap.fisher.blocks import chunk_bytes
from cap.fisher.factors import InverseFactor
from cap.fisher.gram import buffered_gradients, gram_bytes
from cap.gradients import hooked_layers
from cap.model_state import differentiable, evaluating
from cap.recording import first_input

PART_BYTES = 2**28  # Gram matrices that are accumulated and turned into factors at a time
ACTIVATION_BYTES = 2**30  # what a forward and backward pass may hold, if the budget allows
MATRICES = 4  # of each block at work: F, its inverse and what they are made with
COPIES = 3  # of these matrices, where blocks are worked on in batched torch: what CUDA's libraries make for themselves
SHARED = 0.5  # of the budget, up to which Gram matrices are kept for the next pruner


@dataclass(frozen=True)
class LayerSlice:
    """Range of consecutive weights of a layer: whole outputs and whole Fisher blocks.

    Attributes:
        name: Name of the layer.
        start: Position of the first weight.
        stop: Position after the last weight.
    """

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class MemoryPlan:
    """Plan of estimating the Fisher blocks of a model within a memory budget.

    Attributes:
        passes: Parts whose Gram matrices are accumulated together, pass by pass over the calibration gradients.
        peak_bytes: Estimated memory of the fit beyond what is in use before it, in bytes.
        budget: Memory budget in bytes.
        num_gradients: Number of gradients in each pass.
        forward_images: Number of images in one forward pass.
        block_size: B, number of weights in a block.
        shared: Whether the Gram matrices are kept for the next pruner.
        gram_bytes: Memory of all Gram matrices, in bytes.
        keeps_factors: Whether the factors of all blocks are kept after the fit; if not, pruning makes them again, in as
            many passes over the gradients once more.
    """

    passes: tuple[tuple[LayerSlice, ...], ...]
    peak_bytes: int
    budget: int
    num_gradients: int
    forward_images: int
    block_size: int
    shared: bool
    gram_bytes: int
    keeps_factors: bool = True

    def __str__(self) -> str:
        times = "1 pass" if len(self.passes) == 1 else f"{len(self.passes)} passes"
        again = "" if self.keeps_factors else "; no factors are kept, pruning takes as many passes again"
        return (
            f"{gib(self.peak_bytes)} of {gib(self.budget)} memory, {times} over {self.num_gradients} gradients, "
            f"{self.forward_images} images at a time{again}"
        )


def retained_bytes(block_size: int) -> float:
    """Returns the bytes per weight that are kept after a fit: factors, weights, scores and their selection."""
    return InverseFactor.bytes_per_weight(block_size) + 4 + 8 + 8


def rebuilding_bytes() -> float:
    """Returns the bytes per weight that are kept where the factors are made again to prune.

    The order of removal, the weights and a copy of the model, scores and their selection, the result at one pattern.
    """
    return 2 + 4 + 4 + 8 + 8 + 5


def fisher_bytes(size: FitSize, num_gradients: int | None, block_size: int, can_rebuild: bool = False) -> FitBytes:
    """Returns the memory of the factors and of the blocks at work, and that with all Gram matrices in float32.

    Args:
        size: Model and calibration set.
        num_gradients: m, number of gradients; by default one per image, or per whole batch.
        block_size: B, number of weights in a block.
        can_rebuild: Whether the pruner can do with factors that are made again.
    """
    largest = size.largest_layer or size.weights
    scratch = MATRICES * chunk_bytes(-(-largest // block_size), block_size)
    kept = size.weights * retained_bytes(block_size) + scratch
    grams = size.weights * gram_bytes(block_size, size.gradients(num_gradients), 4)
    without = int(size.weights * rebuilding_bytes() + scratch) if can_rebuild else None
    return FitBytes(int(kept), int(kept + grams), without)


def partition_layers(layers: Mapping[str, Tensor], block_size: int, per_weight: int) -> list[LayerSlice]:
    """Cuts large layers into parts, each of which holds whole outputs and whole blocks."""
    parts = []
    for name, weight in layers.items():
        unit = math.lcm(weight[0].numel(), block_size)
        step = unit * max(1, PART_BYTES // (per_weight * unit))
        starts = range(0, weight.numel(), step)
        parts += [LayerSlice(name, start, min(start + step, weight.numel())) for start in starts]
    return parts


@dataclass(frozen=True)
class _Need:
    """Memory that a fit cannot do without, in bytes but for `weights`.

    Attributes:
        per_image: Activations of one image.
        per_gradient_image: Gradients of the largest part for one image; they may have to be made beside their place.
        batch_gradient: Gradient of all weights, if it is that of a batch.
        scratch: Room in which a part's Gram matrices are turned into its result.
        weights: Number of weights in all layers.
        retained: Results of all layers, for each weight.
        largest_gram: Gram matrices of the largest part.
        reserved: What else there is all the time.
    """

    per_image: int
    per_gradient_image: int
    batch_gradient: int
    scratch: int
    weights: int
    retained: float
    largest_gram: int
    reserved: int = 0

    @property
    def factors(self) -> float:
        """Memory of the results of all layers."""
        return self.weights * self.retained

    def within(self, budget: int, most: int, rebuilding: float | None) -> _Need:
        """Returns the need with factors; without, `rebuilding` bytes a weight, if that does not fit and may be so."""
        fits = self.at_least(self.images_within(budget, most)) <= budget
        return self if fits or rebuilding is None else replace(self, retained=rebuilding)

    def fixed(self, images: int) -> int:
        """Returns the memory that does not depend on the number of passes, with so many images at a time."""
        gradients = images * self.per_gradient_image + self.batch_gradient
        return images * self.per_image + max(self.scratch, gradients) + self.reserved

    def at_least(self, images: int) -> float:
        """Returns the memory of a fit in as many passes as there are parts, with so many images at a time."""
        return self.fixed(images) + self.factors + self.largest_gram

    def images_within(self, budget: int, most: int) -> int:
        """Returns the images at a time, halved from `most` until they fit into the budget; 1 even if that does not."""
        if self.batch_gradient:  # which is that of whole batches
            return most
        images = most
        while images > 1 and (images * self.per_image > ACTIVATION_BYTES or self.at_least(images) > budget):
            images = -(-images // 2)
        return images

    def check(self, images: int, budget: int, block_size: int) -> None:
        """Refuses a budget that is too small for so many images at a time.

        Raises:
            ValueError: If it is, with what is needed and what to change.
        """
        if self.at_least(images) <= budget:
            return
        advice = f" or the batch size (now {images})" if self.batch_gradient else ""
        raise ValueError(
            f"a memory budget of {gib(budget)} is too small, {gib(self.at_least(images))} are needed: "
            f"{gib(images * self.per_image)} for {images} image{'s' if images > 1 else ''} in the model, "
            f"{gib(self.factors)} for what is kept of {self.weights:,} weights, the rest for Gram matrices and "
            f"scratch. Raise the memory budget, or lower the block size (now {block_size}){advice}"
        )


def plan_fit(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    num_gradients: int | None,
    block_size: int,
    retained: float,
    matrices: int,
    budget: int | None = None,
    rebuilding: float | None = None,
    reserved: int = 0,
) -> MemoryPlan:
    """Plans the estimate of all Fisher blocks within a memory budget.

    The parts do not depend on the budget, nor do the images in a forward pass unless the fit would otherwise be
    impossible; so the gradients and their sums are the same for any number of passes.

    Args:
        model: The model.
        layers: Weights to prune, {name: weight}.
        calibration: Calibration images.
        num_gradients: m, number of gradients; by default one per image, or per whole batch.
        block_size: B, number of weights in a block.
        retained: Bytes per weight that are kept once a layer is done.
        matrices: Number of matrices of a block, B x B in double precision, that turning its Gram matrix into its result
            takes; as many blocks as `block_chunks` yields at a time have them.
        budget: Bytes that the fit may take beyond what is in use; by default the device's free memory less a margin.
        rebuilding: Bytes per weight that are kept by a pruner that can do without factors and make them again when it
            prunes, which is what it does where `retained` does not fit; None for one that cannot.
        reserved: Bytes that the fit takes beside all this.

    Raises:
        ValueError: If the budget is too small, with what is needed and what to change.
    """
    device = next(iter(layers.values())).device
    if budget is None:  # what is kept from the last pruner is put to use again, or freed
        budget = fit_budget(device, calibration.shared_bytes)
    m, itemsize = calibration.count(num_gradients), max(weight.itemsize for weight in layers.values())
    per_weight = gram_bytes(block_size, m, max(4, itemsize))
    sizes = {part: part.stop - part.start for part in partition_layers(layers, block_size, per_weight)}
    total, largest = sum(sizes.values()), max(sizes.values())
    kept = _Need(
        per_image=activation_bytes(model, layers, calibration),
        per_gradient_image=itemsize * largest if calibration.gradient == "sample" else 0,
        batch_gradient=itemsize * total if calibration.gradient == "batch" else 0,
        scratch=(matrices + COPIES * (device.type != "cpu")) * chunk_bytes(-(-largest // block_size), block_size),
        weights=total,
        retained=retained,
        largest_gram=largest * per_weight,
        reserved=reserved,
    )
    most = _most_images(calibration, m, block_size)
    need = kept.within(budget, most, rebuilding)
    images = need.images_within(budget, most)
    need.check(images, budget, block_size)
    fixed, grams = need.fixed(images), total * per_weight
    if calibration.share and need is kept and (at_once := fixed + grams + need.factors) <= SHARED * budget:
        return MemoryPlan((tuple(sizes),), int(at_once), budget, m, images, block_size, True, grams)
    passes, peak = _passes(layers, sizes, per_weight, need.retained, budget - fixed)
    return MemoryPlan(passes, int(fixed + peak), budget, m, images, block_size, False, grams, need is kept)


def _most_images(calibration: Calibration, m: int, block_size: int) -> int:
    """Returns the images in one forward pass if memory allows: no more than gradients are gathered at a time."""
    if calibration.gradient == "batch":
        return calibration.batch_size
    return min(calibration.batch_size, m, buffered_gradients(block_size, m))


def _passes(
    layers: Mapping[str, Tensor], sizes: dict[LayerSlice, int], per_weight: int, retained: float, room: float
) -> tuple[tuple[tuple[LayerSlice, ...], ...], float]:
    """Distributes the parts over as few passes as fit into the room, in order.

    A layer's results are allocated as a whole when its first part is turned into them; at that time the Gram matrices
    of its pass which have not had their turn are still there.

    Returns:
        The passes, and the most memory that one of them takes with the results before it.
    """
    passes: list[list[LayerSlice]] = []
    begun: set[str] = set()  # layers whose results earlier passes began
    before = peak = 0.0  # memory of these

    def most(parts: list[LayerSlice]) -> float:
        new = [layers[name].numel() * retained for name in {part.name for part in parts} - begun]
        grams = [sizes[part] * per_weight for part in parts]
        return before + max(sum(grams) + max(new, default=0), sum(new) + max(grams))

    for part in sizes:
        if passes and most([*passes[-1], part]) <= room:
            passes[-1].append(part)
        else:
            begun |= {done.name for done in passes[-1]} if passes else set()
            before = sum(layers[name].numel() for name in begun) * retained
            passes.append([part])
        peak = max(peak, most(passes[-1]))
    return tuple(tuple(group) for group in passes), peak


def activation_bytes(model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> int:
    """Measures what one image's forward and backward pass holds: saved activations, layer inputs, output gradients."""
    device = next(iter(layers.values())).device
    image = calibration.inputs[:1].to(device)
    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    saved: dict[int, int] = {}
    flows = 0

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    alive: list[Any] = []  # so that no storage is seen twice at one address

    called = set()

    def record(name: str, inputs: Tensor, output: Tensor) -> None:
        nonlocal flows
        called.add(name)
        note(inputs)
        alive.append(inputs)
        flows += output.nbytes

    hooked = hooked_layers(model, layers)
    handles = [
        module.register_forward_hook(
            lambda _, args, kwargs, output, name=name: record(name, first_input(args, kwargs), output), with_kwargs=True
        )
        for name, module in hooked.items()
    ]
    try:
        weights = [model.get_parameter(name) for name in layers]
        watched = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with evaluating(model), differentiable(model, weights), torch.enable_grad(), watched:
            alive.append(image.run(model))
    finally:
        for handle in handles:
            handle.remove()
    total = sum(saved.values()) + flows
    total += total // 4  # what the backward pass holds for a moment
    others = sum(weight.numel() for name, weight in layers.items() if name not in called)
    # torch.func's gradients: a second graph beside the first, and each of these layers' gradients as a whole
    return total if not others else 3 * total + 8 * others

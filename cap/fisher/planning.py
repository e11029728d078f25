"""How much memory there is, and how a fit is cut into passes that stay within it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration, differentiable, evaluating, hooked_layers

PART_BYTES = 2**28  # Gram matrices that are accumulated and turned into factors at a time
ACTIVATION_BYTES = 2**30  # what a forward and backward pass may hold, if the budget allows
MARGIN = 0.1  # of the free memory, left to others
SHARED = 0.5  # of the budget, up to which Gram matrices are kept for the next pruner


def free_memory(device: torch.device | str = "cpu") -> int:
    """Returns the bytes that a device has free: on CUDA the card's, otherwise the machine's within its limits."""
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min([psutil.virtual_memory().available, *_left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _left_in_groups(membership: Path, root: Path) -> list[int]:
    """Returns what each control group of this process leaves it: a job's or a container's limit (cgroups(7))."""
    left = []
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit = root / "memory", "memory.limit_in_bytes"
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in [group, *group.parents][: len(group.relative_to(base).parts) + 1]:
            try:
                most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
                stat = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # not visible from here, or no limit ("max")
                continue
            left.append(max(0, most - used + int(stat.get(cache, 0))))
    return left


def default_budget(device: torch.device | str = "cpu", shares: int = 1) -> int:
    """Returns what a fit may take if nothing else is said: the device's free memory less a margin.

    Args:
        device: The device of the model.
        shares: Number of processes among which the memory is shared.
    """
    return int(free_memory(device) * (1 - MARGIN)) // shares


def fit_budget(device: torch.device, kept: int = 0) -> int:
    """Returns what a fit may take if nothing else is said, the same in all processes of a torch.distributed group.

    Args:
        device: The device of the model.
        kept: Bytes in use that the fit can free.
    """
    shares = distributed.local_size() if device.type == "cpu" else 1
    return distributed.all_reduce_min(default_budget(device, shares) + kept)


@dataclass(frozen=True)
class LayerSlice:
    """Consecutive weights of a layer: whole outputs and whole Fisher blocks.

    Attributes:
        name: The layer.
        start: First weight.
        stop: One past the last weight.
    """

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class MemoryPlan:
    """How the Fisher blocks of a model are estimated within a memory budget.

    Attributes:
        passes: The parts whose Gram matrices are accumulated together, pass by pass over the calibration gradients.
        peak_bytes: Estimated memory of the fit beyond what is in use before it.
        budget: The memory budget in bytes.
        num_gradients: Gradients in each pass.
        forward_images: Images in one forward pass.
        block_size: B.
        shared: Whether the Gram matrices are kept for the next pruner.
        gram_bytes: Memory of all Gram matrices.
    """

    passes: tuple[tuple[LayerSlice, ...], ...]
    peak_bytes: int
    budget: int
    num_gradients: int
    forward_images: int
    block_size: int
    shared: bool
    gram_bytes: int

    def __str__(self) -> str:
        times = "1 pass" if len(self.passes) == 1 else f"{len(self.passes)} passes"
        return (
            f"{gib(self.peak_bytes)} of {gib(self.budget)} memory, {times} over {self.num_gradients} gradients, "
            f"{self.forward_images} images at a time"
        )


def gib(size: float) -> str:
    """Formats bytes."""
    return f"{size / 2**30:.2f} GiB"


def buffered_gradients(block_size: int, num_gradients: int | None) -> int:
    """Returns how many gradients a Gram matrix gathers before it adds them up: all, if they take less than it does."""
    if num_gradients is not None and num_gradients < block_size:
        return num_gradients
    several = min(128, max(32, 4 * block_size))
    return several if num_gradients is not None else max(several, block_size)


def gram_bytes(block_size: int, num_gradients: int, itemsize: int) -> int:
    """Returns the bytes that accumulating a Gram matrix takes per weight: see `cap.fisher.Gram`."""
    gathered = itemsize * buffered_gradients(block_size, num_gradients)
    return gathered + (8 * block_size if num_gradients >= block_size else 0)


def partition_layers(layers: Mapping[str, Tensor], block_size: int, per_weight: int) -> list[LayerSlice]:
    """Cuts large layers into parts, each of which holds whole outputs and whole blocks."""
    parts = []
    for name, weight in layers.items():
        unit = math.lcm(weight[0].numel(), block_size)
        step = unit * max(1, PART_BYTES // (per_weight * unit))
        starts = range(0, weight.numel(), step)
        parts += [LayerSlice(name, start, min(start + step, weight.numel())) for start in starts]
    return parts


def plan_fit(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    num_gradients: int | None,
    block_size: int,
    retained: float,
    scratch: int,
    budget: int | None = None,
) -> MemoryPlan:
    """Plans the estimate of all Fisher blocks within a memory budget.

    The parts do not depend on the budget, nor do the images in a forward pass unless the fit would otherwise be
    impossible; so the gradients and their sums are the same whatever the number of passes.

    Args:
        model: The model.
        layers: {name: weight}.
        calibration: The images.
        num_gradients: m; by default one per image, or per whole batch.
        block_size: B.
        retained: Bytes per weight that are kept once a layer is done.
        scratch: Bytes that turning a part's Gram matrices into its result takes.
        budget: Bytes that the fit may take beyond what is in use; by default the device's free memory less a margin.

    Raises:
        ValueError: If the budget is too small, with what is needed and what to change.
    """
    if budget is None:  # what is kept from the last pruner is put to use again, or freed
        budget = fit_budget(next(iter(layers.values())).device, calibration.shared_bytes)
    m = calibration.count(num_gradients)
    per_image = activation_bytes(model, layers, calibration)
    itemsize = max(weight.itemsize for weight in layers.values())
    per_weight = gram_bytes(block_size, m, max(4, itemsize))
    parts = partition_layers(layers, block_size, per_weight)
    sizes = {part: part.stop - part.start for part in parts}
    total, largest = sum(sizes.values()), max(sizes.values())

    def fixed(images: int) -> int:
        # one part's gradients at a time may have to be made beside the place where they are wanted
        gradients = images * largest if calibration.gradient == "sample" else total
        return images * per_image + max(scratch, itemsize * gradients)

    def needed(images: int) -> float:
        return fixed(images) + total * retained + largest * per_weight

    images = calibration.batch_size
    if calibration.gradient == "sample":
        images = min(images, m, buffered_gradients(block_size, m))
        while images > 1 and (images * per_image > ACTIVATION_BYTES or needed(images) > budget):
            images = -(-images // 2)
    if needed(images) > budget:
        raise ValueError(
            f"a memory budget of {gib(budget)} is too small, {gib(needed(images))} are needed: "
            f"{gib(images * per_image)} for {images} image{'s' if images > 1 else ''} in the model, "
            f"{gib(total * retained)} for the factors of {total:,} weights, the rest for Gram matrices and scratch. "
            f"Raise the memory budget, or lower the block size (now {block_size})"
            + ("" if calibration.gradient == "sample" else f" or the batch size (now {images})")
        )
    grams = total * per_weight
    at_once = fixed(images) + grams + total * retained
    if calibration.share and at_once <= SHARED * budget:
        return MemoryPlan((tuple(parts),), int(at_once), budget, m, images, block_size, True, grams)
    passes, peak = _passes(layers, sizes, per_weight, retained, budget - fixed(images))
    return MemoryPlan(passes, int(fixed(images) + peak), budget, m, images, block_size, False, grams)


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
    image = calibration.images[:1].to(device, copy=True)
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    saved: dict[int, int] = {}
    flows = 0

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    alive = []  # so that no storage is seen twice at one address

    called = set()

    def record(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flows
        called.add(name)
        note(args[0])
        alive.append(args[0])
        flows += output.nbytes

    hooked = hooked_layers(model, layers)
    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: record(name, args, output))
        for name, module in hooked.items()
    ]
    try:
        weights = [model.get_parameter(name) for name in layers]
        watched = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with evaluating(model), differentiable(model, weights), torch.enable_grad(), watched:
            alive.append(model(image))
    finally:
        for handle in handles:
            handle.remove()
    total = sum(saved.values()) + flows
    total += total // 4  # what the backward pass holds for a moment
    others = sum(weight.numel() for name, weight in layers.items() if name not in called)
    # torch.func's gradients: a second graph beside the first, and each of these layers' gradients as a whole
    return total if not others else 3 * total + 8 * others

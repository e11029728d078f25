"""How much memory there is, and how a fit is cut into passes that stay within it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from cap.calibration import Calibration, differentiable, evaluating, hooked_layers

PART_BYTES = 2**28  # Gram matrices that are accumulated and turned into factors at a time
ACTIVATION_BYTES = 2**30  # what a forward and backward pass may hold, if the budget allows
MARGIN = 0.1  # of the free memory, left to others


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


@dataclass(frozen=True)
class Part:
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
class Plan:
    """How the Fisher blocks of a model are estimated within a memory budget.

    Attributes:
        passes: The parts whose Gram matrices are accumulated together, pass by pass over the calibration gradients.
        peak_bytes: Estimated memory of the fit beyond what is in use before it.
        budget: The memory budget in bytes.
        num_gradients: Gradients in each pass.
        forward_images: Images in one forward pass.
        block_size: B.
        shared: Whether the Gram matrices are kept for the next pruner.
    """

    passes: tuple[tuple[Part, ...], ...]
    peak_bytes: int
    budget: int
    num_gradients: int
    forward_images: int
    block_size: int
    shared: bool

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


def gram_bytes(block_size: int, num_gradients: int) -> int:
    """Returns the bytes that accumulating a Gram matrix takes per weight: see `cap.fisher.Gram`."""
    return 4 * buffered_gradients(block_size, num_gradients) + (8 * block_size if num_gradients >= block_size else 0)


def cut(layers: Mapping[str, Tensor], block_size: int, per_weight: int) -> list[Part]:
    """Cuts large layers into parts, each of which holds whole outputs and whole blocks."""
    parts = []
    for name, weight in layers.items():
        unit = math.lcm(weight[0].numel(), block_size)
        step = unit * max(1, PART_BYTES // (per_weight * unit))
        starts = range(0, weight.numel(), step)
        parts += [Part(name, start, min(start + step, weight.numel())) for start in starts]
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
) -> Plan:
    """Plans the estimate of all Fisher blocks within a memory budget.

    The images in a forward pass and the parts do not depend on the budget, unless it is so small that a forward pass
    would not fit; so the gradients and their sums are the same whatever the number of passes.

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
    budget = default_budget(next(iter(layers.values())).device) if budget is None else budget
    m = calibration.count(num_gradients)
    per_image = activation_bytes(model, layers, calibration)
    images, rows = calibration.batch_size, 1
    if calibration.gradient == "sample":
        images = min(images, m, buffered_gradients(block_size, m))
        while images > 1 and images * per_image > min(ACTIVATION_BYTES, budget // 4):
            images = -(-images // 2)
        rows = images
    per_weight = gram_bytes(block_size, m)
    parts = cut(layers, block_size, per_weight)
    sizes = {part: part.stop - part.start for part in parts}
    total, largest = sum(sizes.values()), max(sizes.values())
    # one part's gradients at a time may have to be made beside the place where they are wanted
    fixed = images * per_image + max(scratch, 4 * rows * largest)
    needed = fixed + total * retained + largest * per_weight
    if needed > budget:
        raise ValueError(
            f"a memory budget of {gib(budget)} is too small, {gib(needed)} are needed: {gib(images * per_image)} for "
            f"{images} images in the model, {gib(total * retained)} for the factors of {total:,} weights, the rest for "
            f"Gram matrices and scratch. Raise the memory budget, or lower the block size (now {block_size})"
            + ("" if calibration.gradient == "sample" else f" or the batch size (now {images})")
        )
    at_once = fixed + total * (per_weight + retained)
    if calibration.share and at_once <= budget:
        return Plan((tuple(parts),), int(at_once), budget, m, images, block_size, shared=True)
    passes: list[list[Part]] = []
    start = done = summed = peak = 0.0  # bytes kept before this pass, kept so far, of this pass's Gram matrices
    for part in parts:
        gram, kept = sizes[part] * per_weight, sizes[part] * retained
        # when the pass's first part is turned into its result, all of the pass's Gram matrices are still there
        if not passes or fixed + start + summed + gram + largest * retained > budget:
            passes.append([])
            start, summed = done, 0.0
        passes[-1].append(part)
        summed += gram
        done += kept
        peak = max(peak, fixed + start + summed + largest * retained)
    peak = max(peak, fixed + done)
    return Plan(tuple(tuple(group) for group in passes), int(peak), budget, m, images, block_size, shared=False)


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

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flows
        note(args[0])
        alive.append(args[0])
        flows += output.nbytes

    hooked = hooked_layers(model, layers)
    handles = [module.register_forward_hook(record) for module in hooked.values()]
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
    others = sum(weight.numel() for name, weight in layers.items() if name not in hooked)
    # torch.func's gradients: a second graph beside the first, and each of these layers' gradients as a whole
    return total if not others else 3 * total + 8 * others

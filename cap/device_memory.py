"""The memory that a device has free, and the part of it that a fit may take."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from cap import distributed

MARGIN = 0.1  # of the free memory, left to others


def free_memory(device: torch.device | str = "cpu") -> int:
    """Returns the bytes that a device has free: on CUDA the card's, otherwise the machine's within its limits."""
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    limits = left_in_control_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min([psutil.virtual_memory().available, *limits])


def left_in_control_groups(membership: Path, root: Path) -> list[int]:
    """Returns what each control group of this process leaves it: a job's or a container's limit (cgroups(7)).

    Args:
        membership: File that lists the process's groups, `/proc/self/cgroup`.
        root: Folder in which the groups' file systems are mounted.

    Returns:
        Free bytes of each group that has a limit, from the innermost outwards.
    """
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
        device: Device of the model.
        shares: Number of processes among which the memory is shared.
    """
    return int(free_memory(device) * (1 - MARGIN)) // shares


def fit_budget(device: torch.device, kept: int = 0) -> int:
    """Returns what a fit may take if nothing else is said, the same in all processes of a torch.distributed group.

    Args:
        device: Device of the model.
        kept: Bytes in use that the fit can free.
    """
    shares = distributed.local_size() if device.type == "cpu" else 1
    return distributed.all_reduce_min(default_budget(device, shares) + kept)


def gib(size: float) -> str:
    """Formats bytes."""
    return f"{size / 2**30:.2f} GiB"

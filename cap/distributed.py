"""Communication among the processes of a torch.distributed group; in a single process nothing happens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
Number = TypeVar("Number", int, float)


def world_size() -> int:
    """Returns how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def local_size() -> int:
    """Returns how many of the processes share this machine, as torchrun's environment says; all if it does not."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if world_size() > 1 else 1


def shard(items: Iterable[T]) -> Iterator[T]:
    """Yields every item that is for this process: one of `world_size`, in turn."""
    return islice(items, rank(), None, world_size())


def all_reduce_sum(*tensors: Tensor) -> None:
    """Replaces each tensor by its sum over the processes, the same bits in all of them."""
    if world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def all_reduce_scalar(number: Number) -> Number:
    """Returns the sum of a number over the processes."""
    return sum(all_gather_scalar(number))


def all_reduce_min(number: Number) -> Number:
    """Returns the smallest of the processes' numbers."""
    return min(all_gather_scalar(number))


def all_gather_scalar(number: Number) -> list[Number]:
    """Returns the number of every process, in order."""
    if world_size() == 1:
        return [number]
    own = torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else torch.int64, device=_device())
    found = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(found, own)
    return [type(number)(value) for value in found]


def _device() -> torch.device:
    """Returns where the group's backend wants its tensors."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@torch.no_grad()
def broadcast_from_rank0(tensors: Iterable[Tensor]) -> None:
    """Gives the tensors of every process the values that they have in process 0."""
    if world_size() == 1:
        return
    for tensor in tensors:
        values = tensor.detach().contiguous()
        dist.broadcast(values.view(torch.uint8) if values.dtype == torch.bool else values, 0)
        tensor.copy_(values)


def check_same(digest: str, what: str) -> None:
    """Makes sure that the processes have the same.

    Args:
        digest: Hash of what a process has, hexadecimal, at least 60 bits.
        what: Name of what they have, for the error, plural.

    Raises:
        RuntimeError: In all processes, if it differs between any two; names the first that differs from process 0.
    """
    values = all_gather_scalar(int(digest[:15], 16))
    if other := next((process for process, value in enumerate(values) if value != values[0]), None):
        raise RuntimeError(f"{what} of process {other} differ from those of process 0")


@contextmanager
def rank_random_state(step: int) -> Iterator[None]:
    """Lets a model draw other random numbers in each process, and leaves torch's CPU generator as it found it.

    Args:
        step: Number of the step, which makes the numbers differ; together with the last seed that was set it determines
            them.
    """
    if world_size() == 1:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((torch.initial_seed() + 1_000_003 * (step * world_size() + rank() + 1)) % 2**63)
        yield

"""Processes that work on one trial together: all compute, process 0 alone writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cap.distributed import rank, world_size

T = TypeVar("T")

PATIENCE = timedelta(days=7)  # for messages: process 0 may have to wait for a file that another job has locked
LOST_AFTER = timedelta(minutes=5)  # a process that is so late at a trial's end will not come: it waits for another


class LostProcessError(Exception):
    """Loss of another process, without which this one cannot go on: it ended, or is stuck."""


def init(device: str) -> None:
    """Joins the other processes of this job, as torchrun's environment or else submitit's tells.

    Gradients and weights go through NCCL on CUDA and gloo on a CPU, messages through gloo. A `MASTER_ADDR` that the
    environment has takes precedence over the first host's name.

    Args:
        device: Torch device of all trials; of several GPUs that a process sees it gets one of its own.
    """
    if "RANK" not in os.environ:
        from submitit.helpers import TorchDistributedEnvironment

        environment = TorchDistributedEnvironment()
        environment.master_addr = os.environ.get("MASTER_ADDR", environment.master_addr)
        environment.export(set_cuda_visible_devices=False, overwrite=True)
    if int(os.environ["WORLD_SIZE"]) == 1:
        return
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if on_cuda else "gloo")
    _messages(), _ends()


def shutdown() -> None:
    """Leaves the other processes of this job."""
    if dist.is_initialized():
        _messages.cache_clear()
        _ends.cache_clear()
        dist.destroy_process_group()


@cache
def _messages() -> Any:
    """Returns the group of all processes that messages go through; the first call is made by all of them together."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


@cache
def _ends() -> Any:
    """Returns the group that the ends of trials are told in, apart from what a process may still wait for."""
    return dist.new_group(backend="gloo", timeout=LOST_AFTER)


def is_main() -> bool:
    """Returns whether this process is the one that writes."""
    return rank() == 0


def run_on_rank0(compute: Callable[[], T]) -> T:
    """Lets process 0 do something, such as read or write a file, and returns its result in all of them.

    Raises:
        RuntimeError: In the other processes, if process 0 raises something.
    """
    if world_size() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = compute()
        except Exception as error:
            dist.broadcast_object_list([None, f"process 0: {type(error).__name__}: {error}"], 0, _messages())
            raise
    dist.broadcast_object_list(outcome, 0, _messages())
    if outcome[1] is not None:
        raise RuntimeError(outcome[1])
    return outcome[0]


def all_gather_object(value: T) -> list[T]:
    """Returns every process's value, in order."""
    return _all_gather(value, _messages) if world_size() > 1 else [value]


def _all_gather(value: T, group: Callable[[], Any]) -> list[T]:
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group())
    return values


def first_failure(failure: T | None) -> T | None:
    """Returns, in all processes, the failure of the first one that has one, or None if all came here without.

    Raises:
        LostProcessError: If a process does not come here.
    """
    if world_size() == 1:
        return failure
    try:
        found = _all_gather(failure, _ends)
    except RuntimeError as error:
        here = f"; in this one: {failure}" if failure is not None else ""
        raise LostProcessError(f"another process is gone or stuck ({error}){here}") from None
    return next((one for one in found if one is not None), None)

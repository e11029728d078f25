"""What test_resuming_together.py runs: a trial that stops with two processes and goes on with one, or with four.

Usage: python resuming_together.py FOLDER. Each group of processes is forked from this one, which computes nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import datasets  # noqa: F401  once, not in every process
import timm.data
import timm.optim  # noqa: F401
import torch
import torch._dynamo

import bench.data.padded_stream  # noqa: F401
import cap.training.trainer  # noqa: F401
from bench.core import distributed
from bench.execution.worker import execute
from bench.specs.recipes import GradualSpec
from bench.specs.trial import Trial
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import ExecutionConfig

COMMON: dict[str, Any] = {"images": 70, "batch_size": 32, "lr": 5e-4, "lr_end": 1e-5, "crop": 0.75}
SPEC: dict[str, Any] = {"sweep": "s", "profile": "embedded", "model": "vit", "calibration": {"images": 32}}
SPEC["evaluation_images"] = 50
TRIAL = Trial(
    **SPEC, pruner="magnitude", patterns=("0.5", "0.8"),
    training=GradualSpec(
        epochs=2, period=1, knots=((0, 0.5), (1, 0.8)), ema=0.9, distillation=0.5, augmentation="medium1", **COMMON
    ),
)  # fmt: skip
SAVES = 7  # until a run is killed: in the middle of the second epoch, of three steps


class KilledError(BaseException):
    """What no `except Exception` holds up."""


def work(rank: int, size: int, port: int, results: Path, killed: bool) -> None:
    """Executes the trial as one of several processes, until it ends or is killed."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    torch.set_num_threads(1)
    distributed.init("cpu")
    saves, save = 0, TrialCheckpointer.save

    def save_and_count(checkpointer: TrialCheckpointer) -> None:
        nonlocal saves
        save(checkpointer)
        saves += 1
        if killed and saves == SAVES:
            raise KilledError

    TrialCheckpointer.save = save_and_count  # type: ignore[method-assign]
    try:
        finished = execute(TRIAL, results, ExecutionConfig(checkpoint_interval=0.0))
        assert (finished.status, finished.error) == ("done", None), finished
    except KilledError:
        assert killed
    distributed.shutdown()


def run(size: int, results: Path, killed: bool = False) -> None:
    """Runs the trial with so many processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forked = multiprocessing.get_context("fork")
    processes = [forked.Process(target=work, args=(rank, size, port, results, killed)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    if any(process.exitcode for process in processes):
        sys.exit(f"{[process.exitcode for process in processes]} of {size} processes")


def main(folder: Path) -> None:
    run(1, folder / "through")
    run(2, folder / "killed", killed=True)
    for size in (1, 4):
        shutil.copytree(folder / "killed", folder / f"on with {size}")
        run(size, folder / f"on with {size}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Checkpoint of a trial on disk: one file, replaced as a whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.core import distributed, files

FILE = Path("checkpoint", "state.pt")  # below the folder of a trial


class Checkpoint:
    """The newest state of one trial. Processes that work together all save and load; process 0 writes.

    Args:
        folder: Folder of the trial.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def save(self, state: Mapping[str, Any]) -> None:
        """Writes a state in place of the one before.

        Args:
            state: Numbers, texts, tensors, lists, dicts: values that `torch.load` reads back without running code.
        """
        distributed.run_on_rank0(lambda: self._write(state))

    def _write(self, state: Mapping[str, Any]) -> None:
        with files.atomic_write(self.path) as temporary:
            torch.save(dict(state), temporary)

    def load(self) -> dict[str, Any] | None:
        """Reads the newest state; None if there is none."""
        if not distributed.run_on_rank0(self.path.exists):
            return None
        return torch.load(self.path, weights_only=True, map_location="cpu")

    def remove(self) -> None:
        """Removes the checkpoint, and the folder of the trial if that leaves it empty."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.discard_unfinished()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def discard_unfinished(self) -> None:
        """Removes what a process that was ended had half written."""
        for path in (*self.folder.glob(".*"), *self.path.parent.glob(".*")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

"""Progress of a trial on disk, from which a run that was interrupted goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bench.core import distributed, provenance
from bench.trials.checkpoint import Checkpoint
from cap.distributed import world_size

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A part of a trial that carries its own state."""

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on; all processes call it together."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        ...


class TrialCheckpointer:
    """The parts of one trial, in order, and their newest state on disk if the trial has a folder.

    Args:
        folder: Folder of the trial; None to keep nothing.
        label: Name of the trial in messages.
        interval: Seconds between two checkpoints within an epoch.
    """

    def __init__(self, folder: Path | None, label: str, interval: float) -> None:
        self._checkpoint = Checkpoint(folder) if folder is not None else None
        self._label, self._interval = label, interval
        self._parts: dict[str, Stateful] = {}
        self._saved: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    def load(self) -> None:
        """Reads what an earlier run left, of any number of processes; what is of other code or versions is removed."""
        if self._checkpoint is None:
            return
        distributed.run_on_rank0(self._checkpoint.discard_unfinished)
        state = self._checkpoint.load()
        if state is None:
            return
        if state["code"] != _code() or "parts" not in state:  # without git other code looks the same
            logger.warning("%s starts again: its checkpoint is of other code or versions", self._label)
            distributed.run_on_rank0(self._checkpoint.remove)
            return
        if (before := state["processes"]) != world_size() and distributed.is_main():
            logger.warning("%s goes on with %d processes where %s stopped", self._label, world_size(), before)
        self._saved = state["parts"]

    def has_saved(self, name: str) -> bool:
        """Returns whether an earlier run left the state of a part that is not attached yet."""
        return name in self._saved

    def attach(self, name: str, part: Stateful) -> None:
        """Adds a part, and restores its state if an earlier run left one."""
        self._parts[name] = part
        if name in self._saved:
            part.load_state_dict(self._saved.pop(name))

    def detach(self, name: str) -> None:
        """Leaves a part out of the next checkpoint."""
        del self._parts[name]

    def save(self) -> None:
        """Saves the state of all parts."""
        if self._checkpoint is None:
            return
        self._checkpoint.save(
            {
                "code": _code(),
                "processes": world_size(),
                "parts": {name: part.state_dict() for name, part in self._parts.items()},
            }
        )
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Returns whether it is time for a checkpoint within an epoch."""
        if self._checkpoint is None:
            return False
        return distributed.run_on_rank0(lambda: time.monotonic() - self._saved_at >= self._interval)


def _code() -> dict[str, Any]:
    """Returns what a state belongs to: commit and versions."""
    return {"commit": provenance.commit(), "dirty": provenance.dirty(), "versions": provenance.versions()}

"""Checkpoints of training: weights and masks as safetensors, the rest of the state beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core import distributed
from bench.core.random_state import random_state, set_random_state
from bench.models.pruned_file import load_pruned, save_pruned

WEIGHTS, STATE = "model.safetensors", "state.pt"  # of a checkpoint


@dataclass(frozen=True)
class Saved:
    """A checkpoint as it was read.

    Attributes:
        state: What was given to `save`.
        weights: The model's state; empty if none was saved.
        masks: Likewise as given, None if nothing was held.
        generators: States of the random generators, of each process that saved.
    """

    state: dict[str, Any]
    weights: dict[str, Tensor]
    masks: dict[str, Tensor] | None
    generators: list[dict[str, Any]]

    def put_into(self, model: nn.Module) -> None:
        """Gives a model of the same architecture the weights, and this process's random generators their state."""
        model.load_state_dict(self.weights)
        set_random_state(self.generators[distributed.rank()])


class Checkpoint:
    """The newest state of one run: a folder that is replaced as a whole, so that there is always a complete one.

    Processes that work together all save and load; process 0 writes.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._previous = folder.with_name(f"{folder.name}.previous")

    def save(self, model: nn.Module | None, state: Mapping[str, Any], masks: Mapping[str, Tensor] | None) -> None:
        """Writes the state and the random generators' beside it, and replaces the one before.

        Args:
            model: The model, None if there is none under way.
            state: What `torch.save` writes and reads back without running code: numbers, texts, tensors, lists, dicts.
            masks: {name: keep-mask}, None if nothing is held.
        """
        generators = distributed.all_gather_object(random_state())
        distributed.run_on_rank0(lambda: self._write(model, masks, {**state, "generators": generators}))

    def _write(self, model: nn.Module | None, masks: Mapping[str, Tensor] | None, state: dict[str, Any]) -> None:
        new = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(parents=True)
            save_pruned(new / WEIGHTS, model, masks or {})
            torch.save(state, new / STATE)
            if self.folder.exists():  # else the previous one is all there is
                shutil.rmtree(self._previous, ignore_errors=True)
                os.replace(self.folder, self._previous)
            os.replace(new, self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(self._previous, ignore_errors=True)

    def load(self) -> Saved | None:
        """Reads what was saved; None if there is nothing."""
        folder = distributed.run_on_rank0(self._newest)
        if folder is None:
            return None
        pruned = load_pruned(folder / WEIGHTS)
        state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
        return Saved(state, pruned.weights, pruned.masks or None, state.pop("generators"))

    def _newest(self) -> Path | None:
        whole = (f for f in (self.folder, self._previous) if (f / WEIGHTS).exists() and (f / STATE).exists())
        return next(whole, None)

    def remove(self) -> None:
        """Removes what is there, and the folder around it if that leaves it empty."""
        for folder in (self.folder, self._previous):
            shutil.rmtree(folder, ignore_errors=True)
        self.discard_unfinished()
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def discard_unfinished(self) -> None:
        """Removes what a process that was ended had half written beside it."""
        for path in self.folder.parent.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

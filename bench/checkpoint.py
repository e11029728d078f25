"""Checkpoints of training: weights and masks as safetensors, the rest of the state beside them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, STATE = "model.safetensors", "state.pt"  # of a checkpoint


def save_pruned(path: Path, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Writes a pruned model: its state under its own names, each keep-mask under `mask.<weight>`.

    Args:
        path: A safetensors file; its folder is made if need be.
        model: The model.
        masks: {name: keep-mask}.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(_tensors(model, masks), temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tensors(model: nn.Module, masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    return {**state, **{f"mask.{name}": mask.contiguous() for name, mask in (masks or {}).items()}}


def _random_state() -> dict[str, Any]:
    """Returns the state of every generator that training draws from."""
    legacy: Any = np.random.get_state()
    name, keys, *rest = legacy
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])


class Checkpoint:
    """The newest state of one run: a folder that is replaced as a whole, so that there is always a complete one.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._previous = folder.with_name(f"{folder.name}.previous")

    def save(self, model: nn.Module, state: Mapping[str, Any], masks: Mapping[str, Tensor] | None) -> None:
        """Writes the state and the random generators' beside it, and replaces the one before.

        Args:
            model: The model.
            state: What `torch.save` writes and reads back without running code: numbers, texts, tensors, lists, dicts.
            masks: {name: keep-mask}, None if nothing is held.
        """
        new = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(parents=True)
            save_file(_tensors(model, masks), new / WEIGHTS)
            torch.save({**state, "random": _random_state()}, new / STATE)
            if self.folder.exists():  # else the previous one is all there is
                shutil.rmtree(self._previous, ignore_errors=True)
                os.replace(self.folder, self._previous)
            os.replace(new, self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(self._previous, ignore_errors=True)

    def load(self, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor] | None] | None:
        """Loads the model's weights and sets the random generators.

        Args:
            model: Of the architecture that was saved.

        Returns:
            The state and the masks as they were given to `save`, or None if there is no checkpoint.
        """
        whole = (f for f in (self.folder, self._previous) if (f / WEIGHTS).exists() and (f / STATE).exists())
        folder = next(whole, None)
        if folder is None:
            return None
        device = next(model.parameters()).device
        tensors = load_file(folder / WEIGHTS, device=str(device))
        masks = {name.removeprefix("mask."): tensors.pop(name) for name in list(tensors) if name.startswith("mask.")}
        model.load_state_dict(tensors)
        state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
        _set_random_state(state.pop("random"))
        return state, masks or None

    def remove(self) -> None:
        """Removes what is there."""
        for folder in (self.folder, self._previous):
            shutil.rmtree(folder, ignore_errors=True)
        self.discard_unfinished()

    def discard_unfinished(self) -> None:
        """Removes what a process that was ended had half written beside it."""
        for path in self.folder.parent.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

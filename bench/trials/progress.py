"""What a trial has done so far, kept on disk, so that a run that is cut off goes on from there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

import cap
from bench.core import distributed, provenance
from bench.specs.recipes import TrainingSpec
from bench.trials.checkpoint import Checkpoint, Saved

if TYPE_CHECKING:
    from bench.trials.runner import TrialContext

logger = logging.getLogger(__name__)

INTERVAL = 600.0  # seconds between two checkpoints within an epoch


@dataclass
class TrainingState:
    """One model's training from start to end, and how far it is.

    Attributes:
        how: The recipe.
        model: What is trained.
        training: Its training.
        measured: After how many epochs the model is measured, and the pattern that it then has.
        about: Columns of the rows to come: what the steps so far took.
        epoch: Epochs that are done.
        begun: Whether that which happens before the present epoch has happened.
    """

    how: TrainingSpec
    model: nn.Module
    training: cap.Training
    measured: dict[int, cap.Pattern]
    about: dict[str, Any]
    epoch: int = 0
    begun: bool = False

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on, but for weights, masks and the state of random generators."""
        training = {key: value for key, value in self.training.state_dict().items() if key != "masks"}
        measured = {epoch: str(pattern) for epoch, pattern in self.measured.items()}
        return {
            "training": training,
            "measured": measured,
            "about": self.about,
            "epoch": self.epoch,
            "begun": self.begun,
        }

    def load(self, saved: Saved) -> None:
        """Goes on from what was saved; the model, its training and the recipe must be set up as they were then."""
        state = saved.state["stretch"]
        saved.put_into(self.model)
        self.training.load_state_dict({**state["training"], "masks": saved.masks})
        self.measured = {epoch: cap.parse_pattern(text) for epoch, text in state["measured"].items()}
        self.about, self.epoch, self.begun = state["about"], state["epoch"], state["begun"]


class TrialCheckpointer:
    """The rows and the training of one trial, on disk if the trial has a folder."""

    def __init__(self, run: TrialContext) -> None:
        self._rows, self._label = run.rows, run.trial.label
        self._checkpoint = Checkpoint(run.folder / "checkpoint") if run.folder is not None else None
        self._saved_at = time.monotonic()

    def restore(self) -> Saved | None:
        """Puts the rows of an earlier run in place of those that are there.

        Returns:
            All that it left, with the state of its training under `stretch`, None if none was under way; None if it
            left nothing, or if that is of other code, versions or number of processes.
        """
        if self._checkpoint is None:
            return None
        distributed.run_on_rank0(self._checkpoint.discard_unfinished)
        saved = self._checkpoint.load()
        if saved is None:
            return None
        if saved.state["code"] != _code():
            logger.warning("%s starts again: its checkpoint is of other code, versions or processes", self._label)
            distributed.run_on_rank0(self._checkpoint.remove)
            return None
        self._rows.restore(saved.state["rows"], saved.state["layer_rows"])
        return saved

    def save(self, stretch: TrainingState | None = None) -> None:
        """Saves the rows, and the training that is under way."""
        if self._checkpoint is None:
            return
        rows = {"rows": self._rows.plain(), "layer_rows": self._rows.layer_rows}
        model = masks = None
        if stretch is not None:
            model, masks = stretch.model, stretch.training.state_dict()["masks"]
        state = stretch.state_dict() if stretch is not None else None
        self._checkpoint.save(model, {"code": _code(), "stretch": state, **rows}, masks)
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Returns whether it is time for a checkpoint in mid-epoch."""
        if self._checkpoint is None:
            return False
        return distributed.run_on_rank0(lambda: time.monotonic() - self._saved_at >= INTERVAL)


def _code() -> dict[str, Any]:
    return {
        "commit": provenance.commit(),
        "dirty": provenance.dirty(),
        "versions": provenance.versions(),
        "processes": distributed.world_size(),
    }

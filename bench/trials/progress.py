"""How far a trial is: for whoever shows it, and in a small file beside its checkpoint for whoever asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core import distributed
from bench.core.durations import duration
from bench.core.files import atomic_write

FILE = Path("checkpoint", "progress.json")  # below the folder of a trial
SECONDS = 5.0  # between two writings


@dataclass(frozen=True)
class FitProgress:
    """How far a step of a trial is: the fit of its pruner, a training, or an evaluation.

    Attributes:
        trial: Label of the trial.
        done: Number of steps that are done.
        total: Number of all steps.
        text: Name of the steps, such as `layers`; may be empty.
        remaining_seconds: Time that these steps will still take; None where it is not known, or in the text.
    """

    trial: str
    done: int
    total: int
    text: str
    remaining_seconds: float | None = None

    def __str__(self) -> str:
        line = f"{self.trial}: {' '.join(filter(None, [f'{self.done}/{self.total}', self.text]))}"
        return line if self.remaining_seconds is None else f"{line}, {duration(self.remaining_seconds)} left"


@dataclass(frozen=True)
class TrialProgress:
    """How far the present step of a trial is, as its file tells it.

    Attributes:
        done: Number of steps that are done.
        total: Number of all steps.
        text: What is being done; in training the epoch.
        images_per_second: Training images of all processes in a second; None outside training.
        loss: Loss of the last training batch, of process 0; None outside training.
        remaining_seconds: Time that this step will still take at the present rate; None where none is known yet.
    """

    done: int
    total: int
    text: str
    images_per_second: float | None = None
    loss: float | None = None
    remaining_seconds: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.text}: {self.done:,}/{self.total:,}" if self.text else f"{self.done:,}/{self.total:,}"]
        if self.images_per_second is not None:
            parts.append(f"{self.images_per_second:,.0f} images/s")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.remaining_seconds is not None:
            parts.append(f"{duration(self.remaining_seconds)} left")
        return ", ".join(parts)


def read_progress(folder: Path) -> TrialProgress | None:
    """Returns how far the trial of a folder is; None where it has not told, or in another form."""
    try:
        return TrialProgress(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


@dataclass
class _Stage:
    """Steps of one name, which those of another may interrupt: passes over the gradients, and layers between them.

    Attributes:
        began: When this process took them up, on the monotonic clock.
        first: Number of the first step that it did.
        last: Number of the last.
    """

    began: float
    first: int
    last: int


class ProgressReporter:
    """Reports of one trial, to a function and to the trial's file; the file is written every few seconds at most.

    Args:
        label: Name of the trial.
        folder: Folder of the trial; None to write no file.
        show: Function that shows progress; None to show none.
    """

    def __init__(
        self, label: str, folder: Path | None = None, show: Callable[[FitProgress], None] | None = None
    ) -> None:
        self._label, self._show = label, show
        self._path = folder / FILE if folder is not None else None
        self._written = -SECONDS  # on the monotonic clock
        self._stages: dict[str, _Stage] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether anybody looks."""
        return self._show is not None or self._path is not None

    def fit(self, done: int, total: int, text: str) -> None:
        """Reports a step of a pruner's fit, of an author's own making: small enough to be sent at once."""
        self._step(int(done), int(total), str(text)[:80], f"fit {str(text)[:80]}".strip())

    def evaluation(self, done: int, total: int) -> None:
        """Reports how many images of an evaluation have gone through the model."""
        self._step(done, total, "images evaluated", "evaluation")

    def _step(self, done: int, total: int, text: str, stage: str) -> None:
        each = self._seconds_per_step(stage, done)
        remaining = each * (total - done) if each is not None else None
        if self._show is not None:
            self._show(FitProgress(self._label, done, total, text, remaining))
        self._write(lambda: TrialProgress(done, total, stage, remaining_seconds=remaining))

    def training(self, epoch: int, epochs: int, step: int, steps: int, batch: int, loss: Callable[[], float]) -> None:
        """Reports a step of a training.

        Args:
            epoch: Number of the epoch, from 1.
            epochs: Number of all epochs.
            step: Number of steps that are done, over all epochs.
            steps: Number of all steps.
            batch: Number of images of a step.
            loss: Function that returns the loss of the last step; it may have to wait for the device.
        """
        each = self._seconds_per_step("training", step)
        if not self._is_due():
            return
        text = f"epoch {epoch}/{epochs}"
        rate, remaining = (batch / each, each * (steps - step)) if each else (None, None)
        found = TrialProgress(step, steps, text, rate, loss(), remaining)
        self._write(lambda: found)
        if self._show is not None:
            rest = str(found).partition(", ")[2]
            self._show(FitProgress(self._label, step, steps, ", ".join(filter(None, [text, rest]))))

    def _seconds_per_step(self, name: str, done: int) -> float | None:
        """Returns the time of one of the present steps, since this process took them up; None before the second."""
        now = time.monotonic()
        if name not in self._stages or done < self._stages[name].last:
            self._stages[name] = _Stage(now, done, done)
        stage = self._stages[name]
        stage.last = done
        steps = done - stage.first
        return (now - stage.began) / steps if steps > 0 else None

    def _is_due(self) -> bool:
        return self.is_wanted and time.monotonic() - self._written >= SECONDS

    def _write(self, found: Callable[[], TrialProgress]) -> None:
        if not self._is_due():
            return
        self._written = time.monotonic()
        if self._path is not None and distributed.is_main():
            with atomic_write(self._path) as temporary:
                temporary.write_text(json.dumps(asdict(found())))

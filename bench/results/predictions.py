"""Predicted classes of single images: a byte an image, or two where there are more than 256 classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bench.results.schema import arrow_schema

State = tuple[str, "str | None", str]  # trial id, pattern, phase


@dataclass
class PredictionRow:
    """Predicted classes of one state of a trial's model.

    Attributes:
        trial_id: Identity of the trial.
        pattern: Pattern of the state, None for the dense model.
        phase: Phase of the state.
        n_images: Number of images.
        classes: Predicted class of every image, in the order of the data set, see `encode`.
        labels: Label of every image, likewise; a file holds the same labels once.
    """

    trial_id: str
    pattern: str | None
    phase: str
    n_images: int
    classes: bytes
    labels: bytes


PREDICTION_SCHEMA = arrow_schema(PredictionRow)


def encode(classes: np.ndarray) -> bytes:
    """Returns classes (n,) as unsigned integers of one byte, or little-endian of two if one is above 255."""
    return classes.astype(np.uint8 if classes.max(initial=0) < 256 else "<u2").tobytes()


def decode(content: bytes, count: int) -> np.ndarray:
    """Returns the classes, (count,), that `encode` made bytes of."""
    return np.frombuffer(content, np.uint8 if len(content) == count else "<u2")


@dataclass(frozen=True)
class Predictions:
    """Predicted classes of the states of many trials.

    Attributes:
        rows: {state: its row}.
    """

    rows: Mapping[State, PredictionRow]

    @classmethod
    def of(cls, table: pa.Table) -> Predictions:
        """Returns the predictions of a table of `PREDICTION_SCHEMA`."""
        rows = (PredictionRow(**row) for row in table.to_pylist())
        return cls({(row.trial_id, row.pattern, row.phase): row for row in rows})

    def classes(self, trial_id: str, pattern: str | None, phase: str) -> np.ndarray | None:
        """Returns the predicted classes of a state, (n,); None where they are not stored."""
        row = self.rows.get((trial_id, pattern, phase))
        return decode(row.classes, row.n_images) if row is not None else None

    def correct(self, trial_id: str, pattern: str | None, phase: str) -> np.ndarray | None:
        """Returns for each image whether a state's predicted class is right, (n,); None where they are not stored."""
        row = self.rows.get((trial_id, pattern, phase))
        return decode(row.classes, row.n_images) == decode(row.labels, row.n_images) if row is not None else None

    def stacked(self, states: Sequence[State]) -> np.ndarray | None:
        """Returns for every state and image whether the class is right, (states, n).

        Args:
            states: States, at least one.

        Returns:
            None where one of them is not stored, or they are of different numbers of images.
        """
        found = [one for state in states if (one := self.correct(*state)) is not None]
        return np.stack(found) if len(found) == len(states) and len({len(one) for one in found}) == 1 else None

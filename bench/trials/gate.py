"""The gate of a trial: the dense accuracy that must be reached before anything else counts."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from bench.evaluation.accuracy import Accuracy
from bench.specs.trial import ResolvedTrial

logger = logging.getLogger(__name__)

ROUNDING = 1e-9  # percentage points
SUBSET_ERRORS = 4  # standard errors by which a part of the test images may differ from all of them


class GateError(Exception):
    """A dense model does not reach its recorded accuracy, so nothing that follows would mean anything."""


@dataclass(frozen=True)
class Gate:
    """What a dense accuracy is held against.

    Attributes:
        kind: `recorded` for the weights, `expected` by the user, or `none`.
        top1: The accuracy, percent; None where there is none.
    """

    kind: str
    top1: float | None = None

    @classmethod
    def of(cls, resolved: ResolvedTrial, expected: float | None = None) -> Gate:
        """Returns the gate of a trial.

        Args:
            resolved: The trial.
            expected: Accuracy that the user expects, percent, which goes above a recorded one; None for none.
        """
        recorded = resolved.model.recorded_top1(resolved.trial.evaluation_split)
        if expected is not None:
            return cls("expected", expected)
        return cls("recorded", recorded) if recorded is not None else cls("none")

    def check(self, resolved: ResolvedTrial, accuracy: Accuracy) -> None:
        """Refuses a dense accuracy that is too far away.

        Raises:
            GateError: If it is.
        """
        name = resolved.model.name
        if self.top1 is None:
            logger.warning("%s reaches %.2f %% top-1; none is on record to hold it against", name, accuracy.top1)
        elif abs(accuracy.top1 - self.top1) > tolerance(resolved, self.top1, accuracy.n_images) + ROUNDING:
            reason = "is recorded for its weights" if self.kind == "recorded" else "is expected of it"
            raise GateError(
                f"{name} reaches {accuracy.top1:.2f} % top-1, but {self.top1:.2f} % {reason}: "
                "the data, the weights or the libraries are not those it was trained with"
            )


def tolerance(resolved: ResolvedTrial, top1: float, images: int) -> float:
    """Returns how far a dense top-1 may lie from the one it is held against, percentage points.

    One image is always allowed. On a part of the profile's images the sampling error comes on top.

    Args:
        resolved: The trial.
        top1: The one it is held against, percent.
        images: Number of images that were evaluated.
    """
    part = images < resolved.profile.splits[resolved.trial.evaluation_split]
    sampling = SUBSET_ERRORS * math.sqrt(max(0.0, top1 * (100 - top1)) / images) if part else 0.0
    return max(resolved.model.gate, 100 / images) + sampling

"""The pruner under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import cap
from cap.fit_resources import Progress
from cap.testing.inspection import Fitted, Violation, check_scores
from cap.testing.tiny import LAYERS, PATTERN_LAYERS, tiny_calibration, tiny_layers, tiny_model

PATTERNS: tuple[cap.Pattern, ...] = (
    cap.Unstructured(0.6),
    cap.Unstructured(0.6, scope="layer"),
    cap.Unstructured(0.6, scope="erk"),
    cap.NM(2, 4),
    cap.NM(1, 4),
    cap.NM(4, 8),
    cap.Blocks(4, 0.5),
)
"""Patterns that pruners are checked at: one of each kind."""
# values that fit the tiny model, or save time on it, for options of these names
SMALL = {"block_size": 8, "num_gradients": 40, "iterations": 10, "passes": 1, "cg_steps": 5, "images": 24}


@dataclass(frozen=True)
class Subject:
    """Pruner under test.

    Attributes:
        name: Name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: Options as the user gave them.
        progress: Function that shows the progress of fits, called with done, total, text; None to show none.
    """

    name: str
    options: Mapping[str, Any]
    progress: Progress | None = None

    def create(self) -> cap.Pruner:
        """Makes the pruner, with small values for the options that the user did not give."""
        known = cap.default_options(self.name)
        small = {key: value for key, value in SMALL.items() if key in known}
        return cap.create(self.name, **{**small, **self.options})

    def fit(
        self,
        model: nn.Module | None = None,
        calibration: cap.Calibration | None = None,
        layers: str = LAYERS,
        seed: int = 0,
    ) -> Fitted:
        """Fits a new pruner; by default to the tiny model and images."""
        # as in a sweep, the layers are not the model's own tensors unless a check needs them to be
        chosen = tiny_layers(tiny_model() if model is None else model, layers)
        model = tiny_model() if model is None else model
        dense = {name: weight.detach().clone() for name, weight in chosen.items()}
        calibration = calibration or tiny_calibration()
        calibration.device, calibration.on_progress = torch.device("cpu"), self.progress
        torch.manual_seed(seed)
        pruner = self.create()
        fitted = pruner.fit(model, chosen, calibration)
        if fitted is not pruner:
            raise Violation(f"fit returned {type(fitted).__name__}: it must end with `return self`")
        if isinstance(pruner, cap.ScorePruner):
            if not hasattr(pruner, "weights"):
                raise Violation("fit did not set self.weights: write `scores` and leave `fit` to the base class")
            check_scores(pruner, chosen)
        return Fitted(pruner, dense)

    def fit_any(
        self, model: nn.Module | None = None, calibration: cap.Calibration | None = None
    ) -> tuple[Fitted, cap.Pattern]:
        """Fits a new pruner, and returns it with the first of `PATTERNS` that it supports.

        Raises:
            Violation: If it supports none.
        """
        fitted = self.fit(model, calibration)
        pattern = next((one for one in PATTERNS if fitted.pruner.supports(one) is None), None)
        if pattern is None:
            raise Violation(f"supports refuses every pattern: {fitted.pruner.supports(PATTERNS[0])}")
        if not isinstance(pattern, cap.Unstructured):
            fitted = self.fit(model, calibration, PATTERN_LAYERS)
        return fitted, pattern

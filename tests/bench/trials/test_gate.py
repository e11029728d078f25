"""The gate against accuracies worked out by hand; the dense models themselves are tested in test_session.py."""

from __future__ import annotations

import math

import pytest
import torch

from bench.evaluation.accuracy import Accuracy
from bench.specs.trial import ResolvedTrial, Trial
from bench.trials.gate import Gate, GateError, tolerance

RESOLVED = Trial(sweep="s", profile="imagenet", model="deit_tiny", pruner="magnitude", patterns=("0.5",)).resolve()


def reached(percent: float, images: int) -> Accuracy:
    right = round(percent / 100 * images)
    labels = torch.zeros(images, dtype=torch.int64)
    classes = torch.cat([torch.zeros(right), torch.ones(images - right)]).long()
    return Accuracy(100 * right / images, 100.0, 1.0, images, classes, labels)


def test_the_tolerance_goes_by_the_number_of_images() -> None:
    assert tolerance(RESOLVED, 72.19, 50_000) == 0.3
    assert tolerance(RESOLVED, 72.19, 1000) == pytest.approx(0.3 + 4 * 100 * math.sqrt(0.7219 * 0.2781 / 1000))
    assert tolerance(RESOLVED, 0.0, 10) == 10, "one image"


def test_a_part_of_the_images_may_pass_with_the_recorded_accuracy() -> None:
    gate = Gate.of(RESOLVED)
    assert gate == Gate("recorded", 72.19)
    gate.check(RESOLVED, reached(70.0, 1000))
    with pytest.raises(GateError, match=r"deit_tiny reaches 70.00 % top-1, but 72.19 % is recorded for its weights"):
        gate.check(RESOLVED, reached(70.0, 50_000))


@pytest.mark.parametrize("percent", [1.0, 97.0])
def test_the_expected_accuracy_goes_above_the_recorded_one(percent: float) -> None:
    gate = Gate.of(RESOLVED, percent)
    gate.check(RESOLVED, reached(percent, 1000))
    with pytest.raises(GateError, match=rf"but {percent:.2f} % is expected of it"):
        gate.check(RESOLVED, reached(72.19, 1000))


def test_no_gate_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trial = RESOLVED.trial.model_copy(update={"model": "deit3_small"})
    resolved: ResolvedTrial = trial.resolve()
    gate = Gate.of(resolved)
    assert gate == Gate("none")
    gate.check(resolved, reached(12.0, 100))
    assert "deit3_small reaches 12.00 % top-1; none is on record to hold it against" in caplog.text

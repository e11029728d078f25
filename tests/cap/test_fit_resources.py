"""What hangs on a calibration set beside its images: resources of a fit, and its two parts."""

from __future__ import annotations

import pytest
import torch

import cap


def test_defaults_and_what_parts_share(calibration: cap.Calibration) -> None:
    assert calibration.memory_budget is None
    assert calibration.device == torch.device("cpu")
    calibration.progress(1, 2, "to nobody")
    shown: list[tuple[int, int, str]] = []
    calibration.on_progress = lambda *progress: shown.append(progress)
    calibration.memory_budget, calibration.device = 1000, torch.device("meta")
    for part in calibration.split(0.25):
        assert (part.memory_budget, part.device) == (1000, torch.device("meta"))
        assert part.generator is calibration.generator
        part.progress(1, 3)
    assert shown == [(1, 3, "")] * 2
    other = cap.Calibration(calibration.images, calibration.labels)
    assert torch.rand(3, generator=calibration.generator).equal(torch.rand(3, generator=other.generator))


def test_parts_are_disjoint_seeded_and_whole(calibration: cap.Calibration) -> None:
    def split(seed: int, fraction: float) -> tuple[cap.Calibration, cap.Calibration]:
        numbered = torch.arange(10).float().view(10, 1)
        return cap.Calibration(numbered, numbered.flatten().long(), batch_size=3, seed=seed).split(fraction)

    def numbers(seed: int, fraction: float = 0.3) -> list[list[int]]:
        return [part.labels.tolist() for part in split(seed, fraction)]

    fit, validation = numbers(0)
    assert (len(fit), len(validation)) == (7, 3)
    assert sorted(fit + validation) == list(range(10))
    assert numbers(0) == [fit, validation]
    assert numbers(1) != [fit, validation]
    assert [len(part) for part in numbers(0, 0.01)] == [9, 1]
    assert [len(part) for part in numbers(0, 0.99)] == [1, 9]
    part, _ = split(0, 0.3)
    assert part.images.flatten().long().equal(part.labels), "images keep their labels"
    assert (part.batch_size, part.gradient, part.seed, part.loss) == (3, "sample", 0, calibration.loss)
    for fraction in (0.0, 1.0):
        with pytest.raises(ValueError, match="cannot split 48 images by"):
            calibration.split(fraction)

from __future__ import annotations

import pytest
import torch

import cap


def test_batch_gradients_go_around(model, layers, calibration) -> None:
    batched = cap.Calibration(calibration.images, calibration.labels, batch_size=20, gradient="batch")
    assert len(list(batched.gradients(model, layers, 7))) == 7


def test_frozen_model_in_training_mode_is_left_as_it_was(model, layers, calibration) -> None:
    model.train().requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for gradient in ("sample", "batch"):
        calibration.gradient = gradient
        list(calibration.gradients(model, layers))
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


def test_bad_input() -> None:
    images, labels = torch.zeros(4, 1), torch.zeros(3)
    with pytest.raises(ValueError, match="4 images and 3 labels"):
        cap.Calibration(images, labels)
    with pytest.raises(ValueError, match="sample or batch"):
        cap.Calibration(images, images, gradient="mean")
    with pytest.raises(ValueError, match="batch size 0"):
        cap.Calibration(images, images, batch_size=0)


def test_too_many_gradients_is_an_error(model, layers, calibration) -> None:
    with pytest.raises(ValueError, match="49 per-sample gradients need as many images, but calibration has 48"):
        list(calibration.gradients(model, layers, 49))

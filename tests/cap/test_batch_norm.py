from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

import cap
from cap.batch_norm import has_batch_norm, reestimate_batch_norm


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=0.3),
        nn.Flatten(), nn.Linear(4 * 36, 5),
    ).eval()  # fmt: skip


def calibration(images: int = 12, batch_size: int = 4) -> cap.Calibration:
    torch.manual_seed(1)
    return cap.Calibration(
        3 * torch.randn(images, 3, 8, 8) + 1, torch.zeros(images, dtype=torch.int64), batch_size=batch_size
    )


def test_statistics_are_those_that_torch_finds() -> None:
    model, images = net(), calibration()
    expected = copy.deepcopy(model)
    update_bn(images.images.split(4), expected)
    before = {name: value.clone() for name, value in model.named_parameters()}
    reestimate_batch_norm(model, images)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert not any(one.training for one in model.modules())
    assert (model[1].momentum, model[4].momentum) == (0.1, 0.3)


def test_dropout_is_not_drawn_and_a_part_of_a_batch_is_not_used() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).eval()
    images = calibration(images=10, batch_size=4)
    reestimate_batch_norm(model, images)
    first = [batch.mean((0, 2, 3)) for batch in images.images[:8].split(4)]
    torch.testing.assert_close(model[1].running_mean, torch.stack(first).mean(0))
    few = calibration(images=3, batch_size=4)
    reestimate_batch_norm(model, few)
    torch.testing.assert_close(model[1].running_mean, few.images.mean((0, 2, 3)))


@pytest.mark.parametrize(("images", "batch_size"), [(1, 4), (4, 1)])
def test_a_batch_of_one_image_is_refused(images: int, batch_size: int) -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="need at least two images in a batch"):
        reestimate_batch_norm(model, calibration(images, batch_size))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_models_without_running_statistics_have_none() -> None:
    assert has_batch_norm(net())
    assert not has_batch_norm(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))
    assert not has_batch_norm(nn.BatchNorm2d(3, track_running_stats=False))

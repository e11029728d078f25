from __future__ import annotations

import pytest
import torch
from torch import nn

from cap.training.averaging import WeightAverage
from cap.training.masks import Masks
from cap.training.trainer import Training


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_the_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average, expected = WeightAverage(model, 0.5), 1.0
    for step in range(12):
        nn.init.constant_(model.weight, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.values["weight"]) == pytest.approx(expected)
    again = WeightAverage(model, 0.5)
    again.load_state_dict(average.state_dict())
    for one in (average, again):
        one.update()
    assert torch.equal(again.values["weight"], average.values["weight"])
    average.restart()
    assert torch.equal(average.values["weight"], model.weight)


def test_running_statistics_are_averaged_and_counters_taken() -> None:
    model = small()
    average = WeightAverage(model, 0.9)
    model[1].running_mean.fill_(10.0)
    model[1].num_batches_tracked.fill_(7)
    average.update()
    assert average.values["1.running_mean"].tolist() == pytest.approx([9.0] * 4), "the first decay is a tenth"
    assert average.values["1.num_batches_tracked"] == 7


def test_a_decay_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"ema=1\.0 is not valid: the decay is at least 0 and below 1"):
        WeightAverage(nn.Linear(1, 1), 1.0)


def training(model: nn.Module, ema: float) -> Training:
    torch.manual_seed(1)
    batches = [(torch.randn(8, 3), torch.randint(2, (8,))) for _ in range(6)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Training(model, optimizer, lambda epoch, skip: batches[skip:], lambda step: 0.1, ema=ema)


def test_what_is_masked_stays_zero_in_the_average() -> None:
    model = small()
    run = training(model, 0.9)
    masks = {"0.weight": torch.rand(4, 3) > 0.5}
    run.set_masks(masks)
    run.run_epoch(0)
    averaged = run.averaged()
    assert averaged is not model
    assert (averaged[0].weight[~masks["0.weight"]] == 0).all()
    assert not torch.equal(averaged[0].weight, model[0].weight)
    assert isinstance(run.masks, Masks)
    plain = small()
    last = training(plain, 0.0)
    last.set_masks(masks)
    last.run_epoch(0)
    assert last.averaged() is plain
    assert torch.equal(plain[0].weight, model[0].weight), "the average leaves the training as it is"


def test_a_training_goes_on_with_its_average() -> None:
    whole = training(small(), 0.9)
    for epoch in range(2):
        whole.run_epoch(epoch)
    first = training(small(), 0.9)
    first.run_epoch(0)
    state, weights = first.state_dict(), first.model.state_dict()
    second = training(small(), 0.9)
    second.model.load_state_dict(weights)
    second.load_state_dict(state)
    second.run_epoch(1)
    for one, other in zip(whole.averaged().state_dict().values(), second.averaged().state_dict().values(), strict=True):
        assert torch.equal(one, other)

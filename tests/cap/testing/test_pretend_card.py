from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cap.testing.pretend_card import pretend_card


def test_what_a_card_refuses() -> None:
    with pretend_card():
        there, here = torch.ones(2, 3, device="cuda:0"), torch.ones(2, 3)
        assert there.device == torch.device("cuda", 0)
        assert there.is_cuda
        for mixed in (
            lambda: there + here,
            lambda: here.add_(there),
            lambda: torch.cat([there, here]),
            lambda: here[there > 0],
            lambda: nn.Linear(3, 3)(there),
            lambda: there.index_fill_(0, torch.tensor([0]), 1.0),
        ):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
            torch.rand(2, device="cuda:0", generator=torch.Generator())


def test_what_a_card_does() -> None:
    with pretend_card():
        values = torch.arange(6.0, device="cuda:0").view(2, 3)
        assert (values * torch.tensor(2.0)).sum().item() == 30, "a single number may come from the CPU"
        assert values[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]], "indices, too"
        row = values[0]
        row += 10
        values[:, 1] = -1
        assert values.cpu().tolist() == [[10.0, -1.0, 12.0], [3.0, -1.0, 5.0]], "a view writes into what it is of"
        assert values.to("cpu").numpy().sum() == values.sum().item()
        model = copy.deepcopy(nn.Linear(3, 2).to("cuda:0"))
        model(values).square().sum().backward()
        assert isinstance(model.weight, nn.Parameter)
        assert model.weight.grad.is_cuda
    assert not torch.cuda.is_available() or torch.ones(1, device="cuda").is_cuda
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_memory_is_counted() -> None:
    with pretend_card() as card:
        room = torch.empty(1000, dtype=torch.float64, device="cuda:0")
        assert card.allocated == torch.cuda.memory_allocated() == 8000
        view = room[:10]
        del room
        assert card.allocated == 8000, "a view holds it"
        del view
        assert (card.allocated, card.peak) == (0, 8000)
        card.reset_peak()
        assert torch.cuda.max_memory_allocated() == 0

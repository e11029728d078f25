"""The memory that a fit was planned to take against the most that it took on the card."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import cap

Record = Callable[[str, object], None]
WORKSPACES = 2**26  # bytes that CUDA's libraries keep for themselves, which no plan knows


@pytest.mark.parametrize("share_of_one_pass", [1.0, 0.5])
def test_a_fit_stays_within_its_plan(card: str, device: str, share_of_one_pass: float, record_property: Record) -> None:
    if device == "cpu" and share_of_one_pass < 1:
        pytest.skip("a small model takes little beside its scratch: there is nothing to save")
    width, m, block_size = (1024, 512, 128) if device != "cpu" else (64, 48, 16)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Linear(width, 10))
    model = model.to(card)
    calibration = cap.Calibration(torch.randn(m, width), torch.randint(0, 10, (m,)), batch_size=64)
    pruner, layers = cap.create("cap", block_size=block_size), cap.select_layers(model, [r"[02]\.weight"])
    calibration.memory_budget = 2**36
    whole = pruner.plan(model, layers, calibration)
    calibration.memory_budget = int(share_of_one_pass * whole.peak_bytes) + 1
    plan = pruner.plan(model, layers, calibration)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(card)
    torch.cuda.reset_peak_memory_stats(card)
    pruner.fit(model, layers, calibration)
    taken = torch.cuda.max_memory_allocated(card) - before
    record_property("planned_bytes", plan.peak_bytes)
    record_property("taken_bytes", taken)
    record_property("passes", len(plan.passes))
    assert plan.peak_bytes <= calibration.memory_budget
    assert taken <= plan.peak_bytes + (WORKSPACES if device != "cpu" else 0)


def test_what_a_card_has_free(card: str) -> None:
    free = cap.device_memory.free_memory(card)
    room = torch.ones(2**20, device=card)
    assert cap.device_memory.free_memory(card) <= free
    assert 0 < cap.default_budget(card) < free
    del room

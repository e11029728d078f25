"""One process in a group over the card's backend; two of them: tests/bench/trials/test_distributed.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cap.testing import tiny_calibration, tiny_model


@pytest.fixture
def group(tmp_path: Path, device: str) -> Iterator[None]:
    backend = "nccl" if device != "cpu" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_sums_and_messages(group: None, device: str) -> None:
    for dtype in (torch.float64, torch.float32, torch.int64, torch.uint8):
        values = torch.arange(5, device=device).to(dtype)
        dist.all_reduce(values)
        dist.broadcast(values, 0)
        assert values.tolist() == [0, 1, 2, 3, 4]
    messages = dist.new_group(backend="gloo")
    found = [None]
    dist.all_gather_object(found, {"a": 1}, messages)
    assert found == [{"a": 1}]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_are_those_without_a_group(group: None, device: str, precision: torch.dtype) -> None:
    plain, data = tiny_model().to(device), tiny_calibration()
    parallel = DistributedDataParallel(copy.deepcopy(plain))
    for model in (plain, parallel):
        with torch.autocast(torch.device(device).type, precision, enabled=precision != torch.float32):
            loss = nn.functional.cross_entropy(model(data.images.to(device)).float(), data.labels.to(device))
        loss.backward()
    for one, other in zip(plain.parameters(), parallel.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5)

from __future__ import annotations

import math

import pytest
import torch

from bench.models import get_model
from bench.scripts.optimization import create_optimizer, create_scheduler


def test_the_rate_rises_and_falls_as_the_committed_weights_were_trained() -> None:
    steps, warmup = 50, 7
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = create_scheduler(optimizer, steps, warmup)
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        expected = 0.3 * ((step + 1) / warmup if step < warmup else cosine)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["vit", "convnext", "xcit"])
def test_matrices_decay_and_nothing_else(name: str) -> None:
    model = get_model("embedded", name).build()
    groups = create_optimizer(model, lr=0.1, weight_decay=0.05).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for parameter_name, parameter in model.named_parameters():
        exempt = parameter.ndim < 2 or "embed" in parameter_name or "token" in parameter_name
        assert decay[id(parameter)] == (0.0 if exempt else 0.05), parameter_name

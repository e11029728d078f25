from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.data.fashion_mnist import PaddedInputs, Split, to_input
from bench.evaluation.accuracy import evaluate


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_sums_over_samples_whatever_the_batch(batch_size: int) -> None:
    torch.manual_seed(0)
    split = Split(torch.randint(0, 256, (23, 1, 8, 8), dtype=torch.uint8), torch.randint(0, 9, (23,)))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Dropout(0.9)).train()
    accuracy = evaluate(model, PaddedInputs(split, 8), batch_size)
    logits = model.eval()(to_input(split.images, 8)).detach()
    ranks = (logits > logits.gather(1, split.labels[:, None])).sum(1)  # how many classes beat the label
    assert accuracy.top1 == pytest.approx(100 * (ranks == 0).float().mean().item())
    assert accuracy.top5 == pytest.approx(100 * (ranks < 5).float().mean().item())
    assert accuracy.loss == pytest.approx(F.cross_entropy(logits, split.labels).item(), rel=1e-5)
    assert accuracy.n_images == 23

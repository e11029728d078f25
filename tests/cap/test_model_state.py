from __future__ import annotations

import torch
from torch import nn

from bench.data.inputs import TensorInputs
from bench.evaluation.accuracy import evaluate
from cap.model_state import evaluating, full_precision


def precisions() -> list[str]:
    backends = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
    return [backend.fp32_precision for backend in backends]


def test_float32_is_float32_on_a_card() -> None:
    """TF32 has ten bits, which is less than a mask takes; it is PyTorch's default for convolutions."""
    model, seen, before = nn.Linear(2, 2), [], precisions()
    model.register_forward_hook(lambda *_: seen.append(precisions()))
    with evaluating(model):
        model(torch.zeros(1, 2))
    evaluate(model, TensorInputs(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)))
    with full_precision():
        seen.append(precisions())
    assert seen == [["ieee"] * 3] * 3
    assert precisions() == before
    assert torch.backends.cudnn.allow_tf32, "the old names can be read as before"

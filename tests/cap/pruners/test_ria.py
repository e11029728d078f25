"""RIA by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cap


def test_scores_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -3.0], [4.0, 0.0]]))
    calibration = cap.Calibration(torch.tensor([[3.0, 0.0], [4.0, 2.0]]), torch.tensor([0, 1]))  # norms 5 and 2
    layers = cap.select_layers(model, [".*weight"])
    scores = cap.create("ria").fit(model, layers, calibration).importance["0.weight"]
    # of w = 1 the shares are 1/5 in its input and 1/4 in its output, of -3: 3/3 and 3/4, of 4: 4/5 and 4/4
    expected = torch.tensor([[0.45 * 5**0.5, 1.75 * 2**0.5], [1.8 * 5**0.5, 0.0]]).double()
    torch.testing.assert_close(scores / scores[1, 0], expected / expected[1, 0])
    plain = cap.create("ria", power=0).fit(model, layers, calibration).importance["0.weight"]
    torch.testing.assert_close(plain, torch.tensor([[0.45, 1.75], [1.8, 0.0]]).double())


def test_outputs_and_inputs_of_zeros_have_no_share(model: nn.Module, layers, calibration) -> None:
    with torch.no_grad():
        model.fc1.weight[3], model.fc1.weight[:, 2] = 0, 0
    scores = cap.create("ria").fit(model, layers, calibration).importance["fc1.weight"]
    assert scores.isfinite().all()
    assert not scores[3].any()
    assert not scores[:, 2].any()


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"power=-1 is not valid: it is a number of at least 0"):
        cap.create("ria", power=-1)

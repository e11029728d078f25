from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

import cap
from cap.columns import as_columns, conjugate_gradients, from_columns, input_means, split_count


def test_columns_round_trip() -> None:
    for shape in ((6, 4), (6, 4, 3, 2)):
        weight = torch.randn(shape)
        columns = as_columns(weight, 2)
        assert columns.shape[:2] == (2, 3)
        assert from_columns(columns, weight).equal(weight)
    assert columns[0, 0, :4].equal(weight[0, :, 0, 0])  # inputs side by side


def test_split_counts_add_up() -> None:
    for sparsity, rows in itertools.product((0.1, 0.33, 0.5, 0.98), (1, 7, 64)):
        removed = round(sparsity * rows * 273)
        counts = split_count(removed, [128 * rows, 128 * rows, 17 * rows])
        assert sum(counts) == removed
        assert all(0 <= count <= width * rows for count, width in zip(counts, (128, 128, 17), strict=True))


def test_conjugate_gradients_solve_every_output_on_its_support() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 50, 6, dtype=torch.float64)
    dense, support = torch.randn(2, 4, 6, dtype=torch.float64), torch.rand(2, 4, 6) < 0.6
    dense[0, 1], support[1, 2] = 0, False
    found = conjugate_gradients(dense, x.transpose(1, 2) @ x, torch.zeros_like(dense), support, 20)
    for group, row in itertools.product(range(2), range(4)):
        keep, expected = support[group, row], torch.zeros(6, dtype=torch.float64)
        expected[keep] = torch.linalg.lstsq(x[group][:, keep], x[group] @ dense[group, row]).solution
        torch.testing.assert_close(found[group, row], expected, rtol=1e-3, atol=1e-3)


def test_means_of_a_statistic_are_those_over_all_images() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(2, 3, 2)), torch.randn(10, 2, 3, 3)
    calibration = cap.Calibration(images, torch.zeros(10, dtype=torch.long), batch_size=4)
    layers = cap.select_layers(model, [".*weight"])
    [found] = input_means(model, layers, calibration, lambda x: x.sum(1)).values()
    expected = F.unfold(images.double(), 2).sum(2).mean(0).view(2, 4).T.reshape(1, 8)  # by position, then by input
    torch.testing.assert_close(found, expected)

from __future__ import annotations

import itertools

import torch

from cap.columns import as_columns, from_columns, split_count


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

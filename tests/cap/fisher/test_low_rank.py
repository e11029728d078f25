"""The inverse of a large block against the one that is known of gradients with given singular values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cap.fisher import low_rank
from cap.fisher.low_rank import TOLERANCE, invert_low_rank


def gradients_and_inverse(m: int, size: int, damp: float, smallest: float) -> tuple[Tensor, Tensor]:
    """Returns gradients with singular values from 1 down to `smallest` times sqrt(m), and the inverse of their F."""
    generator = torch.Generator().manual_seed(m + size)
    rank = min(m, size)
    left = torch.linalg.qr(torch.randn(m, rank, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    values = torch.logspace(0, torch.tensor(smallest).log10().item(), rank, dtype=torch.float64) * m**0.5
    eigenvalues = torch.full((size,), damp, dtype=torch.float64)
    eigenvalues[:rank] += values.square() / m
    return left * values @ right[:, :rank].T, right / eigenvalues @ right.T


@pytest.mark.parametrize(("m", "size", "damp", "smallest", "way"), [
    (60, 20, 1e-3, 1e-2, "_cholesky"),
    (20, 20, 1e-9, 1e-3, "_cholesky"),
    (60, 20, 1e-14, 1e-6, "_orthogonal"),  # the sum of squares has no six digits left
    (20, 60, 1e-3, 1e-1, "_woodbury"),
    (60, 61, 1e-10, 1e-2, "_woodbury"),
])  # fmt: skip
def test_the_first_way_that_is_accurate(
    monkeypatch: pytest.MonkeyPatch, m: int, size: int, damp: float, smallest: float, way: str
) -> None:
    gradients, inverse = gradients_and_inverse(m, size, damp, smallest)
    found = invert_low_rank(gradients, damp)
    assert found is not None
    torch.testing.assert_close(found.diagonal(), inverse.diagonal(), rtol=10 * TOLERANCE, atol=0)
    vector = torch.linspace(-1, 1, size, dtype=torch.float64)
    expected = inverse @ vector
    torch.testing.assert_close(found.times(vector), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    monkeypatch.setattr(low_rank, way, lambda rows, damp: None)  # without it another way, or none
    other = invert_low_rank(gradients, damp)
    assert other is None or not torch.equal(other.root, found.root)
    if other is not None:
        torch.testing.assert_close(other.diagonal(), inverse.diagonal(), rtol=10 * TOLERANCE, atol=0)


def test_gradients_beyond_double_precision_have_none() -> None:
    gradients, _ = gradients_and_inverse(30, 20, 1e-26, 1e-12)
    assert invert_low_rank(gradients, 1e-26) is None

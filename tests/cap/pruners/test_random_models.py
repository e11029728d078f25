"""Every pruner on random small models: exact, in the pattern, repeatable, finite, or refused.

The examples are the same in every run; with the environment variable CAP_FUZZ=2000 as many new ones are drawn.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import cap

WIDTH = 8  # channels and features everywhere, so that N:M groups and blocks of 4 fit
NEW = int(os.environ.get("CAP_FUZZ", "0"))
KINDS = ("conv", "grouped", "depthwise", "mlp", "attention")
PATTERNS = st.one_of(
    st.builds(
        cap.Unstructured,
        st.integers(0, 99).map(lambda percent: percent / 100),
        scope=st.sampled_from(["global", "layer", "erk"]),
    ),
    st.sampled_from([cap.NM(1, 4), cap.NM(2, 4), cap.NM(3, 4), cap.NM(4, 8)]),
    st.integers(0, 90).map(lambda percent: cap.Blocks(4, percent / 100)),
)


class Conv(nn.Module):
    """Residual convolution on images, with batch norm."""

    def __init__(self, groups: int, kernel: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(WIDTH, WIDTH, kernel, padding=kernel // 2, groups=groups)
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.weights(x)))


class MLP(nn.Module):
    """Residual MLP on the positions of images."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, hidden), nn.Linear(hidden, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(x.movedim(1, -1)))).movedim(-1, 1)


class Attention(nn.Module):
    """Residual attention between the positions of images, query, key and value fused."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(mixed).transpose(1, 2).view_as(x)


def part(kind: str, size: int) -> nn.Module:
    match kind:
        case "conv":
            return Conv(1, (1, 3)[size % 2])
        case "grouped":
            return Conv(2, (1, 3)[size % 2])
        case "depthwise":
            return Conv(WIDTH, 3)
        case "mlp":
            return MLP(8 * (1 + size))
        case _:
            return Attention()


@dataclass(frozen=True)
class Case:
    """A model with its images, and what is to be pruned how."""

    kinds: tuple[tuple[str, int], ...]
    dtype: torch.dtype
    scale: float
    zeros: float
    images: int
    gradient: str
    seed: int
    patterns: tuple[cap.Pattern, ...]

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        parts = [part(kind, size) for kind, size in self.kinds]
        model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 3))
        with torch.no_grad():
            for weight in self.layers(model).values():
                weight.mul_(self.scale).mul_(torch.rand(weight.shape) >= self.zeros)
        return model.to(self.dtype).eval()

    @staticmethod
    def layers(model: nn.Module) -> dict[str, nn.Parameter]:
        return cap.select_layers(model, [r".*(weights|fc\d|qkv|proj)\.weight"])

    def calibration(self) -> cap.Calibration:
        generator = torch.Generator().manual_seed(self.seed)
        images = torch.randn(self.images, WIDTH, 3, 3, generator=generator, dtype=self.dtype)
        labels = torch.randint(0, 3, (self.images,), generator=generator)
        return cap.Calibration(images, labels, batch_size=5, gradient=self.gradient)  # type: ignore[arg-type]

    def fit(self, name: str, model: nn.Module) -> cap.Pruner:
        known = cap.default_options(name)
        small = {"block_size": 8, "num_gradients": self.calibration().count()}
        pruner = cap.create(name, **{key: value for key, value in small.items() if key in known})
        torch.manual_seed(self.seed)
        return pruner.fit(model, self.layers(model), self.calibration())


CASES = st.builds(
    Case,
    kinds=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1)), min_size=1, max_size=3).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    zeros=st.sampled_from([0.0, 0.0, 0.3, 0.8, 1.0]),
    images=st.integers(1, 12),
    gradient=st.sampled_from(["sample", "batch"]),
    seed=st.integers(0, 10_000),
    patterns=st.lists(PATTERNS, min_size=2, max_size=3).map(tuple),
)


@pytest.mark.parametrize("name", cap.available())
@settings(
    max_examples=NEW or 12, derandomize=not NEW, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(case=CASES)
def test_exact_and_finite_or_refused(name: str, case: Case) -> None:
    model = case.model()
    before = copy.deepcopy(model.state_dict())
    try:
        pruner = case.fit(name, model)
    except ValueError as error:
        _check_refusal(str(error))
        return
    results: list[tuple[cap.Pattern, cap.PrunedWeights]] = []
    for pattern in (*case.patterns, *case.patterns):  # the second time after all others
        try:
            results.append((pattern, pruner.prune(pattern)))
        except ValueError as error:
            _check_refusal(str(error))
    for name_of, value in model.state_dict().items():
        assert value.equal(before[name_of]), f"{name_of} of the model changed"
    layers = {layer: weight.detach() for layer, weight in case.layers(model).items()}
    for pattern, pruned in results:
        _check_pruned(pattern, pruned, layers)
    for (pattern, one), (_, other) in zip(results[: len(results) // 2], results[len(results) // 2 :], strict=True):
        for layer in layers:
            assert one.weights[layer].equal(other.weights[layer]), f"{pattern} depends on what was pruned before"
    if pruner.monotone:
        _check_nested(results)
    if results:
        _check_idempotent(name, case, *results[0])


def _check_refusal(text: str) -> None:
    assert text, "a refusal must say why"
    assert "\n" not in text


def _check_pruned(pattern: cap.Pattern, pruned: cap.PrunedWeights, layers: Mapping[str, Tensor]) -> None:
    assert pruned.weights.keys() == pruned.masks.keys() == layers.keys()
    for layer, dense in layers.items():
        weight, mask = pruned.weights[layer], pruned.masks[layer]
        assert weight.shape == mask.shape == dense.shape
        assert weight.dtype == dense.dtype
        assert weight.isfinite().all(), f"{layer} at {pattern}"
        assert not weight[~mask].any(), f"{layer} at {pattern}"
        assert not weight[dense == 0].any(), f"{layer} at {pattern}: a weight came back"
    _check_counts(pattern, pruned.masks)


def _check_counts(pattern: cap.Pattern, masks: Mapping[str, Tensor]) -> None:
    gone = {layer: int((~mask).sum()) for layer, mask in masks.items()}
    total = sum(mask.numel() for mask in masks.values())
    match pattern:
        case cap.NM(keep=keep, of=of):
            for layer, mask in masks.items():
                groups = mask.movedim(1, -1).reshape(-1, of)  # along the inputs, at each kernel position
                assert (groups.sum(1) == keep).all(), layer
        case cap.Blocks(size=size, sparsity=sparsity):
            kept = torch.cat([mask.reshape(-1, size).sum(1) for mask in masks.values()])
            assert set(kept.tolist()) <= {0, size}
            assert int((kept == 0).sum()) in _nearest(sparsity, total // size)
        case cap.Unstructured(sparsity=sparsity, scope="layer"):
            for layer, mask in masks.items():
                assert gone[layer] in _nearest(sparsity, mask.numel()), layer
        case cap.Unstructured(sparsity=sparsity):
            assert sum(gone.values()) in _nearest(sparsity, total)


def _nearest(sparsity: float, total: int) -> set[int]:
    """Returns the whole numbers nearest to a share: two where it lies in the middle between them."""
    share = Fraction(str(sparsity)) * total
    return {math.floor(share + Fraction(1, 2)), math.ceil(share - Fraction(1, 2))}


def _check_nested(results: list[tuple[cap.Pattern, cap.PrunedWeights]]) -> None:
    pairs: Iterator[tuple[tuple[cap.Pattern, cap.PrunedWeights], ...]] = itertools.permutations(results, 2)
    for (low, lower), (high, higher) in pairs:
        if not isinstance(low, cap.Unstructured) or not isinstance(high, cap.Unstructured):
            continue
        if low.scope != high.scope or low.scope == "erk" or low.sparsity > high.sparsity:
            continue
        for layer, mask in higher.masks.items():
            assert not (mask & ~lower.masks[layer]).any(), f"{layer}: {high} keeps what {low} removes"


def _check_idempotent(name: str, case: Case, pattern: cap.Pattern, pruned: cap.PrunedWeights) -> None:
    """What is pruned already is pruned to the same mask by a new fit."""
    model = case.model()
    pruned.apply_to(model)
    try:
        again = case.fit(name, model).prune(pattern)
    except ValueError as error:
        _check_refusal(str(error))
        return
    for layer, mask in pruned.masks.items():
        kept = pruned.weights[layer] != 0
        assert not again.weights[layer][~kept].any(), f"{layer} at {pattern}"
        assert (again.masks[layer] == mask).all() or not kept.equal(mask), f"{layer} at {pattern}"

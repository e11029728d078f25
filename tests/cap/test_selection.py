from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cap import NM, Blocks, Unstructured
from cap.selection import count_removed, count_violations, keep_highest, layer_counts, select

# few distinct values, so that ties are the rule
SCORES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5, float("inf")]), min_size=1, max_size=60)


@given(SCORES, st.data())
def test_exact_count_and_ties_by_position(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values)))
    keep = keep_highest(torch.tensor(values), k).tolist()
    by_hand = sorted(range(len(values)), key=lambda i: (values[i], i))[:k]
    assert [i for i, kept in enumerate(keep) if not kept] == sorted(by_hand)


@given(SCORES, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_masks_are_monotone(values: list[float], one: float, other: float) -> None:
    scores = {"a": torch.tensor(values), "b": torch.tensor(values[::-1])}
    low, high = (select(scores, Unstructured(s)) for s in sorted((one, other)))
    assert all((low[name] | ~high[name]).all() for name in scores)


@given(SCORES, SCORES, st.floats(0, 1, exclude_max=True))
def test_global_scope_ranks_layers_together(first: list[float], second: list[float], sparsity: float) -> None:
    scores = {"a": torch.tensor(first), "b": torch.tensor(second)}
    masks = select(scores, Unstructured(sparsity))
    together = keep_highest(torch.tensor(first + second), count_removed(sparsity, len(first) + len(second)))
    assert torch.cat([masks["a"], masks["b"]]).equal(together)


@given(SCORES, SCORES, st.floats(0, 1, exclude_max=True))
def test_layer_scope_is_uniform(first: list[float], second: list[float], sparsity: float) -> None:
    scores = {"a": torch.tensor(first), "b": torch.tensor(second)}
    for name, mask in select(scores, Unstructured(sparsity, scope="layer")).items():
        assert int((~mask).sum()) == round(sparsity * len(scores[name]))


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3, 3)])
@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8)])
def test_nm_keeps_the_highest_of_consecutive_inputs(shape: tuple[int, ...], pattern: NM) -> None:
    scores = torch.rand(shape)
    mask = select({"a": scores}, pattern)["a"]
    for out in range(shape[0]):
        for place in range(scores[0, 0].numel()):
            row = scores[out].reshape(shape[1], -1)[:, place]
            kept = mask[out].reshape(shape[1], -1)[:, place]
            for start in range(0, shape[1], pattern.of):
                group = row[start : start + pattern.of]
                best = set(group.topk(pattern.keep).indices.tolist())
                assert set(kept[start : start + pattern.of].nonzero().flatten().tolist()) == best


def test_nm_needs_a_multiple_of_m_inputs() -> None:
    with pytest.raises(ValueError, match="fc has 6 inputs, which are no multiple of 4"):
        select({"fc": torch.rand(4, 6)}, NM(2, 4))


def test_blocks_go_as_a_whole() -> None:
    mask = select({"a": torch.rand(4, 8), "b": torch.rand(2, 4)}, Blocks(4, 0.5))
    blocks = torch.cat([mask["a"].view(-1, 4), mask["b"].view(-1, 4)])
    assert (blocks.all(1) | ~blocks.any(1)).all()
    assert int((~blocks).sum()) == 20


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        keep_highest(torch.tensor([1.0, float("nan")]), 1)


def test_erk_by_hand() -> None:
    """Densities are in the ratio of (n_out + n_in + kernel) / size, and a small layer stays whole."""
    shapes = {"wide": (100, 100), "conv": (10, 20, 3, 3), "tiny": (2, 3)}
    removed = layer_counts(shapes, Unstructured(0.9, scope="erk"))
    total = 10_000 + 1800 + 6
    assert sum(removed.values()) == round(0.9 * total)
    assert removed["tiny"] == 0
    left = total - round(0.9 * total) - 6
    assert abs((10_000 - removed["wide"]) - left * 200 / 236) <= 1
    assert abs((1800 - removed["conv"]) - left * 36 / 236) <= 1


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6), st.floats(0, 0.999))
def test_erk_is_exact_and_possible(shapes: list[tuple[int, int]], sparsity: float) -> None:
    named: dict[str, tuple[int, ...]] = {str(i): shape for i, shape in enumerate(shapes)}
    removed = layer_counts(named, Unstructured(sparsity, scope="erk"))
    sizes = {name: shape[0] * shape[1] for name, shape in named.items()}
    assert sum(removed.values()) == round(sparsity * sum(sizes.values()))
    assert all(0 <= removed[name] <= sizes[name] for name in sizes)


def test_violations_are_counted() -> None:
    weight = torch.tensor([[1.0, 2, 3, 0], [0, 0, 0, 0]])
    other = torch.ones(2, 4)
    both = {"a": weight, "b": other}
    assert count_violations({"a": weight}, NM(2, 4)) == 1
    assert count_violations(both, NM(1, 4)) == 2 + 3 + 3
    assert count_violations({"a": weight}, NM(3, 4)) == 0
    assert count_violations(both, Unstructured(0.5)) == 8 - 5
    assert count_violations(both, Unstructured(0.3)) == 0
    assert count_violations(both, Unstructured(0.25, scope="layer")) == 2
    assert count_violations(both, Unstructured(0.25, scope="erk")) == 2  # equal shapes, equal budgets
    assert count_violations(both, Blocks(4, 0.5)) == 1
    assert count_violations(both, Blocks(4, 0.25)) == 0
    assert count_violations({"conv": torch.ones(1, 4, 1, 2)}, NM(1, 4)) == 6  # inputs of one kernel position
    with pytest.raises(ValueError, match="no multiple of 3"):
        count_violations(both, NM(1, 3))


@pytest.mark.parametrize(
    "pattern", [Unstructured(0.6), Unstructured(0.6, scope="erk"), NM(1, 2), Blocks(2, 0.6)], ids=str
)
def test_what_is_selected_has_no_violations(pattern) -> None:
    scores = {"a": torch.rand(6, 4), "b": torch.rand(4, 2, 3, 3)}
    assert count_violations(select(scores, pattern), pattern) == 0
    assert count_violations({name: torch.ones_like(score) for name, score in scores.items()}, pattern) > 0

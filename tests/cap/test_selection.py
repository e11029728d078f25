from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cap import NM, Blocks, Unstructured
from cap.selection import count_removed, keep_highest, select

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

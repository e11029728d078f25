"""CAP: its objective, its prefixes and their updates."""

from __future__ import annotations

import pytest
import torch

import cap
from cap.fisher.blocks import split_blocks
from cap.pruners.correlation_aware import removed_prefixes


def test_cap_beats_woodfisher_on_its_own_objective(model, layers, calibration) -> None:
    """The quadratic form that both minimise is lower for CAP's weights, where interactions among the removed count."""
    options = {"block_size": 16, "damp": 1e-4}
    pruners = {name: cap.create(name, **options).fit(model, layers, calibration) for name in ("cap", "woodfisher")}

    def rise(name: str, sparsity: float) -> float:
        pruned = pruners[name].prune(cap.Unstructured(sparsity, scope="layer"))
        total = 0.0
        for layer, factor in pruners[name].factors.items():
            inverse = factor.inverse(slice(0, len(factor.order)))
            change = (pruned.weights[layer] - layers[layer]).detach().reshape(-1, 16, 1).double()
            total += float((change.transpose(1, 2) @ torch.linalg.inv(inverse) @ change).sum() / 2)
        return total

    for sparsity in (0.5, 0.75, 0.9):
        assert rise("cap", sparsity) < rise("woodfisher", sparsity)


def test_predicted_loss_is_that_of_the_weights(model, layers, calibration) -> None:
    """CAP's cumulative loss at its last removal is the quadratic form at the pruned weights."""
    pruner = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    pruned = pruner.prune(cap.Unstructured(0.6))
    for name, factor in pruner.factors.items():
        inverse = factor.inverse(slice(0, len(factor.order)))
        change = (pruned.weights[name] - layers[name]).detach().reshape(-1, 16, 1).double()
        actual = (change.transpose(1, 2) @ torch.linalg.inv(inverse) @ change).flatten() / 2
        gone = ~pruned.masks[name].reshape(-1, 16)
        predicted = (pruner.importance[name].reshape(-1, 16) * gone).max(dim=1).values
        torch.testing.assert_close(actual, predicted, rtol=1e-4, atol=1e-9)


def test_removed_prefixes_are_read_off_and_equal_the_joint_solve(model, layers, calibration) -> None:
    pruner = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    for sparsity in (0.2, 0.6, 0.95):
        masks = pruner.prune(cap.Unstructured(sparsity)).masks
        read = pruner.update(masks)
        for name in layers:
            assert removed_prefixes(pruner.factors[name], split_blocks(masks[name], pruner.block_size)) is not None
            torch.testing.assert_close(read[name], pruner.joint_update(name, masks[name]), rtol=1e-4, atol=1e-5)


def test_any_mask_gets_the_joint_update(model, layers, calibration) -> None:
    """A mask of the user's own skips weights in CAP's order."""
    pruner = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    masks = {name: torch.rand(weight.shape) < 0.5 for name, weight in layers.items()}
    for name, weights in pruner.update(masks).items():
        assert removed_prefixes(pruner.factors[name], split_blocks(masks[name], pruner.block_size)) is None
        inverse = pruner.factors[name].inverse(slice(0, len(pruner.factors[name].order)))
        blocks = pruner.weights[name].reshape(-1, 16)
        theirs = cap.compensate(blocks, inverse, masks[name].reshape(-1, 16))
        torch.testing.assert_close(weights.reshape(-1, 16), theirs)


def test_max_sparsity_of_cap(model, calibration) -> None:
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    whole = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    some = cap.create("cap", block_size=16, damp=1e-4, max_sparsity=0.75).fit(model, layers, calibration)
    for pattern in (cap.Unstructured(0.1), cap.NM(2, 4)):
        one, other = whole.prune(pattern), some.prune(pattern)
        for name in layers:
            assert one.masks[name].equal(other.masks[name])
            torch.testing.assert_close(one.weights[name], other.weights[name], rtol=1e-4, atol=1e-5)
    pruned = some.prune(cap.Unstructured(0.75))
    assert all((~mask.reshape(-1, 16)).sum(1).eq(12).all() for mask in pruned.masks.values())
    with pytest.raises(ValueError, match=r"stop at max_sparsity=0\.75, which is less than 0\.8"):
        some.prune(cap.Unstructured(0.8))
    with pytest.raises(ValueError, match="max_sparsity=0 is not valid"):
        cap.create("cap", max_sparsity=0)


def test_max_sparsity_with_a_padded_block() -> None:
    """The padding of the last block goes first, but takes none of the removals that its weights are allowed."""
    torch.manual_seed(0)
    model = torch.nn.Linear(10, 5)
    calibration = cap.Calibration(torch.randn(60, 10), torch.randint(0, 5, (60,)))
    layers = {"weight": model.weight}
    whole = cap.create("cap", block_size=32, damp=1e-4).fit(model, layers, calibration)
    some = cap.create("cap", block_size=32, damp=1e-4, max_sparsity=0.9).fit(model, layers, calibration)
    one, other = (pruner.prune(cap.Unstructured(0.5)) for pruner in (whole, some))
    assert one.masks["weight"].equal(other.masks["weight"])
    torch.testing.assert_close(one.weights["weight"], other.weights["weight"], rtol=1e-4, atol=1e-5)

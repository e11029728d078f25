"""What every registered pruner must do, whoever wrote it."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch

import cap

SPARSITIES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.98)
PATTERNS = [cap.Unstructured(0.6), cap.Unstructured(0.6, scope="layer"), cap.NM(2, 4), cap.NM(1, 4), cap.Blocks(4, 0.5)]
SMALL = {"block_size": 8, "num_gradients": 40}  # options that a pruner may have


@pytest.fixture(params=cap.available())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make(name: str) -> cap.Pruner:
    return cap.create(name, **{k: v for k, v in SMALL.items() if k in cap.default_options(name)})


@pytest.fixture
def fitted(name: str, model, layers, calibration) -> cap.Pruner:
    torch.manual_seed(0)
    return make(name).fit(model, layers, calibration)


def test_options_have_defaults_and_the_class_says_where_it_is_from(name: str) -> None:
    assert inspect.Parameter.empty not in cap.default_options(name).values()
    assert "arXiv" in (type(make(name)).__doc__ or ""), "the class docstring names its source"


def unstructured(pruner: cap.Pruner, sparsity: float) -> cap.Unstructured:
    """The weights of all layers ranked together, or each layer for itself where the pruner cannot do otherwise."""
    together = cap.Unstructured(sparsity)
    return together if pruner.supports(together) is None else cap.Unstructured(sparsity, scope="layer")


def test_exact_count(fitted, layers) -> None:
    total = sum(weight.numel() for weight in layers.values())
    for sparsity in SPARSITIES:
        pattern = unstructured(fitted, sparsity)
        pruned = fitted.prune(pattern)
        removed = {n: int((~mask).sum()) for n, mask in pruned.masks.items()}
        if pattern.scope == "global":
            assert sum(removed.values()) == round(sparsity * total)
        else:
            assert removed == {n: round(sparsity * weight.numel()) for n, weight in layers.items()}
        assert all((pruned.weights[n][~mask] == 0).all() for n, mask in pruned.masks.items())


def test_exact_count_in_every_layer(fitted, layers) -> None:
    pruned = fitted.prune(cap.Unstructured(0.7, scope="layer"))
    for name, mask in pruned.masks.items():
        assert int((~mask).sum()) == round(0.7 * layers[name].numel())


def test_only_the_chosen_weights_change(fitted, model, layers) -> None:
    before = {n: value.clone() for n, value in model.state_dict().items()}
    pruned = fitted.prune(unstructured(fitted, 0.9))
    assert list(pruned.weights) == list(pruned.masks) == list(layers)
    for n, weight in layers.items():
        assert pruned.weights[n].shape == pruned.masks[n].shape == weight.shape
        assert pruned.weights[n].dtype == weight.dtype
        assert pruned.masks[n].dtype == torch.bool
    pruned.apply_to(model)
    changed = {n for n, value in model.state_dict().items() if not value.equal(before[n])}
    assert changed <= set(layers)


def test_fit_and_prune_leave_the_model_untouched(name, model, layers, calibration) -> None:
    model.train()
    before = {n: value.clone() for n, value in model.state_dict().items()}
    pruner = make(name).fit(model, layers, calibration)
    pruner.prune(unstructured(pruner, 0.5))
    assert all(value.equal(before[n]) for n, value in model.state_dict().items())
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_same_seed_same_result(fitted, name, model, layers, calibration) -> None:
    torch.manual_seed(0)
    again = make(name).fit(model, layers, calibration)
    one, other = (pruner.prune(unstructured(pruner, 0.8)) for pruner in (fitted, again))
    assert all(one.weights[n].equal(other.weights[n]) for n in layers)


def test_masks_are_monotone(fitted, layers) -> None:
    if not fitted.monotone:
        pytest.skip("this pruner says that its masks are not")
    masks = [fitted.prune(unstructured(fitted, sparsity)).masks for sparsity in SPARSITIES]
    for low, high in itertools.pairwise(masks):
        assert all((low[n] | ~high[n]).all() for n in layers), "a weight came back at a higher sparsity"


def test_one_fit_serves_any_order_of_sparsities(fitted, layers) -> None:
    first = fitted.prune(unstructured(fitted, 0.5)).weights
    fitted.prune(unstructured(fitted, 0.98))
    again = fitted.prune(unstructured(fitted, 0.5)).weights
    assert all(first[n].equal(again[n]) for n in layers)


def test_sparsity_zero_returns_the_dense_weights(fitted, layers) -> None:
    pruned = fitted.prune(unstructured(fitted, 0.0))
    assert all(pruned.weights[n].equal(weight.detach()) for n, weight in layers.items())
    assert pruned.sparsity == 0


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_pattern_is_followed_or_refused_with_a_reason(name, model, calibration, pattern) -> None:
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    pruner = make(name).fit(model, layers, calibration)
    if reason := pruner.supports(pattern):
        assert len(reason.split()) > 3
        with pytest.raises(ValueError, match=r"."):
            pruner.prune(pattern)
        return
    masks = pruner.prune(pattern).masks
    if isinstance(pattern, cap.NM):
        for mask in masks.values():
            assert (mask.reshape(-1, pattern.of).sum(1) == pattern.keep).all()
    elif isinstance(pattern, cap.Blocks):
        for mask in masks.values():
            blocks = mask.reshape(-1, pattern.size)
            assert (blocks.all(1) | ~blocks.any(1)).all()

"""The Fisher-based pruners against dense computations: blocks of weights, N:M in convolutions, recomputations, loss."""

from __future__ import annotations

import copy

import pytest
import torch

import cap
from cap.fisher.blocks import split_blocks
from cap.kernels.reference import eliminate_blocks


def dense_inverses(name: str, layers, model, calibration, size: int, damp: float) -> tuple[torch.Tensor, torch.Tensor]:
    """F and its inverse for the blocks of one layer."""
    fisher = cap.BlockFisher(layers[name].numel(), size, damp)
    for gradients in calibration.gradients(model, {name: layers[name]}):
        fisher.update(gradients[name].double())
    inverse = fisher.inverse()
    return torch.linalg.inv(inverse), inverse


def test_block_size_one_is_the_diagonal(model, layers, calibration) -> None:
    """WF-1: the saliency is half the squared weight times the dampened mean squared gradient."""
    pruner = cap.create("woodfisher", block_size=1, damp=1e-3).fit(model, layers, calibration)
    for name, weight in layers.items():
        rows = torch.cat([batch[name] for batch in calibration.gradients(model, layers)]).double()
        expected = weight.detach().flatten().double() ** 2 / 2 * (1e-3 + rows.square().mean(0))
        torch.testing.assert_close(pruner.importance[name].flatten(), expected, rtol=1e-5, atol=0)


def test_blocks_of_four_as_in_obert(model, layers, calibration) -> None:
    """Each group's saliency and update from its own sub-matrix of the dense inverse."""
    pattern = cap.Blocks(4, 0.5)
    pruner = cap.create("woodfisher", block_size=8, damp=1e-3).fit(model, layers, calibration)
    pruned = pruner.prune(pattern)
    saliencies, updates = [], []
    for name, weight in layers.items():
        _, inverses = dense_inverses(name, layers, model, calibration, 8, 1e-3)
        for w, h in zip(split_blocks(weight.detach().double(), 8), inverses, strict=True):
            for group in (slice(0, 4), slice(4, 8)):
                solution = torch.linalg.solve(h[group, group], w[group])
                saliencies.append(float(w[group] @ solution) / 2)
                updates.append(h[:, group] @ solution)
    gone = set(torch.tensor(saliencies).argsort()[: round(0.5 * len(saliencies))].tolist())
    at = 0
    for name, weight in layers.items():
        for row, w in enumerate(split_blocks(weight.detach().double(), 8)):
            chosen = [g for g in (0, 1) if at + g in gone]
            expected = w - sum(updates[at + g] for g in chosen)
            keep = torch.ones(8)
            for g in chosen:
                keep[4 * g : 4 * g + 4] = 0
            assert split_blocks(pruned.masks[name], 8)[row].equal(keep.bool())
            torch.testing.assert_close(
                split_blocks(pruned.weights[name], 8)[row].double(), expected * keep, rtol=1e-4, atol=1e-6
            )
            at += 2
    assert cap.count_violations(pruned.weights, pattern) == 0


@pytest.mark.parametrize("pattern", [cap.NM(2, 4), cap.NM(1, 4)], ids=str)
def test_cap_closes_groups_of_inputs_in_convolutions(pattern, model, layers, calibration) -> None:
    """A 3 x 3 kernel: groups lie nine entries apart, so that a block of 72 holds two times nine of them."""
    conv = {"mix.weight": layers["mix.weight"]}  # (8, 4, 3, 3)
    pruner = cap.create("cap", block_size=72, damp=1e-3).fit(model, conv, calibration)
    pruned = pruner.prune(pattern)
    assert cap.count_violations(pruned.weights, pattern) == 0
    assert pruned.sparsity == pattern.sparsity
    _, inverses = dense_inverses("mix.weight", conv, model, calibration, 72, 1e-3)
    # two outputs to a block; of each, entry (input, position) to (position, input)
    order = torch.arange(72).view(2, 4, 9).transpose(1, 2).flatten()
    blocks = split_blocks(conv["mix.weight"].detach().double(), 72)[:, order]
    _, loss = eliminate_blocks(blocks, inverses[:, order][:, :, order], pattern.of - pattern.keep, pattern.of,
                               72 // pattern.of * (pattern.of - pattern.keep))  # fmt: skip
    assert split_blocks(pruned.masks["mix.weight"], 72)[:, order].equal(loss.isinf())
    with pytest.raises(ValueError, match=f"multiple of {9 * pattern.of} for"):
        cap.create("cap", block_size=8, damp=1e-3).fit(model, conv, calibration).prune(pattern)


@pytest.mark.parametrize("name", ["cap", "woodfisher"])
@pytest.mark.parametrize("pattern", [cap.Unstructured(0.4), cap.Unstructured(0.9, "layer"), cap.NM(1, 4)], ids=str)
def test_predicted_loss_is_the_quadratic_form(name, pattern, model, calibration) -> None:
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    pruner = cap.create(name, block_size=24, damp=1e-3).fit(model, layers, calibration)
    pruned = pruner.prune(pattern)
    expected = 0.0
    for layer, weight in layers.items():
        fishers, _ = dense_inverses(layer, layers, model, calibration, 24, 1e-3)
        change = split_blocks((pruned.weights[layer] - weight.detach()).double(), 24)
        expected += float(torch.einsum("ni,nij,nj->", change, fishers, change)) / 2
    assert pruner.predicted_loss(pruned) == pytest.approx(expected, rel=1e-4)


def test_predicted_loss_of_cap_is_the_sum_of_its_cumulative_losses(model, layers, calibration) -> None:
    pruner = cap.create("cap", block_size=16, damp=1e-3).fit(model, layers, calibration)
    pruned = pruner.prune(cap.Unstructured(0.7))
    last = sum(
        float((split_blocks(pruner.importance[name], 16) * split_blocks(~keep, 16)).amax(1).sum())
        for name, keep in pruned.masks.items()
    )
    assert pruner.predicted_loss(pruned) == pytest.approx(last, rel=1e-5)


def test_pruners_without_a_model_of_the_loss_predict_nothing(model, layers, calibration) -> None:
    pruner = cap.create("magnitude").fit(model, layers, calibration)
    assert pruner.predicted_loss(pruner.prune(cap.Unstructured(0.5))) is None


@pytest.mark.parametrize("name", ["cap", "woodfisher", "mfac", "fastcap"])
def test_recomputations_are_steps_by_hand(name, model, layers, calibration) -> None:
    options = {"block_size": 16, "damp": 1e-3}
    target = cap.Unstructured(0.9, scope="layer")
    pruner = cap.create(name, **options, num_recomputations=3).fit(model, layers, calibration)
    ours = pruner.prune(target)
    step_model = copy.deepcopy(model)
    for sparsity in (0.3, 0.6, 0.9):
        step_layers = {layer: step_model.get_parameter(layer) for layer in layers}
        step = cap.create(name, **options).fit(step_model, step_layers, calibration)
        theirs = step.prune(cap.Unstructured(sparsity, scope="layer"))
        theirs.apply_to(step_model)
    assert all(ours.weights[layer].equal(theirs.weights[layer]) for layer in layers)
    at_once = cap.create(name, **options).fit(model, layers, calibration).prune(target)
    assert not all(ours.weights[layer].equal(at_once.weights[layer]) for layer in layers)
    again = pruner.prune(target)
    assert all(ours.weights[layer].equal(again.weights[layer]) for layer in layers)
    assert pruner.predicted_loss(ours) is None
    assert "num_recomputations" in (pruner.supports(cap.NM(2, 4)) or "")


def test_nm_result_goes_to_semi_structured_tensors() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(128, 128, bias=False)).cuda()
    images, labels = torch.randn(64, 128), torch.randint(0, 128, (64,))
    layers = cap.select_layers(net, [r"0.weight"])
    for name in ("magnitude", "cap", "woodfisher"):
        pruned = cap.create(name).fit(net, layers, cap.Calibration(images, labels)).prune(cap.NM(2, 4))
        weight = pruned.weights["0.weight"].half()
        sparse = torch.sparse.to_sparse_semi_structured(weight)
        torch.testing.assert_close(sparse.to_dense(), weight)
        x = torch.randn(128, 64, device="cuda", dtype=torch.float16)
        torch.testing.assert_close(sparse @ x, weight @ x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["magnitude", "woodfisher", "cap", "mfac", "wanda", "sparsegpt", "obc"])
@pytest.mark.parametrize("pattern", [cap.NM(2, 4), cap.NM(1, 4)], ids=str)
def test_nm_in_convolutions_has_no_violations(name, pattern, model, layers, calibration) -> None:
    options = {"block_size": 72} if "block_size" in cap.default_options(name) else {}
    pruner = cap.create(name, **options).fit(model, {"mix.weight": layers["mix.weight"]}, calibration)
    pruned = pruner.prune(pattern)
    assert cap.count_violations(pruned.weights, pattern) == 0
    assert pruned.sparsity == pattern.sparsity


def test_joint_woodfisher_is_better_on_the_objective_with_the_same_mask(model, layers, calibration) -> None:
    options = {"block_size": 16, "damp": 1e-4}
    plain, joint = (cap.create("woodfisher", **options, joint=j).fit(model, layers, calibration) for j in (False, True))
    one, other = plain.prune(cap.Unstructured(0.7)), joint.prune(cap.Unstructured(0.7))
    for name, factor in plain.factors.items():
        assert one.masks[name].equal(other.masks[name])
        fisher = torch.linalg.inv(factor.inverse(slice(0, len(factor.order))))
        change = [(p.weights[name] - layers[name]).detach().reshape(-1, 16, 1).double() for p in (one, other)]
        separate_rise, joint_rise = (float((c.mT @ fisher @ c).sum()) for c in change)
        assert joint_rise < separate_rise


@pytest.mark.parametrize("name", ["cap", "woodfisher", "mfac", "fastcap"])
def test_recomputations_end_at_the_exact_count(name) -> None:
    """Of 45 weights, where the count ends in 1/2 and 0.1 * 3 / 3 is more than 0.1."""
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 9)
    calibration = cap.Calibration(torch.randn(60, 5), torch.randint(0, 9, (60,)))
    pruner = cap.create(name, block_size=5, damp=1e-3, num_recomputations=3)
    pruner.fit(model, {"weight": model.weight}, calibration)
    for sparsity, removed in ((0.1, 4), (0.3, 14), (0.5, 22), (0.7, 31), (0.9, 40)):
        pruned = pruner.prune(cap.Unstructured(sparsity, scope="layer"))
        assert int((~pruned.masks["weight"]).sum()) == removed


def test_blocks_of_zeros_go_before_blocks_whose_saliency_vanishes() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4, dtype=torch.float64)
    with torch.no_grad():
        model.weight[0, :4] = 1e-170  # whose square is zero
        model.weight[2, 4:] = 0
    calibration = cap.Calibration(torch.randn(30, 8, dtype=torch.float64), torch.randint(0, 4, (30,)))
    pruner = cap.create("woodfisher", block_size=4, damp=1e-3).fit(model, {"weight": model.weight}, calibration)
    pruned = pruner.prune(cap.Blocks(4, 1 / 8))
    assert pruned.masks["weight"].equal(model.weight != 0)

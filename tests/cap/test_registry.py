from __future__ import annotations

from pathlib import Path

import pytest
import torch

import cap

FILE = """
import cap

class Mine(cap.Pruner):
    def __init__(self, sign: float = 1.0) -> None:
        self.sign = sign

    def scores(self, model, layers, calibration):
        return {name: self.sign * weight.abs() for name, weight in self.weights.items()}
"""


def test_unknown_pruner_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown pruner 'capp': choose from cap, .*magnitude, .*woodfisher, or"):
        cap.create("capp")


def test_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cap' has no option blocksize: its options are block_size=192"):
        cap.create("cap", blocksize=3)


@pytest.mark.parametrize("name", ["cap", "woodfisher"])
@pytest.mark.parametrize("option", [{"block_size": 0}, {"block_size": "abc"}, {"damp": -1}, {"num_gradients": -3}])
def test_option_values_are_checked(name: str, option: dict) -> None:
    with pytest.raises(ValueError, match="is not valid: it is a"):
        cap.create(name, **option)


def test_a_pruner_from_a_file(tmp_path: Path, model, layers, calibration) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    pruner = cap.create(f"{path}:Mine", sign=2.0)
    theirs = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.3))
    ours = pruner.fit(model, layers, calibration).prune(cap.Unstructured(0.3))
    assert all(mask.equal(theirs.masks[name]) for name, mask in ours.masks.items())
    with pytest.raises(ValueError, match="it has Mine"):
        cap.create(f"{path}:Other")
    with pytest.raises(ValueError, match="does not exist"):
        cap.create(f"{tmp_path}/none.py:Mine")


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="taken"):

        @cap.register("cap")
        class Other(cap.Pruner):
            def scores(self, model, layers, calibration):
                return {}


def test_prune_before_fit_and_unsupported_pattern(model, layers, calibration) -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        cap.create("magnitude").prune(cap.Unstructured(0.5))
    with pytest.raises(ValueError, match="no layers"):
        cap.create("magnitude").fit(model, {}, calibration)
    pruner = cap.create("cap", block_size=8).fit(model, layers, calibration)
    with pytest.raises(ValueError, match="not blocks of them"):
        pruner.prune(cap.Blocks(4, 0.5))


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


def test_prefixes_are_read_off_and_equal_the_joint_solve(model, layers, calibration) -> None:
    pruner = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    for sparsity in (0.2, 0.6, 0.95):
        masks = pruner.prune(cap.Unstructured(sparsity)).masks
        read = pruner.update(masks)
        for name in layers:
            assert pruner._prefixes(name, masks[name]) is not None
            torch.testing.assert_close(read[name], pruner.joint_update(name, masks[name]), rtol=1e-4, atol=1e-5)


def test_any_mask_gets_the_joint_update(model, layers, calibration) -> None:
    """A mask of the user's own skips weights in CAP's order."""
    pruner = cap.create("cap", block_size=16, damp=1e-4).fit(model, layers, calibration)
    masks = {name: torch.rand(weight.shape) < 0.5 for name, weight in layers.items()}
    for name, weights in pruner.update(masks).items():
        assert pruner._prefixes(name, masks[name]) is None
        inverse = pruner.factors[name].inverse(slice(0, len(pruner.factors[name].order)))
        blocks = pruner.weights[name].reshape(-1, 16)
        theirs = cap.compensate(blocks, inverse, masks[name].reshape(-1, 16))
        torch.testing.assert_close(weights.reshape(-1, 16), theirs)


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

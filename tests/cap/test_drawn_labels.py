"""Labels drawn from the model: their distribution, the gradients with them, and what does not change them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

import cap
from cap.drawn_labels import DrawnLabels


def drawn(calibration: cap.Calibration, **options) -> cap.Calibration:
    return cap.Calibration(
        calibration.images, calibration.labels, **{"batch_size": 20, "label_source": "drawn", **options}
    )


def test_labels_by_hand_and_by_frequency() -> None:
    seen = []

    def loss(outputs, labels):
        seen.append(labels)
        return outputs.sum()

    outputs = torch.tensor([0.5, 0.3, 0.2]).log()
    DrawnLabels(loss)(outputs.expand(6, 3), torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 0.999]))
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2]
    DrawnLabels(loss)(outputs.expand(20_000, 3), DrawnLabels.numbers(20_000, seed=0))
    frequency = torch.bincount(seen[1], minlength=3) / 20_000
    torch.testing.assert_close(frequency, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
def test_gradients_are_those_with_these_labels(gradient, model, layers, calibration) -> None:
    ours = drawn(calibration, gradient=gradient)
    with torch.no_grad():
        ends = model(calibration.images).double().softmax(1).cumsum(1)
    numbers = DrawnLabels.numbers(48, seed=0)
    labels = torch.tensor([int(torch.searchsorted(line, number)) for line, number in zip(ends, numbers, strict=True)])
    theirs = cap.Calibration(calibration.images, labels, batch_size=20, gradient=gradient)
    for one, other in zip(ours.gradients(model, layers), theirs.gradients(model, layers), strict=True):
        for name in layers:
            torch.testing.assert_close(one[name], other[name])
    assert ours.labels.equal(calibration.labels), "the loss of the pruned model is that of the given labels"


def test_second_moment_is_the_fisher_information() -> None:
    """That of one layer is known: `(diag p - p p^T) (x) x x^T`; given labels that are fitted have next to none."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, bias=False)
    x = torch.randn(1, 3).expand(4000, 3)
    with torch.no_grad():
        p = model(x[:1]).softmax(1)[0]
    calibration = cap.Calibration(x, p.argmax().repeat(4000), batch_size=1000, label_source="drawn")
    rows = torch.cat([batch["weight"] for batch in calibration.gradients(model, {"weight": model.weight})])
    expected = torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(x[0], x[0]))
    torch.testing.assert_close(rows.T @ rows / len(rows), expected, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("name", ["cap", "woodfisher", "obert", "chita", "mfac", "fastcap", "gradient_weight"])
def test_every_pruner_on_gradients_sees_them(name, model, layers, calibration) -> None:
    options = {"block_size": 16} if "block_size" in cap.default_options(name) else {}
    one, other, again = (
        cap.create(name, **options).fit(model, layers, images).prune(cap.Unstructured(0.6, "layer"))
        for images in (calibration, drawn(calibration), drawn(calibration))
    )
    assert not all(one.weights[layer].equal(other.weights[layer]) for layer in layers)
    assert all(other.weights[layer].equal(again.weights[layer]) for layer in layers), "seeded"


def test_labels_depend_on_neither_batches_nor_weights_that_are_functional(model, layers, calibration) -> None:
    """A weight that two modules share goes through torch.func, image by image."""
    shared = copy.deepcopy(model)
    shared.fc3 = torch.nn.Linear(8, 16)
    shared.fc3.weight = shared.fc1.weight
    few, many = drawn(calibration, batch_size=3), drawn(calibration, batch_size=48)
    for net in (model, shared):
        one, other = (
            torch.cat([batch["fc1.weight"] for batch in images.gradients(net, {"fc1.weight": net.fc1.weight})])
            for images in (few, many)
        )
        torch.testing.assert_close(one, other)


def test_another_seed_draws_others_and_nothing_is_shared_between_kinds_of_labels(model, layers, calibration) -> None:
    first, second = (
        torch.cat([batch["fc1.weight"] for batch in drawn(calibration, seed=seed).gradients(model, layers)])
        for seed in (0, 1)
    )
    assert not first.equal(second)
    sharing = drawn(calibration, share=True)
    weights = cap.create("cap", block_size=16).fit(model, layers, sharing).prune(0.6).weights
    sharing.label_source = "given"
    given = cap.create("cap", block_size=16).fit(model, layers, sharing).prune(0.6).weights
    expected = cap.create("cap", block_size=16).fit(model, layers, calibration).prune(0.6).weights
    assert all(given[name].equal(expected[name]) for name in layers)
    assert not all(given[name].equal(weights[name]) for name in layers)
    assert drawn(calibration).split()[0].label_source == "drawn"


def test_mistakes(model, layers, calibration) -> None:
    with pytest.raises(ValueError, match="unknown label source 'sampled': choose given or drawn"):
        drawn(calibration, label_source="sampled")
    with pytest.raises(ValueError, match=r"outputs of shape \(images, classes\), not from \(4,\)"):
        DrawnLabels(F.cross_entropy)(torch.zeros(4), torch.zeros(4))

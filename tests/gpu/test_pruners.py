"""Every pruner on a card against itself on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

import cap
from bench.data.fashion_mnist import load_split, to_input
from bench.models import get_model
from cap import distributed
from cap.testing import Subject, tiny_calibration, tiny_layers, tiny_model
from cap.testing.tiny import PATTERN_LAYERS

PATTERNS = (cap.Unstructured(0.6), cap.Unstructured(0.6, scope="layer"), cap.NM(2, 4))
TIES = 2e-3  # of the weights, whose scores differ by the rounding of a card's sums alone
ROUNDING = 1e-3  # of a layer's largest weight

Record = Callable[[str, object], None]


def fit(pruner: cap.Pruner, device: str, units: bool = False) -> cap.Pruner:
    """Fits to the tiny model, on a device."""
    model = tiny_model().to(device)
    layers = tiny_layers(model, PATTERN_LAYERS)
    if units:
        assert isinstance(pruner, cap.structured.UnitPruner)
        pruner.units = cap.structured.find_units(tiny_model(), tiny_layers(tiny_model()), torch.zeros(1, 1, 8, 8))
    return pruner.fit(model, layers, tiny_calibration())


def differing(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Returns the fraction of the weights that one mask keeps and the other does not."""
    different = sum(int((mask.cpu() != theirs[name]).sum()) for name, mask in ours.items())
    return different / sum(mask.numel() for mask in theirs.values())


def distance(ours: cap.PrunedWeights, theirs: cap.PrunedWeights) -> float:
    """Returns how far weights that both keep are apart, relative to the largest weight of their layer."""
    found = 0.0
    for name, weight in theirs.weights.items():
        both = theirs.masks[name] & ours.masks[name].cpu()
        change = (ours.weights[name].cpu() - weight)[both].abs()
        found = max(found, float(change.max() / weight.abs().max())) if both.any() else found
    return found


@pytest.fixture(autouse=True)
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is summed over processes: NCCL takes nothing that is not on the card."""
    seen = list[Tensor]()
    add_up = distributed.all_reduce_sum
    monkeypatch.setattr(distributed, "all_reduce_sum", lambda *tensors: seen.extend(tensors) or add_up(*tensors))
    return seen


@pytest.mark.parametrize("name", cap.available())
def test_a_card_gives_what_the_cpu_gives(name: str, card: str, record_property: Record) -> None:
    pruners = {device: fit(Subject(name, {}).create(), device) for device in ("cpu", card)}
    pattern = next(one for one in PATTERNS if pruners["cpu"].supports(one) is None)
    for wanted in {pattern, PATTERNS[-1]} if pruners["cpu"].supports(PATTERNS[-1]) is None else {pattern}:
        theirs, ours = (pruners[device].prune(wanted) for device in ("cpu", card))
        assert all(tensor.device.type == "cuda" for tensor in (*ours.weights.values(), *ours.masks.values()))
        ties, far = differing(ours.masks, theirs.masks), distance(ours, theirs)
        record_property(str(wanted), {"masks differ": ties, "weights differ": far})
        assert ties <= TIES, wanted
        assert far <= ROUNDING, wanted
        if (expected := pruners["cpu"].predicted_loss(theirs)) is not None:
            assert pruners[card].predicted_loss(ours) == pytest.approx(expected, rel=1e-3)


FISHER = {
    "relative": {"damp_scale": "relative", "damp": 0.1},
    "noise": {"damp_scale": "noise", "damp": 0.1},
    "recomputed": {"num_recomputations": 2, "fresh_gradients": True},
    "reconstruction": {"reconstruction": 0.5},
}


@pytest.mark.parametrize("case", FISHER)
def test_options_of_the_fisher(case: str, card: str) -> None:
    theirs, ours = (
        fit(Subject("cap", FISHER[case]).create(), device).prune(cap.Unstructured(0.6)) for device in ("cpu", card)
    )
    assert differing(ours.masks, theirs.masks) <= TIES
    assert distance(ours, theirs) <= ROUNDING


def test_factors_that_are_made_again(card: str) -> None:
    """With a budget that holds no factors."""
    found = []
    for device in ("cpu", card):
        model, calibration = nn.Sequential(nn.Flatten(), nn.Linear(64, 256, bias=False), nn.Linear(256, 5)), None
        torch.manual_seed(0)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.1)
        calibration = tiny_calibration()
        pruner, layers = cap.create("cap", block_size=64), cap.select_layers(model.to(device), ["1.weight"])
        kept = pruner.plan(model, layers, calibration)
        assert kept is not None
        budget = kept.peak_bytes
        while kept.keeps_factors:
            budget -= budget // 50
            calibration.memory_budget = budget
            kept = pruner.plan(model, layers, calibration)
        pruner.fit(model, layers, calibration)
        assert pruner.rebuilds_factors
        found.append(pruner.prune(0.5))
    assert differing(found[1].masks, found[0].masks) <= TIES
    assert distance(found[1], found[0]) <= ROUNDING


@pytest.mark.parametrize("name", [name for name in cap.available() if cap.create(name).prunes_units])
def test_units(name: str, card: str, exchanged: list[Tensor]) -> None:
    pytest.importorskip("torch_pruning")
    theirs = fit(Subject(name, {}).create(), "cpu", units=True)
    exchanged.clear()
    ours = fit(Subject(name, {}).create(), card, units=True)
    assert all(tensor.is_cuda for tensor in exchanged)
    for group in theirs.units:
        assert ours.rankings[group.name].order.tolist() == theirs.rankings[group.name].order.tolist()


@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize("labels", ["given", "drawn"])
def test_gradients(gradient: str, labels: str, card: str) -> None:
    given = tiny_calibration()
    found = []
    for device in ("cpu", card):
        calibration = cap.Calibration(given.images, given.labels, batch_size=20, gradient=gradient, label_source=labels)
        model = tiny_model().to(device)
        found.append(list(calibration.gradients(model, tiny_layers(model))))
    for theirs, ours in zip(*found, strict=True):
        for name, rows in theirs.items():
            torch.testing.assert_close(ours[name].cpu(), rows, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["vit", "convnext", "xcit"])
def test_an_embedded_model(model: str, device: str, record_property: Record) -> None:
    """CAP at the sizes of the benchmark: nearly the same masks, the same predicted loss, the same outputs."""
    if device == "cpu":
        pytest.skip("the CPU with itself: the tiny model shows what would fail")
    spec, images = get_model("embedded", model), load_split("train").subset(512, 0)
    inputs, results = to_input(images.images, spec.input_size), {}
    for place in ("cpu", device):
        net = spec.load(place)
        pruner = cap.create("cap", block_size=64, damp=1e-6)
        pruner.fit(net, cap.select_layers(net, spec.prunable), cap.Calibration(inputs, images.labels))
        pruned = pruner.prune(cap.Unstructured(0.75))
        pruned.apply_to(net)
        with torch.inference_mode():
            classes = net(inputs.to(place)).argmax(1).cpu()
        results[place] = pruned, pruner.predicted_loss(pruned), classes
    (theirs, expected, classes), (ours, loss, found) = results["cpu"], results[device]
    different = differing(ours.masks, theirs.masks)
    record_property("masks differ", different)
    record_property("classes differ", float((classes != found).double().mean()))
    assert different < 0.01
    assert loss == pytest.approx(expected, rel=0.01)
    assert (classes != found).double().mean() < 0.02

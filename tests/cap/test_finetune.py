from __future__ import annotations

import copy

import torch

import cap
from cap.schedules import linear


def test_rate_falls_linearly_to_its_last_value() -> None:
    assert [linear(step, 5, 1.0, 0.2) for step in range(5)] == [1.0, 0.8, 0.6, 0.3999999999999999, 0.19999999999999996]
    assert linear(0, 1, 1.0, 0.1) == 1.0


def test_finetuning_learns_holds_the_masks_and_repeats(model, layers, calibration) -> None:
    masks = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.5)).masks

    def batches(epoch: int):
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(48, generator=generator)
        return [(calibration.images[part], calibration.labels[part]) for part in order.split(16)]

    @torch.no_grad()
    def loss_of(net) -> float:
        return float(torch.nn.functional.cross_entropy(net(calibration.images), calibration.labels))

    results = []
    for _ in range(2):
        net = copy.deepcopy(model)
        cap.finetune(net, masks, batches, 3, cap.FinetuneRecipe(epochs=8, lr=1e-2, lr_end=1e-3))
        results.append(net)
    assert not results[0].training
    assert loss_of(results[0]) < loss_of(model)
    for name, mask in masks.items():
        assert (results[0].get_parameter(name).detach()[~mask] == 0).all()
    for one, other in zip(results[0].parameters(), results[1].parameters(), strict=True):
        assert one.equal(other)

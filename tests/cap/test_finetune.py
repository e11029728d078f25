from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

import cap
from cap.schedules import linear


def test_finetuning_learns_holds_the_masks_and_repeats(model, layers, calibration) -> None:
    masks = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.5)).masks

    def batches(epoch: int, done: int):
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(48, generator=generator)
        return [(calibration.images[part], calibration.labels[part]) for part in order.split(16)]

    @torch.no_grad()
    def loss_of(net) -> float:
        return float(torch.nn.functional.cross_entropy(net(calibration.images), calibration.labels))

    results = []
    for _ in range(2):
        net = copy.deepcopy(model)
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.03)
        training = cap.Training(net, optimizer, batches, lambda step: linear(step, 24, 1e-2, 1e-3), 0.1, 1.0)
        training.hold(masks)
        for epoch in range(8):
            training.run_epoch(epoch)
        results.append(net)
    assert not results[0].training
    assert loss_of(results[0]) < loss_of(model)
    for name, mask in masks.items():
        assert (results[0].get_parameter(name).detach()[~mask] == 0).all()
    for one, other in zip(results[0].parameters(), results[1].parameters(), strict=True):
        assert one.equal(other)


def training_of(net, calibration, **options) -> cap.Training:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    batches = [(calibration.images, calibration.labels)] * 2
    return cap.Training(net, optimizer, lambda *_: batches, lambda _: 1e-2, **options)


def test_training_goes_on_from_its_state_as_if_it_had_not_stopped(model, layers, calibration) -> None:
    masks = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(0.5)).masks
    through = training_of(copy.deepcopy(model), calibration)
    through.hold(masks)
    through.run_epoch(0)
    state, weights = copy.deepcopy(through.state_dict()), copy.deepcopy(through.model.state_dict())
    through.run_epoch(1)
    resumed = training_of(copy.deepcopy(model), calibration)
    resumed.model.load_state_dict(weights)
    resumed.load_state_dict(state)
    resumed.run_epoch(1)
    assert resumed.step == through.step == 4
    for one, other in zip(through.model.parameters(), resumed.model.parameters(), strict=True):
        assert one.equal(other)
    assert all((resumed.model.get_parameter(name).detach()[~mask] == 0).all() for name, mask in masks.items())


def test_freed_weights_start_from_zero_and_grow(model, layers, calibration) -> None:
    training = training_of(model, calibration)
    training.run_epoch(0)
    masks = {name: torch.rand(weight.shape) < 0.5 for name, weight in layers.items()}
    training.hold(masks)
    training.run_epoch(1)
    training.hold(None)
    assert training.masks is None
    for name, mask in masks.items():
        assert (layers[name].detach()[~mask] == 0).all()
        averages = training.optimizer.state[model.get_parameter(name)]
        assert (averages["exp_avg"][~mask] == 0).all()
        assert (averages["exp_avg"][mask] != 0).any()
    training.run_epoch(2)
    assert all((layers[name].detach()[~mask] != 0).float().mean() > 0.9 for name, mask in masks.items())


def test_distillation_by_hand(model, calibration) -> None:
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.head.weight.mul_(3)
    logits, inputs = model(calibration.images), calibration.images
    mixed = cap.Distillation(teacher, share=0.3, temperature=2.0).mixed(torch.tensor(5.0), logits, inputs)
    p, q = (F.softmax(net(inputs) / 2, dim=1) for net in (teacher, model))
    divergence = (p * (p / q).log()).sum(1).mean() * 4
    torch.testing.assert_close(mixed, 0.7 * 5 + 0.3 * divergence)
    assert teacher.head.weight.grad is None


def test_a_student_comes_closer_to_its_teacher(model, calibration) -> None:
    teacher, student = copy.deepcopy(model), copy.deepcopy(model)

    @torch.no_grad()
    def distance() -> float:
        ours, theirs = (F.softmax(net(calibration.images), dim=1) for net in (student, teacher))
        return float((ours - theirs).abs().mean())

    with torch.no_grad():
        student.head.bias.add_(torch.arange(5.0) / 5)
    apart = distance()
    training = training_of(student, calibration, distillation=cap.Distillation(teacher, share=1.0))
    for epoch in range(10):
        training.run_epoch(epoch)
    assert distance() < apart / 2


def test_class_probabilities_are_not_smoothed_again(model, calibration) -> None:
    """Labels with smoothing, and the same smoothed by hand, give the same weights."""
    hard, soft = copy.deepcopy(model), copy.deepcopy(model)
    smoothed = F.one_hot(calibration.labels, 5) * 0.8 + 0.2 / 5
    for net, labels in ((hard, calibration.labels), (soft, smoothed)):
        batches = [(calibration.images, labels)]
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        cap.Training(net, optimizer, lambda *_, batches=batches: batches, lambda _: 1.0, label_smoothing=0.2).run_epoch(
            0
        )
    for one, other, before in zip(hard.parameters(), soft.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
        assert not one.equal(before)

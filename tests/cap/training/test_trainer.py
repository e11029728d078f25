from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import cap
from cap.training.schedules import linear


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
        training.set_masks(masks)
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
    through.set_masks(masks)
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
    training.set_masks(masks)
    training.run_epoch(1)
    training.set_masks(None)
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


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 5))


def trained(calibration, **options) -> nn.Sequential:
    """Returns a small net after four steps, each on all 48 images."""
    net = small_net()
    training = training_of(net, calibration, label_smoothing=0.1, grad_clip=1.0, **options)
    training.optimizer = torch.optim.SGD(net.parameters())
    training.run_epoch(0)
    training.run_epoch(1)
    return net


@pytest.mark.parametrize("distilled", [False, True])
def test_gradients_of_micro_batches_add_up_to_that_of_the_batch(calibration, distilled: bool) -> None:
    options = {"distillation": cap.Distillation(small_net(), 0.5)} if distilled else {}
    whole, start = trained(calibration, **options), small_net()
    for micro_batch in (1, 13, 48, 100):  # 13: three of them and a rest of 9
        parts = trained(calibration, micro_batch=micro_batch, **options)
        for one, other, before in zip(whole.parameters(), parts.parameters(), start.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
            assert (one - before).norm() > 1000 * (one - other).norm()
    with pytest.raises(ValueError, match="micro-batch of 0"):
        trained(calibration, micro_batch=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_comes_near_single(calibration, precision: str) -> None:
    single, half, start = trained(calibration), trained(calibration, precision=precision), small_net()
    for one, other, before in zip(single.parameters(), half.parameters(), start.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert not one.equal(other)
        assert (one - other).norm() < 0.1 * (one - before).norm()


def test_a_loss_scale_that_overflows_is_lowered_and_saved(calibration) -> None:
    net = small_net()
    training = training_of(net, calibration, precision="float16", grad_clip=1.0)
    state = training.state_dict()
    training.load_state_dict({**state, "scaler": {**state["scaler"], "scale": 2.0**40}})
    before = [weight.detach().clone() for weight in net.parameters()]
    training.run_epoch(0)
    assert all(one.equal(other) for one, other in zip(net.parameters(), before, strict=True)), "infinite steps taken"
    state = training.state_dict()
    assert state["scaler"]["scale"] == 2.0**38
    again = training_of(net, calibration, precision="float16", grad_clip=1.0)
    again.load_state_dict(state)
    assert again.state_dict()["scaler"] == state["scaler"]


def test_training_goes_on_in_mid_epoch(calibration) -> None:
    def batches(epoch: int, done: int):
        return [(calibration.images[part], calibration.labels[part]) for part in torch.arange(48).split(16)[done:]]

    def training_from(net) -> cap.Training:
        return cap.Training(net, torch.optim.AdamW(net.parameters()), batches, lambda step: 1e-2 / (step + 1))

    through, saved = training_from(small_net()), []
    weights = through.model.state_dict()
    through.run_epoch(0, lambda: saved.append(copy.deepcopy((through.state_dict(), weights))))
    assert [state["batch"] for state, _ in saved] == [1, 2, 3]
    for state, values in saved:
        resumed = training_from(small_net())
        resumed.model.load_state_dict(values)
        resumed.load_state_dict(state)
        resumed.run_epoch(0)
        assert (resumed.step, resumed.batch) == (3, 0)
        assert all(one.equal(weights[name]) for name, one in resumed.model.state_dict().items())


def test_a_state_goes_on_in_another_precision(calibration) -> None:
    """Of a job that began on a card with bfloat16 and is requeued on one without, or the other way about."""
    net = small_net()
    first = training_of(net, calibration, precision="bfloat16")
    first.run_epoch(0)
    second = training_of(net, calibration, precision="float16")
    second.load_state_dict(first.state_dict())
    second.run_epoch(1)
    assert second.step == 4
    assert second.state_dict()["scaler"]["_growth_tracker"] == 2
    third = training_of(net, calibration, precision="bfloat16")
    third.load_state_dict(second.state_dict())
    third.run_epoch(2)
    assert (third.step, third.state_dict()["scaler"]) == (6, {})


def test_passes_compute_as_they_are_told() -> None:
    """The images' layout and the precision of products are those asked for, in the passes alone; weights stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))
    data = SimpleNamespace(images=torch.randn(8, 3, 8, 8), labels=torch.arange(8) % 5)
    net, seen = copy.deepcopy(model), []

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        layout = inputs[0].is_contiguous(memory_format=torch.channels_last)
        seen.append((layout, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))

    net[0].register_forward_pre_hook(look)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    training = training_of(net, data, tf32=True, channels_last=True)
    training.run_epoch(0, lambda: seen.append((torch.backends.cuda.matmul.allow_tf32, None, None)))
    assert seen == [(True, True, True), (before[0], None, None)] * 2
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert all(weight.is_contiguous() for weight in net.parameters()), "pruners view weights as rows"
    plain = copy.deepcopy(model)
    training_of(plain, data).run_epoch(0)
    for one, other in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_what_is_compiled_learns_the_same_and_keeps_its_names(calibration) -> None:
    plain, compiled = trained(calibration), small_net()
    masks = {"1.weight": compiled[1].weight.detach().abs() > 0.02}
    training = training_of(compiled, calibration, label_smoothing=0.1, grad_clip=1.0, compiled="eager", ema=0.5)
    training.optimizer = torch.optim.SGD(compiled.parameters())
    training.run_epoch(0)
    training.run_epoch(1)
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert list(training.averaged().state_dict()) == list(small_net().state_dict())
    training.set_masks(masks)
    training.run_epoch(2)
    assert (compiled[1].weight[~masks["1.weight"]] == 0).all()

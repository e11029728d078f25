"""Memory and time that a fit will take, from short measurements on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import cap
from bench.core.timing import seconds_since
from bench.diagnosis.finding import Finding
from bench.diagnosis.gradients import GradientScale
from bench.diagnosis.subject import Subject
from bench.evaluation.macs import count_macs
from bench.trials.planning import plan_fit
from cap.fisher.reconstruction import moment_bytes
from cap.layers import owner

BLOCKS = 32  # that are summed, inverted and eliminated to time it
ROWS, ROUNDS = 64, 4  # gradients of these, and times that they are summed
IMAGES = 32  # that go through the model to time it


@dataclass(frozen=True)
class MeasuredRates:
    """Rates of this machine at the work of this model, multiply-adds per second, of each kind of `cap.FitWork`.

    Attributes:
        inference: Forward passes.
        gradients: Forward and backward passes that give gradients.
        gram: Sums of products of gradients.
        solve: Factors and elimination.
    """

    inference: float
    gradients: float
    gram: float
    solve: float

    def seconds(self, work: cap.FitWork) -> float:
        """Returns how long some work takes."""
        parts = ("inference", "gradients", "gram", "solve")
        return sum(float(getattr(work, part)) / getattr(self, part) for part in parts)


def check_memory(subject: Subject) -> Iterator[Finding]:
    """Yields what the pruner's fit takes, of the memory that there is."""
    name = subject.resolved.trial.pruner
    try:
        plan = plan_fit(subject.resolved, subject.model, subject.memory_budget, share=False)
    except ValueError as error:
        yield Finding("memory", "failure", f"{name}: {error}", {"budget_bytes": subject.memory_budget})
        return
    if plan is None:
        pruner = subject.resolved.pruner()
        moments = getattr(pruner, "full_moments", None)  # which only layer-wise pruners of cap say
        said = "plans no memory" if pruner.needs == "inputs" and moments is None else "takes next to none"
        yield _memory_of_inputs(subject) if moments else Finding("memory", "ok", f"a fit of {name} {said}")
        return
    values = {"peak_bytes": plan.peak_bytes, "budget_bytes": plan.budget, "passes": len(plan.passes)}
    yield Finding("memory", "ok", f"a fit of {name}: {plan}", values)


def _memory_of_inputs(subject: Subject) -> Finding:
    """Returns what a pruner takes that sees the layers' inputs, which plans no memory: their second moments."""
    groups = {name: getattr(owner(subject.model, name), "groups", 1) for name in subject.layers}
    each = {name: moment_bytes({name: weight}, groups) for name, weight in subject.layers.items()}
    largest = max(each, key=each.__getitem__)
    fits = each[largest] <= subject.memory_budget
    message = (
        f"{subject.resolved.trial.pruner} plans no memory: second moments of layers' inputs take up to "
        f"{sum(each.values()) / 2**30:.2f} GiB, those of {largest} {each[largest] / 2**30:.2f} GiB"
    )
    message += "" if fits else f", of {subject.memory_budget / 2**30:.2f} GiB that there are: prune fewer layers"
    values = {"largest_bytes": each[largest], "all_bytes": sum(each.values()), "budget_bytes": subject.memory_budget}
    return Finding("memory", "ok" if fits else "warning", message, values)


def check_time(subject: Subject, given: GradientScale) -> Iterator[Finding]:
    """Yields how long a fit and an evaluation will take, roughly."""
    trial, name = subject.resolved.trial, subject.resolved.trial.pruner
    image = subject.images.images[:1].to(subject.device)
    macs = count_macs(subject.model, subject.layers, image).total
    sizes = [weight.numel() for weight in subject.layers.values()]
    images, in_one = trial.calibration.images, trial.calibration.batch_size
    in_one = in_one if trial.calibration.gradient == "batch" else 1
    size = cap.FitSize(macs, sum(sizes), images, in_one, max(sizes), len(sizes))
    block = trial.pruner_options.get("block_size") or 64
    rates = measure_rates(subject, given, macs, min(int(block), 512))
    pruner = subject.resolved.pruner()
    fit, prune = rates.seconds(pruner.work(size)), rates.seconds(pruner.prune_work(size))
    evaluated = subject.resolved.num_evaluated
    states = subject.resolved.model.evaluation_passes(evaluated) * macs / rates.inference
    values = {"fit_seconds": fit, "prune_seconds": prune, "evaluation_seconds": states}
    message = f"a fit of {name} about {_time(fit)}; an evaluation on {evaluated:,} images {_time(states)} and decoding"
    yield Finding("time", "ok", message, values)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else (
        f"{seconds / 3600:.1f} h"
    )  # fmt: skip


def measure_rates(subject: Subject, given: GradientScale, macs: int, block_size: int) -> MeasuredRates:
    """Measures the machine at this model's work.

    Args:
        subject: Model and images.
        given: Gradients that were taken.
        macs: Multiply-adds of a forward pass for one image.
        block_size: B, of the blocks to time.
    """
    device, images = subject.device, subject.images.images[:IMAGES].to(subject.device)
    with torch.inference_mode():
        subject.model(images[:1])
        start = time.perf_counter()
        subject.model(images)
        inference = macs * len(images) / seconds_since(start, device)
    time_blocks(1, block_size, device)  # builds what is built once
    gram, solve = time_blocks(BLOCKS, block_size, device)
    return MeasuredRates(inference, 3 * macs * given.count / given.seconds, gram, solve)


def time_blocks(blocks: int, block_size: int, device: str) -> tuple[float, float]:
    """Returns the rates of summing, and of inverting and eliminating Fisher blocks, multiply-adds per second."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(ROWS, blocks * block_size, generator=draw).to(device)
    weight = torch.randn(blocks, block_size, generator=draw).to(device)
    fisher = cap.BlockFisher(blocks * block_size, block_size, 1.0, device)
    start = time.perf_counter()
    for _ in range(ROUNDS):
        for some in rows.split(16):
            fisher.update(some)
    inverse = fisher.inverse()
    summed = seconds_since(start, device)
    start = time.perf_counter()
    cap.eliminate(weight, inverse)
    solved = seconds_since(start, device)
    size = blocks * block_size
    return ROUNDS * ROWS * block_size * size / summed, block_size**2 * size / solved

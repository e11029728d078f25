"""Plan of a trial before its images are there: memory of its fit, refusals of its pruner."""

from __future__ import annotations

import torch
from torch import nn

import cap
from bench.specs.recipes import ACDCSpec, GradualSpec
from bench.specs.trial import ResolvedTrial


def plan_fit(resolved: ResolvedTrial, model: nn.Module, memory_budget: int, share: bool) -> cap.MemoryPlan | None:
    """Plans the fit of a trial within a memory budget.

    Args:
        resolved: The trial.
        model: Architecture of its model, with any weights.
        memory_budget: Bytes that the fit may take.
        share: Whether what is computed on the calibration images is kept for the next trial of the group.

    Returns:
        The plan; None if the fit takes next to no memory.

    Raises:
        ValueError: If the budget is too small.
    """
    spec, calibration = resolved.model, resolved.trial.calibration
    images = cap.Calibration(
        torch.zeros(1, *spec.input_shape).expand(calibration.images, *spec.input_shape),
        torch.zeros(calibration.images, dtype=torch.int64),
        batch_size=calibration.batch_size,
        gradient=calibration.gradient,
        share=share,
    )
    images.memory_budget = memory_budget
    return resolved.pruner().plan(model, cap.select_layers(model, spec.prunable), images)


def training_refusal(resolved: ResolvedTrial, recipe: GradualSpec | ACDCSpec) -> str | None:
    """Returns why the pruner cannot prune as the training asks for, or None if it can."""
    pruner = resolved.pruner()
    patterns = [
        cap.Unstructured(sparsity, recipe.scope) for sparsity in recipe.events().values() if sparsity is not None
    ]
    return next((reason for pattern in patterns if (reason := pruner.refusal(pattern))), None)

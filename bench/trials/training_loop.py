"""Training within a trial: after one-shot pruning, or with pruning on the way."""

from __future__ import annotations

import time
from functools import partial

import cap
from bench.core import distributed
from bench.core.timing import seconds_since
from bench.models.pruned_file import save_pruned
from bench.specs.recipes import ACDCSpec, GradualSpec
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import TrialContext
from bench.trials.cost import FitCost
from bench.trials.planning import training_refusal
from bench.trials.recorder import TrialRecorder
from bench.trials.training_state import TrainingState, start_training, summarise_training


def run_with_training(
    context: TrialContext, recorder: TrialRecorder, checkpointer: TrialCheckpointer, recipe: GradualSpec | ACDCSpec
) -> None:
    """Trains, and at the beginning of some epochs prunes with a fresh fit; goes on from the last checkpoint.

    Beside the row, each measured state is kept as `<pattern>.safetensors`.

    Raises:
        RuntimeError: If a weight comes back that an earlier step of gradual pruning had removed.
    """
    if reason := training_refusal(context.resolved, recipe):
        for pattern in context.resolved.patterns:
            recorder.skipped(pattern, reason, "finetuned")
        return
    wanted = context.resolved.trial.patterns
    measured: dict[int, cap.Pattern] = {
        epoch: pattern
        for epoch, sparsity in recipe.measured().items()
        if str(pattern := cap.Unstructured(sparsity, recipe.scope)) in wanted
    }
    train(context, recorder, checkpointer, start_training(context, context.dense.model, recipe, measured, FitCost()))


def train(
    context: TrialContext, recorder: TrialRecorder, checkpointer: TrialCheckpointer, state: TrainingState
) -> None:
    """Trains a model from start to end or from its last checkpoint, and measures it.

    The state is saved after every epoch, and in long ones on the way.

    Args:
        context: The trial.
        recorder: Rows of the trial.
        checkpointer: Progress of the trial.
        state: The training.
    """
    device, recipe = context.config.device, state.recipe
    checkpointer.attach("training", state)
    start = 0.0
    batches = -(-min(recipe.images, len(context.resolved.model.inputs("train"))) // recipe.batch_size)

    def after_step() -> None:
        nonlocal start
        step, training = state.training.step, state.training
        context.reporter.training(
            state.epoch + 1, recipe.epochs, step, batches * recipe.epochs, recipe.batch_size, training.last_loss
        )
        if checkpointer.is_due():
            state.seconds += seconds_since(start, device)
            checkpointer.save()
            start = time.perf_counter()

    events = recipe.events()
    for epoch in range(state.epoch, recipe.epochs):
        if epoch in events and not state.begun:
            _begin_phase(context, state, events[epoch])
        if not state.begun and (epoch in events or epoch == 0):
            state.begun = True
            checkpointer.save()
        start = time.perf_counter()
        state.training.run_epoch(epoch, after_step)
        state.seconds += seconds_since(start, device)
        state.epoch, state.begun = epoch + 1, False
        if pattern := state.measured.get(state.epoch):
            _measure(context, recorder, state, pattern)
        checkpointer.save()
    checkpointer.detach("training")


def _measure(context: TrialContext, recorder: TrialRecorder, state: TrainingState, pattern: cap.Pattern) -> None:
    """Measures a model in training; where it was pruned during training it is kept as a file, too."""
    summary = summarise_training(context, state)
    masks = state.training.masks.state_dict() if state.training.masks is not None else None
    model = state.training.averaged()
    recorder.pruned(context.measure(model, "finetuned", pattern, state.cost, masks, summary))
    config = context.config
    if config.keep_models and config.folder is not None and context.resolved.trial.training is not None:
        path = config.folder / f"{pattern}.safetensors"
        distributed.run_on_rank0(partial(save_pruned, path, model, masks or {}))


def _begin_phase(context: TrialContext, state: TrainingState, sparsity: float | None) -> None:
    """Prunes a model in training with a pruner fitted to its present weights, or frees all weights.

    Args:
        context: The trial.
        state: The training.
        sparsity: Sparsity to prune to; None frees all weights.

    Raises:
        RuntimeError: If a weight comes back that an earlier step had removed.
    """
    training, recipe = state.training, state.recipe
    if sparsity is None:
        training.set_masks(None)
        return
    assert isinstance(recipe, GradualSpec | ACDCSpec)
    pattern = cap.Unstructured(sparsity, recipe.scope)
    pruner, fit = context.fit(state.model)
    pruned, cost = context.prune(pruner, pattern, fit)
    for name, mask in training.masks.state_dict().items() if training.masks is not None else ():
        if back := int((pruned.masks[name] & ~mask).sum()):
            raise RuntimeError(f"{back} weights of {name} that are zero already came back at {pattern}: a pruner in "
                               "gradual training must remove those first")  # fmt: skip
    state.cost += cost
    pruned.apply_to(state.model)
    training.set_masks(pruned.masks)

"""One-shot pruning within a trial, with a fine-tune where asked for."""

from __future__ import annotations

import copy
from dataclasses import replace

import cap
from bench.evaluation.accuracy import mean_loss
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import TrialContext
from bench.trials.cost import FitCost
from bench.trials.int8 import measure_int8
from bench.trials.measurement import LossIncrease
from bench.trials.recorder import TrialRecorder
from bench.trials.training_loop import train
from bench.trials.training_state import start_training


def run_one_shot(context: TrialContext, recorder: TrialRecorder, checkpointer: TrialCheckpointer) -> None:
    """Fits once, then for each pattern prunes, evaluates, and where asked for fine-tunes and evaluates again.

    A run that was interrupted goes on from the last checkpoint, and fits again only if patterns are left to prune.
    """
    trial, dense = context.resolved.trial, context.dense.model
    if checkpointer.has_saved("training") and trial.finetune is not None:
        train(context, recorder, checkpointer, start_training(context, dense, trial.finetune, {}, FitCost()))
    left = [pattern for pattern in context.resolved.patterns if str(pattern) not in recorder.patterns]
    if not left:
        return
    pruner, fit = context.fit(dense, context.units)
    fit = context.expect(pruner, left, fit)
    layers = cap.select_layers(dense, context.resolved.model.prunable)
    dense_loss = mean_loss(dense, context.calibration.for_loss)
    for pattern in left:
        if reason := pruner.refusal(pattern) or cap.shape_mismatch(layers, pattern):
            recorder.skipped(pattern, reason, "one_shot", fit)
            continue
        context.seed(f"prune {pattern}")  # the same after any training before it
        if isinstance(pattern, cap.UnitsThen):
            pruned, cost = context.prune_in_two_steps(pruner, pattern, fit)
        else:
            pruned, cost = context.prune(pruner, pattern, fit)
        candidate = copy.deepcopy(dense)
        pruned.apply_to(candidate)
        # after a second fit there is no one quadratic model of both steps
        predicted = None if isinstance(pattern, cap.UnitsThen) else pruner.predicted_loss(pruned)
        observed = mean_loss(candidate, context.calibration.for_loss) - dense_loss
        cost = context.settle_batch_norm(candidate, cost)  # after the loss, which is the pruning's alone
        measured = context.measure(candidate, "one_shot", pattern, cost, pruned.masks)
        recorder.pruned(replace(measured, loss=LossIncrease(predicted, observed)))
        if trial.quantization is not None:
            measure_int8(context, recorder, candidate, pattern, pruned.masks, cost)
        if str(pattern) in trial.finetune_at and trial.finetune is not None:
            state = start_training(context, candidate, trial.finetune, {trial.finetune.epochs: pattern}, cost)
            state.training.set_masks(pruned.masks)
            train(context, recorder, checkpointer, state)
        else:
            checkpointer.save()

"""One trial from start to rows."""

from __future__ import annotations

import torch

import cap
from bench.evaluation.macs import count_macs
from bench.specs.trial import Trial
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import ExecutionConfig, TrialContext
from bench.trials.one_shot import run_one_shot
from bench.trials.progress import ProgressReporter
from bench.trials.recorder import TrialRecorder
from bench.trials.session import TrialSession
from bench.trials.structured import units_for
from bench.trials.training_loop import run_with_training
from cap.exits import exits_raised
from cap.training.accelerator import float32_products


@float32_products(tf32=False)  # in fits and evaluation; a training may allow it for its own passes
def run_trial(
    trial: Trial,
    recorder: TrialRecorder | None = None,
    config: ExecutionConfig | None = None,
    session: TrialSession | None = None,
    share: bool = False,
) -> TrialRecorder:
    """Runs a trial: dense gate, calibration, then pruning at once or during training.

    Args:
        trial: The trial.
        recorder: Recorder of the rows; by default a new one.
        config: Means of the trial; by default those of this process on the CPU, with no checkpoints.
        session: Dense models and calibration images of the trials before it; by default a new one.
        share: Whether what is computed on the calibration images is kept for the next trial of the group.

    Returns:
        The recorder, with the rows of the dense model and of every pattern.

    Raises:
        GateError: If the dense model does not reach its recorded accuracy, or the expected one.
        ValueError: If the pruner cannot do what the trial asks for.
        SystemExit: If the pruner ends this process, `os._exit` included.
    """
    resolved, config = trial.resolve(), config or ExecutionConfig()
    session = session or TrialSession(config.device)
    recorder = recorder or TrialRecorder(resolved, config.device)
    reporter = ProgressReporter(trial.label, config.folder, config.on_progress)
    dense = session.dense(resolved, config.expected_top1.get(trial.model), reporter.evaluation)
    recorder.gated(dense.gate)
    layers = cap.select_layers(dense.model, resolved.model.prunable)
    image = torch.zeros(1, *resolved.model.input_shape, device=config.device)
    macs = count_macs(dense.model, layers, image)
    # models in training are all different, so they have nothing to share
    calibration = session.calibration(resolved, share and trial.training is None)
    recorder.calibrated(len(calibration.images))
    units = units_for(resolved.patterns, dense.model, layers, image)
    context = TrialContext(resolved, dense, macs, calibration, config, reporter, units)
    recorder.dense(context.measure_dense())
    checkpointer = TrialCheckpointer(config.folder, trial.label, config.checkpoint_interval)
    checkpointer.load()
    checkpointer.attach("rows", recorder)
    with exits_raised():
        if trial.training is None:
            run_one_shot(context, recorder, checkpointer)
        else:
            run_with_training(context, recorder, checkpointer, trial.training)
    return recorder

"""Training within a trial: after one-shot pruning, or with pruning on the way."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from timm.optim import create_optimizer_v2
from torch import nn

import cap
from bench.core import distributed
from bench.core.timing import seconds_since
from bench.models.pruned_file import save_pruned
from bench.specs.recipes import ACDCSpec, GradualSpec, TrainingSpec
from bench.trials.checkpoint import Saved
from bench.trials.progress import TrainingState, TrialCheckpointer
from cap.distributed import rank, world_size
from cap.training.schedules import cosine, linear, sawtooth

if TYPE_CHECKING:
    from bench.models import ModelSpec
    from bench.trials.runner import TrialContext

RATES = {"linear": linear, "cosine": cosine, "sawtooth": sawtooth}


def trained(spec: ModelSpec, how: TrainingSpec, epochs: int, phase: str = "finetuned") -> dict[str, Any]:
    """Returns the columns that say how long a model was trained."""
    images = epochs * min(how.images, len(spec.inputs("train")))
    return {"phase": phase, "epoch": epochs, "finetune_epochs": epochs, "finetune_images": images}


def start_training(
    run: TrialContext,
    model: nn.Module,
    how: TrainingSpec,
    measured: dict[int, cap.Pattern],
    about: dict[str, Any],
    learner: nn.Module | None = None,
) -> TrainingState:
    """Sets up the training of a copy of a model, with stochastic depth where the augmentation set has some.

    Args:
        run: The trial.
        model: The model, left as it is.
        how: The recipe.
        measured: After how many epochs the model is measured, and the pattern that it then has.
        about: Columns of the rows to come.
        learner: What learns in place of the copy, with parameters of the same names: the model in another form.
    """
    chosen = how.augmentation_set
    if learner is None:
        learner = run.spec.build(drop_path_rate=chosen.drop_path).to(run.device)
        learner.load_state_dict(model.state_dict())
    optimizer = create_optimizer_v2(learner, opt=how.optimizer, lr=how.lr, weight_decay=how.weight_decay)
    stream = run.spec.training_stream(how, run.trial.derived_seed("fine-tune"), rank(), world_size(), run.device)
    steps = how.lr_period() * -(-min(how.images, len(run.spec.inputs("train"))) // how.batch_size)
    training = cap.Training(
        learner,
        optimizer,
        stream.epoch,
        lambda step: RATES[how.schedule](step, steps, how.lr, how.lr_end),
        how.label_smoothing,
        chosen.grad_clip,
        cap.Distillation(run.model, how.distillation, how.temperature) if how.distillation else None,
        how.precision,
        run.micro_batch,
    )
    return TrainingState(how, learner, training, measured, about)


def prune_in_training(run: TrialContext, how: GradualSpec | ACDCSpec) -> None:
    """Trains, and at the beginning of some epochs prunes with a fresh fit; goes on from the last checkpoint.

    Beside the row, each measured state is kept as `<pattern>.safetensors`.

    Raises:
        RuntimeError: If a weight comes back that an earlier step of gradual pruning had removed.
    """
    if reason := _refusal(run, how):
        for text in run.trial.patterns:
            run.refuse(cap.parse_pattern(text), reason, phase="finetuned")
        return
    run.shared.calibration.share = False  # no two models are the same
    progress = TrialCheckpointer(run)
    saved = progress.restore()
    measured: dict[int, cap.Pattern] = {
        epoch: pattern
        for epoch, sparsity in how.measured().items()
        if str(pattern := cap.Unstructured(sparsity, how.scope)) in run.trial.patterns
    }
    about = {"fit_seconds": 0.0, "prune_seconds": 0.0}
    train(run, progress, start_training(run, run.model, how, measured, about), saved)


def train(run: TrialContext, progress: TrialCheckpointer, stretch: TrainingState, saved: Saved | None = None) -> None:
    """Trains a model from start to end, saves the state after every epoch and in long ones on the way, and measures.

    Args:
        run: The trial.
        progress: Keeps the state.
        stretch: The training.
        saved: A state of the same training to go on from.
    """
    if saved is not None:
        stretch.load(saved)
    how, about, training = stretch.how, stretch.about, stretch.training
    about.setdefault("finetune_seconds", 0.0)
    start = 0.0

    def after_step() -> None:
        nonlocal start
        if progress.is_due():
            about["finetune_seconds"] += seconds_since(start, run.device)
            progress.save(stretch)
            start = time.perf_counter()

    events = how.events()
    for epoch in range(stretch.epoch, how.epochs):
        if epoch in events and not stretch.begun:
            _begin_phase(run, stretch, events[epoch])
        if not stretch.begun and (epoch in events or epoch == 0):
            stretch.begun = True
            progress.save(stretch)
        start = time.perf_counter()
        training.run_epoch(epoch, after_step)
        about["finetune_seconds"] += seconds_since(start, run.device)
        stretch.epoch, stretch.begun = epoch + 1, False
        if pattern := stretch.measured.get(stretch.epoch):
            run.measure(stretch.model, pattern, **about, **trained(run.spec, how, stretch.epoch))
            if run.folder is not None and run.trial.training is not None:
                masks = training.masks.state_dict() if training.masks is not None else {}
                path = run.folder / f"{pattern}.safetensors"
                distributed.run_on_rank0(partial(save_pruned, path, stretch.model, masks))
        progress.save(stretch)


def _refusal(run: TrialContext, how: GradualSpec | ACDCSpec) -> str | None:
    """Returns why the pruner cannot prune as the training asks for, or None if it can."""
    pruner = cap.create(run.trial.pruner, **run.trial.pruner_options)
    patterns = [cap.Unstructured(sparsity, how.scope) for sparsity in how.events().values() if sparsity is not None]
    return next((reason for pattern in patterns if (reason := pruner.supports(pattern))), None)


def _begin_phase(run: TrialContext, stretch: TrainingState, sparsity: float | None) -> None:
    """Prunes a model in training with a pruner fitted to its present weights, and adds up what it took; or frees it.

    Args:
        run: The trial.
        stretch: The training.
        sparsity: Where to; None frees all weights.
    """
    training, about = stretch.training, stretch.about
    if sparsity is None:
        training.set_masks(None)
        return
    assert isinstance(stretch.how, GradualSpec | ACDCSpec)
    pattern = cap.Unstructured(sparsity, stretch.how.scope)
    pruner, fitted = run.fit(stretch.model)
    start = time.perf_counter()
    pruned = pruner.prune(pattern)
    for name, mask in training.masks.state_dict().items() if training.masks is not None else ():
        if back := int((pruned.masks[name] & ~mask).sum()):
            raise RuntimeError(f"{back} weights of {name} that are zero already came back at {pattern}: a pruner in "
                               "gradual training must remove those first")  # fmt: skip
    about["prune_seconds"] += seconds_since(start, run.device) - pruner.refit_seconds
    about["fit_seconds"] += pruner.refit_seconds
    for column in ("fit_seconds", "shared_seconds"):
        about[column] = about.get(column, 0.0) + fitted[column]
    peaks = [value for value in (about.get("peak_memory_bytes"), fitted["peak_memory_bytes"]) if value is not None]
    about |= {"peak_memory_bytes": max(peaks, default=None), "num_gradients": fitted["num_gradients"]}
    pruned.apply_to(stretch.model)
    training.set_masks(pruned.masks)

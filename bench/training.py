"""Training within a trial: after one-shot pruning, or with pruning on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from timm.optim import create_optimizer_v2
from torch import Tensor, nn

import cap
from bench import provenance
from bench.augment import training_batches
from bench.checkpoint import Checkpoint, save_pruned
from bench.data import CLASSES, load_split
from bench.metrics import seconds_since
from bench.recipes import ACDCSpec, GradualSpec, TrainingSpec
from cap.schedules import cosine, linear, sawtooth

if TYPE_CHECKING:
    from bench.trial import Run

logger = logging.getLogger(__name__)

RATES = {"linear": linear, "cosine": cosine, "sawtooth": sawtooth}


def trained(how: TrainingSpec, epochs: int, phase: str = "finetuned") -> dict[str, Any]:
    """Returns the columns that say how long a model was trained."""
    images = epochs * min(how.images, len(load_split("train")))
    return {"phase": phase, "epoch": epochs, "finetune_epochs": epochs, "finetune_images": images}


def start_training(
    run: Run, model: nn.Module, how: TrainingSpec, learner: nn.Module | None = None
) -> tuple[nn.Module, cap.Training]:
    """Sets up the training of a model.

    Args:
        run: The trial's.
        model: The model, left as it is.
        how: The recipe.
        learner: What learns in its place, with parameters of the same names: the model in another form.

    Returns:
        The learner, by default a copy of the model, with stochastic depth where the augmentation set has some; and its
        training.
    """
    train_set, chosen = load_split("train"), how.augmentation_set
    if learner is None:
        learner = run.spec.build(drop_path_rate=chosen.drop_path).to(run.device)
        learner.load_state_dict(model.state_dict())
    optimizer = create_optimizer_v2(learner, opt=how.optimizer, lr=how.lr, weight_decay=chosen.weight_decay)
    seed = run.trial.derived_seed("fine-tune")

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in training_batches(train_set, how, run.spec.input_size, len(CLASSES), seed, epoch):
            yield inputs.to(run.device), labels.to(run.device)

    steps = how.tooth() * -(-min(how.images, len(train_set)) // how.batch_size)
    teacher = cap.Distillation(run.model, how.distillation, how.temperature) if how.distillation else None
    return learner, cap.Training(
        learner,
        optimizer,
        batches,
        lambda step: RATES[how.schedule](step, steps, how.lr, how.lr_end),
        how.label_smoothing,
        chosen.grad_clip,
        teacher,
    )


def prune_in_training(run: Run, how: GradualSpec | ACDCSpec) -> None:
    """Trains, and at the beginning of some epochs prunes with a fresh fit; goes on from the last checkpoint.

    The state is saved after every epoch; one that other code saved is not gone on from. Beside the row, each measured
    state is kept as `<pattern>.safetensors`.

    Raises:
        RuntimeError: If a weight comes back that an earlier step of gradual pruning had removed.
    """
    if reason := _refusal(run, how):
        for text in run.trial.patterns:
            run.refuse(cap.parse_pattern(text), reason, phase="finetuned")
        return
    run.shared.calibration.share = False  # no two models are the same
    model, training = start_training(run, run.model, how)
    checkpoint = Checkpoint(run.folder / "checkpoint") if run.folder is not None else None
    first, about = 0, {"fit_seconds": 0.0, "prune_seconds": 0.0, "finetune_seconds": 0.0}
    code = {"commit": provenance.commit(), "dirty": provenance.dirty(), "versions": provenance.versions()}
    if checkpoint is not None:
        checkpoint.discard_unfinished()
        if found := checkpoint.load(model):
            state, masks = found
            if state["code"] == code:
                training.load_state_dict({**state["training"], "masks": masks})
                first, about = state["epoch"], state["about"]
                run.rows.restore(state["rows"], state["layer_rows"])
            else:
                logger.warning("%s starts again: its checkpoint is of other code or versions", run.trial.label)
                checkpoint.remove()
                model, training = start_training(run, run.model, how)
    events, measured = how.events(), how.measured()
    for epoch in range(first, how.epochs):
        if epoch in events:
            sparsity = events[epoch]
            if sparsity is None:
                training.hold(None)
            else:
                _prune_step(run, model, training, cap.Unstructured(sparsity, how.scope), about)
        start = time.perf_counter()
        training.run_epoch(epoch)
        about["finetune_seconds"] += seconds_since(start, run.device)
        done = epoch + 1
        masks = training.masks.state_dict() if training.masks is not None else None
        if done in measured:
            pattern = cap.Unstructured(measured[done], how.scope)
            if str(pattern) in run.trial.patterns:
                run.measure(model, pattern, **about, **trained(how, done))
                if run.folder is not None:
                    save_pruned(run.folder / f"{pattern}.safetensors", model, masks or {})
        if checkpoint is not None:
            state = {key: value for key, value in training.state_dict().items() if key != "masks"}
            kept = {"code": code, "rows": run.rows.plain(), "layer_rows": run.rows.layer_rows}
            checkpoint.save(model, {"training": state, "epoch": done, "about": about, **kept}, masks)


def _refusal(run: Run, how: GradualSpec | ACDCSpec) -> str | None:
    """Returns why the pruner cannot prune as the training asks for, or None if it can."""
    pruner = cap.create(run.trial.pruner, **run.trial.pruner_options)
    patterns = [cap.Unstructured(sparsity, how.scope) for sparsity in how.events().values() if sparsity is not None]
    return next((reason for pattern in patterns if (reason := pruner.supports(pattern))), None)


def _prune_step(
    run: Run, model: nn.Module, training: cap.Training, pattern: cap.Unstructured, about: dict[str, Any]
) -> None:
    """Prunes a model in training with a pruner fitted to its present weights, and adds up what it took."""
    pruner, fitted = run.fit(model)
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
    pruned.apply_to(model)
    training.hold(pruned.masks)

"""Columns of the result files: typed rows, from which the arrow schemas are derived."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

ARROW_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
    list[float]: pa.list_(pa.float64()),
}


@dataclass
class ResultRow:
    """One state of a trial's model: its dense model, or one pattern in one phase. What was not measured is None.

    Attributes:
        sweep: Name of the sweep.
        profile: Name of the profile.
        trial_id: Identity of the trial.
        status: One of `bench.results.store.STATUSES`.
        error: Why there is no result, or no valid one.
        model: Name of the model in its profile.
        family: Family of the model.
        timm_name: timm's name of the architecture.
        dataset: Name of the data set.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        pruner_options: JSON of all options.
        pattern: Sparsity pattern, as `cap.parse_pattern` reads it.
        sparsity_target: Fraction of zeros asked for.
        sparsity_prunable: Fraction of zeros in the layers that are pruned.
        sparsity_model: Fraction of zeros in all parameters.
        regime: `one_shot`, `gradual` or `acdc`.
        recipe: JSON of the training.
        phase: `dense`, `one_shot`, `finetuned`, `int8` or `int8_finetuned`.
        epoch: Epochs trained so far.
        seed: Seed of the trial.
        top1: Test accuracy, percent.
        top5: Test accuracy among five classes, percent.
        loss: Test cross-entropy, nats.
        n_images: Test images.
        agreement: Test images that get the dense model's class, percent.
        violations: Weights that break the pattern.
        predicted_loss_increase: Increase of the calibration loss by the pruner's quadratic model.
        observed_loss_increase: Increase of the calibration loss.
        top1_dense: Test accuracy of the dense model, percent.
        top1_drop: Loss of accuracy, percentage points.
        top1_rel_drop: Loss of accuracy, percent of the dense model's.
        params_dense: Parameters.
        params_nonzero: Parameters that are not zero.
        macs_dense: Multiply-adds of a forward pass for one image.
        macs_sparse: Multiply-adds without those of zeros.
        fit_seconds: Time of the fits, as if nothing were shared, seconds.
        shared_seconds: Part of it that another trial of the group spent, seconds.
        prune_seconds: Time of reading off the pruned weights, seconds.
        finetune_seconds: Time of the training, seconds; of embedded models the first in a process also makes the
            augmented batches that the next ones share.
        peak_memory_bytes: Peak memory during the fits.
        calibration_images: Training images that the pruner saw.
        num_gradients: Gradients that the pruner used.
        gradient: `sample` or `batch`.
        calibration_batch_size: Images in a forward pass; with batch gradients the images in one gradient.
        finetune_epochs: Epochs of training.
        finetune_images: Images of training, counted each time they are seen.
        commit: Commit of the code.
        dirty: Whether tracked files differed from it.
        versions: JSON of the versions of packages.
        device: Name of the processor or card.
        threads: Threads of the process.
        host: Name of the machine.
        started_at: Start of the trial.
        knn_top1: Accuracy of the features' nearest neighbours, self-supervised models, percent.
        file_bytes: Size of the model as a file: dense, sparse or sparse INT8, by its phase.
        processes: Processes that worked on the trial together.
        job: SLURM's id of the job, with its array task.
        label_source: `given` labels, or labels `drawn` from the model's own prediction; null as `given`.
        params_small: Parameters of the model without the removed units.
        macs_small: Its multiply-adds of a forward pass for one image.
        cut_deviation: Largest difference of its outputs from those with zeros, relative to the largest output.
        latency_small: Time of its forward pass of a batch, median, seconds.
        latency_dense: The same of the dense model, timed in turn with it.
        split: Split whose images were evaluated; null as `test`.
        dense_seed: Seed that the dense model was trained with; null for the weights from before there were several.
        batch_norm: Statistics of batch normalisation after pruning: `kept` or `reestimated`; null as `kept`.
        pixel_knn_top1: Accuracy of raw pixels by nearest neighbours, of dense models with `knn_top1`, percent.
        setting: Whose the pruner's options are, `authors` or `tuned`; null where the trial does not say so.
        train_images: Training images that there were; null where no card of the data is kept.
        test_images: Test images that there were; null likewise.
        data_checksum: Checksum of the names and labels of all images; null likewise.
        gate: What the dense accuracy was held against: `recorded` for the weights, `expected` by the user, or `none`.
        gate_top1: That accuracy, percent.
        compute: How the training computed: precision, `tf32`, `channels_last`, `compiled`; null where there was none,
            or the recipe's precision alone.
        pilot_images: Images of a pilot, whose rows are no results; null for results.
        calibration_augmentation: Augmentation of the training images that the pruner saw, null for none.
    """

    sweep: str | None = None
    profile: str | None = None
    trial_id: str | None = None
    status: str | None = None
    error: str | None = None
    model: str | None = None
    family: str | None = None
    timm_name: str | None = None
    dataset: str | None = None
    pruner: str | None = None
    pruner_options: str | None = None
    pattern: str | None = None
    sparsity_target: float | None = None
    sparsity_prunable: float | None = None
    sparsity_model: float | None = None
    regime: str | None = None
    recipe: str | None = None
    phase: str | None = None
    epoch: int | None = None
    seed: int | None = None
    top1: float | None = None
    top5: float | None = None
    loss: float | None = None
    n_images: int | None = None
    agreement: float | None = None
    violations: int | None = None
    predicted_loss_increase: float | None = None
    observed_loss_increase: float | None = None
    top1_dense: float | None = None
    top1_drop: float | None = None
    top1_rel_drop: float | None = None
    params_dense: int | None = None
    params_nonzero: int | None = None
    macs_dense: int | None = None
    macs_sparse: int | None = None
    fit_seconds: float | None = None
    shared_seconds: float | None = None
    prune_seconds: float | None = None
    finetune_seconds: float | None = None
    peak_memory_bytes: int | None = None
    calibration_images: int | None = None
    num_gradients: int | None = None
    gradient: str | None = None
    calibration_batch_size: int | None = None
    finetune_epochs: int | None = None
    finetune_images: int | None = None
    commit: str | None = None
    dirty: bool | None = None
    versions: str | None = None
    device: str | None = None
    threads: int | None = None
    host: str | None = None
    started_at: datetime | None = None
    knn_top1: float | None = None
    file_bytes: int | None = None
    processes: int | None = None
    job: str | None = None
    label_source: str | None = None
    params_small: int | None = None
    macs_small: int | None = None
    cut_deviation: float | None = None
    latency_small: float | None = None
    latency_dense: float | None = None
    split: str | None = None
    dense_seed: int | None = None
    batch_norm: str | None = None
    pixel_knn_top1: float | None = None
    setting: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    data_checksum: str | None = None
    gate: str | None = None
    gate_top1: float | None = None
    compute: str | None = None
    pilot_images: int | None = None
    calibration_augmentation: str | None = None


@dataclass
class LayerRow:
    """Sparsity of one layer in one state of a trial's model.

    Attributes:
        sweep: Name of the sweep.
        profile: Name of the profile.
        trial_id: Identity of the trial.
        pattern: Pattern of the state, None for the dense model.
        phase: Phase of the state.
        layer: Parameter name.
        weights: Number of weights.
        zeros: Number of zeros among them.
        sparsity: Fraction of zeros.
    """

    sweep: str | None
    profile: str | None
    trial_id: str | None
    pattern: str | None
    phase: str | None
    layer: str
    weights: int
    zeros: int
    sparsity: float


def arrow_schema(row: type) -> pa.Schema:
    """Returns the arrow schema of a dataclass whose fields are of `ARROW_TYPES`, or one of these or None."""
    hints = typing.get_type_hints(row)
    return pa.schema([(field.name, ARROW_TYPES[_plain(hints[field.name])]) for field in dataclasses.fields(row)])


def _plain(hint: typing.Any) -> type:
    """Returns the type beside None of an optional one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


SCHEMA, LAYER_SCHEMA = arrow_schema(ResultRow), arrow_schema(LayerRow)
# columns added after results were committed: null in a file that lacks them
ADDED_COLUMNS = ("knn_top1", "file_bytes", "processes", "job", "label_source", "params_small", "macs_small",
                 "cut_deviation", "latency_small", "latency_dense", "split", "dense_seed", "batch_norm",
                 "pixel_knn_top1", "setting", "train_images", "test_images", "data_checksum", "gate",
                 "gate_top1", "macs", "peak_macs", "load_seconds", "compute", "pilot_images",
                 "calibration_augmentation")  # fmt: skip

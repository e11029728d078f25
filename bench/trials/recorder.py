"""Rows of one trial."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import torch

import cap
from bench.core import distributed, provenance
from bench.core.hardware import hardware
from bench.results.predictions import PredictionRow, encode
from bench.results.schema import LayerRow, ResultRow
from bench.specs.trial import ResolvedTrial
from bench.trials.cost import FitCost
from bench.trials.gate import Gate
from bench.trials.measurement import Measurement

OnMeasured = Callable[[Measurement, ResultRow], None]


class TrialRecorder:
    """The rows of one trial; every row carries all that identifies it.

    Args:
        resolved: The trial.
        device: torch device that it runs on; None where none could be used.
        on_measured: Function called with every measurement of a pruned model and its row.

    Attributes:
        rows: One row for each state of the model, skipped pattern or failure.
        layer_rows: Sparsity of every layer in every state.
        predictions: Predicted classes of every state.
    """

    def __init__(
        self, resolved: ResolvedTrial, device: str | None = "cpu", on_measured: OnMeasured | None = None
    ) -> None:
        trial, model = resolved.trial, resolved.model
        self.rows: list[ResultRow] = []
        self.layer_rows: list[LayerRow] = []
        self.predictions: list[PredictionRow] = []
        self._on_measured = on_measured
        card = model.data_card()
        self._common = ResultRow(
            sweep=trial.sweep,
            profile=trial.profile,
            trial_id=trial.id,
            status="done",
            model=trial.model,
            family=model.family,
            timm_name=model.timm_name,
            dataset=model.dataset,
            pruner=trial.pruner,
            pruner_options=json.dumps(trial.pruner_options, sort_keys=True),
            regime=trial.regime,
            recipe=trial.recipe_text,
            split=trial.evaluation_split,
            dense_seed=trial.dense_seed,
            setting=trial.setting,
            pilot_images=trial.pilot_images,
            seed=trial.seed,
            calibration_images=trial.calibration.images,
            gradient=trial.calibration.gradient,
            calibration_batch_size=trial.calibration.batch_size,
            label_source=trial.calibration.label_source,
            calibration_augmentation=trial.calibration.augmentation,
            batch_norm=trial.batch_norm,
            commit=provenance.commit(),
            dirty=provenance.dirty(),
            versions=provenance.versions(),
            device=hardware(device) if device is not None else None,
            threads=torch.get_num_threads(),
            host=provenance.host(),
            job=provenance.job(),
            processes=distributed.world_size(),
            started_at=datetime.now(timezone.utc),
            train_images=card.train if card is not None else None,
            test_images=card.test if card is not None else None,
            data_checksum=card.checksum if card is not None else None,
        )

    def calibrated(self, images: int) -> None:
        """Notes how many calibration images were drawn: all there are, where the trial asks for more."""
        self._common = dataclasses.replace(self._common, calibration_images=images)

    def gated(self, gate: Gate) -> None:
        """Notes what the dense accuracy was held against."""
        self._common = dataclasses.replace(self._common, gate=gate.kind, gate_top1=gate.top1)

    def dense(self, measured: Measurement) -> None:
        """Adds the row of the dense model."""
        self._add(dataclasses.replace(self._measured(measured), sparsity_target=0.0), measured)

    def pruned(self, measured: Measurement) -> None:
        """Adds the row of a pruned model; one that is not at its pattern keeps its measurements and is `invalid`."""
        pattern = measured.pattern
        assert pattern is not None
        row = dataclasses.replace(
            self._measured(measured),
            pattern=str(pattern),
            sparsity_target=pattern.sparsity,
            violations=measured.violations,
        )
        if measured.invalid is not None:
            row.status, row.error = "invalid", measured.invalid
        if measured.cost is not None:
            row = dataclasses.replace(_with_cost(row, measured.cost), prune_seconds=measured.cost.prune_seconds)
        if (training := measured.training) is not None:
            row.epoch = row.finetune_epochs = training.epochs
            row.finetune_images, row.finetune_seconds = training.images, training.seconds
            row.compute = training.compute
        if (loss := measured.loss) is not None:
            row.predicted_loss_increase, row.observed_loss_increase = loss.predicted, loss.observed
        if (small := measured.cut) is not None:
            row.params_small, row.macs_small, row.cut_deviation = small.parameters, small.macs, small.deviation
            row.latency_small, row.latency_dense = small.seconds, small.dense_seconds
        self._add(row, measured)
        if self._on_measured is not None:
            self._on_measured(measured, row)

    def skipped(self, pattern: cap.Pattern, reason: str, phase: str, cost: FitCost | None = None) -> None:
        """Adds the row of a pattern that the pruner cannot produce.

        Args:
            pattern: The pattern.
            reason: Why it is skipped.
            phase: Phase that it was wanted in.
            cost: Cost of the fit, where there was one.
        """
        row = dataclasses.replace(
            self._common,
            status="skipped",
            error=reason,
            pattern=str(pattern),
            sparsity_target=pattern.sparsity,
            phase=phase,
        )
        self.rows.append(_with_cost(row, cost) if cost is not None else row)

    def failed(self, error: str) -> None:
        """Adds the row of a failure."""
        self.rows.append(dataclasses.replace(self._common, status="failed", error=error))

    def timed_out(self, error: str) -> None:
        """Adds the row of a trial that the time limit is too short for."""
        self.rows.append(dataclasses.replace(self._common, status="timeout", error=error))

    @property
    def patterns(self) -> set[str | None]:
        """Patterns that have a row."""
        return {row.pattern for row in self.rows}

    def _measured(self, measured: Measurement) -> ResultRow:
        """Returns the columns that every measured state of the model has."""
        accuracy, dense = measured.accuracy, measured.dense
        zeros = sum(layer.zeros for layer in measured.layers.values())
        drop = dense.top1 - accuracy.top1
        return dataclasses.replace(
            self._common,
            phase=measured.phase,
            sparsity_prunable=zeros / sum(layer.weights for layer in measured.layers.values()),
            sparsity_model=1 - measured.nonzero / measured.parameters,
            top1=accuracy.top1,
            top5=accuracy.top5,
            loss=accuracy.loss,
            n_images=accuracy.n_images,
            agreement=accuracy.agreement(dense),
            top1_dense=dense.top1,
            top1_drop=drop,
            top1_rel_drop=100 * drop / dense.top1 if dense.top1 else None,
            params_dense=measured.parameters,
            params_nonzero=measured.nonzero,
            macs_dense=measured.macs.total,
            macs_sparse=measured.macs.sparse({name: layer.sparsity for name, layer in measured.layers.items()}),
            knn_top1=measured.knn_top1,
            pixel_knn_top1=measured.pixel_knn_top1,
            file_bytes=measured.file_bytes,
        )

    def _add(self, row: ResultRow, measured: Measurement) -> None:
        self.rows.append(row)
        assert row.trial_id is not None
        accuracy = measured.accuracy
        classes, labels = encode(accuracy.classes.numpy()), encode(accuracy.labels.numpy())
        predicted = PredictionRow(row.trial_id, row.pattern, measured.phase, accuracy.n_images, classes, labels)
        self.predictions.append(predicted)
        for name, layer in measured.layers.items():
            self.layer_rows.append(
                LayerRow(
                    sweep=row.sweep,
                    profile=row.profile,
                    trial_id=row.trial_id,
                    pattern=row.pattern,
                    phase=row.phase,
                    layer=name,
                    weights=layer.weights,
                    zeros=layer.zeros,
                    sparsity=layer.sparsity,
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows in plain values."""
        rows = [{**vars(row), "started_at": _as_text(row.started_at)} for row in self.rows]
        layer_rows = [dict(vars(row)) for row in self.layer_rows]
        return {"rows": rows, "layer_rows": layer_rows, "predictions": [_as_plain(row) for row in self.predictions]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the rows of a run that was interrupted, in place of any that are there."""
        self.rows = [ResultRow(**{**row, "started_at": _as_time(row["started_at"])}) for row in state["rows"]]
        self.layer_rows = [LayerRow(**row) for row in state["layer_rows"]]
        self.predictions = [_from_plain(row) for row in state["predictions"]]


def _with_cost(row: ResultRow, cost: FitCost) -> ResultRow:
    """Returns a row with the cost of the fit."""
    return dataclasses.replace(
        row,
        fit_seconds=cost.fit_seconds,
        shared_seconds=cost.shared_seconds,
        peak_memory_bytes=cost.peak_bytes,
        num_gradients=cost.num_gradients,
    )


def _as_plain(row: PredictionRow) -> dict[str, Any]:
    return {**vars(row), **{name: base64.b64encode(getattr(row, name)).decode() for name in ("classes", "labels")}}


def _from_plain(values: Mapping[str, Any]) -> PredictionRow:
    return PredictionRow(**{**values, **{name: base64.b64decode(values[name]) for name in ("classes", "labels")}})


def _as_text(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def _as_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None

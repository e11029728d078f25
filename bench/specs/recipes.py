"""Training recipes: after one-shot pruning, with gradual pruning, with alternating phases, in INT8."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

import cap
from bench.core.config import Spec
from bench.data.augmentation import AUGMENTATION_SETS, AugmentationSet

SGD_WEIGHT_DECAY = 1e-4  # the decay of the sets is for AdamW, which takes it apart from the gradient
LATER = {"warmup": 0.0, "ema": 0.0}  # fields that came after results were committed, with what was done before


class TrainingSpec(Spec):
    """Fields that all training has in common.

    Attributes:
        epochs: Number of epochs.
        images: Number of training images in an epoch, drawn anew for each.
        batch_size: Number of images in a step.
        optimizer: timm's name of the optimiser.
        lr: First, or highest, learning rate; `lr_end` is the last, or lowest.
        schedule: Course of the rate from `lr` to `lr_end`.
        label_smoothing: Label smoothing of the cross-entropy, in [0, 1).
        augmentation: Name of the augmentation set.
        crop: Smallest share of the image's area in a random crop.
        distillation: Share of the loss that is the divergence from the dense model's outputs; 0 for none.
        temperature: Temperature of that divergence.
        precision: Precision of the forward pass; below float32 by autocast, with weights and optimiser in float32.
        warmup: Share of the steps in which the rate rises to `lr`, before the schedule begins.
        ema: Decay of the moving average of the weights, which is measured in place of the last ones; 0 for none.
    """

    epochs: int = Field(ge=1)
    images: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0)
    lr_end: float = Field(gt=0)
    schedule: str
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    augmentation: Literal["mild", "light1", "light2", "medium1", "medium2", "deit"] = "light1"
    crop: float = Field(0.08, gt=0, le=1)
    distillation: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(1.0, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    warmup: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)

    @property
    def augmentation_set(self) -> AugmentationSet:
        """Augmentation set of that name."""
        return AUGMENTATION_SETS[self.augmentation]

    @property
    def weight_decay(self) -> float:
        """Weight decay of the optimiser."""
        return self.augmentation_set.weight_decay if self.optimizer == "adamw" else SGD_WEIGHT_DECAY

    @property
    def unsaid(self) -> set[str]:
        """Fields that rows leave out: those that came after others were written, where they say what was done then."""
        return {name for name, usual in LATER.items() if getattr(self, name) == usual}

    def events(self) -> dict[int, float | None]:
        """Returns the events before epochs, {epoch: sparsity to prune to, or None to free all weights}."""
        return {}

    def measured(self) -> dict[int, float]:
        """Returns the measured states, {number of epochs: sparsity that the model then has}."""
        return {}

    def lr_period(self) -> int:
        """Returns the number of epochs in which the rate goes from `lr` to `lr_end` once."""
        return self.epochs


class FinetuneSpec(TrainingSpec):
    """Training after one-shot pruning, masks held.

    Attributes:
        schedule: Course of the rate from `lr` to `lr_end`.
    """

    schedule: Literal["linear", "cosine"] = "linear"

    def at_rate(self, lr: float) -> FinetuneSpec:
        """Returns the same training with another highest learning rate, the lowest in the same proportion to it."""
        return self.model_copy(update={"lr": lr, "lr_end": float(f"{lr * self.lr_end / self.lr:.12g}")})


class GradualSpec(TrainingSpec):
    """Pruning step by step while the model trains.

    Attributes:
        regime: Name of the regime.
        schedule: `sawtooth`: the rate jumps to `lr` at every pruning step and falls linearly to `lr_end` until the
            next; or one `cosine`, or one `linear` fall, over all epochs.
        period: Number of epochs between two steps.
        ramp: Course of the sparsity: `linear` between the knots, or `cubic` from the first to the last.
        knots: Points (epoch, sparsity) of the ramp; steps are at the first knot's epoch and then every `period`.
        scope: Scope of `cap.Unstructured`.
    """

    regime: Literal["gradual"] = "gradual"
    schedule: Literal["sawtooth", "cosine", "linear"] = "sawtooth"
    period: int = Field(ge=1)
    ramp: Literal["linear", "cubic"] = "linear"
    knots: tuple[tuple[int, float], ...] = Field(min_length=1)
    scope: Literal["global", "layer", "erk"] = "global"

    @model_validator(mode="after")
    def _possible(self) -> GradualSpec:
        self.steps()
        if self.knots[-1][0] >= self.epochs:
            raise ValueError(f"the last pruning step is at epoch {self.knots[-1][0]}, but there are {self.epochs}")
        if self.schedule == "sawtooth" and self.warmup:
            raise ValueError("a sawtooth has no warmup: it begins with its highest rate after every pruning step")
        if self.schedule == "sawtooth" and self.knots[0][0] % self.period:
            raise ValueError(
                f"the first pruning step, at epoch {self.knots[0][0]}, is out of step with a sawtooth of {self.period}"
            )
        return self

    def steps(self) -> dict[int, float]:
        """Returns the sparsity of every pruning step by epoch."""
        return cap.Ramp(self.knots, self.ramp).steps(self.period)

    def events(self) -> dict[int, float | None]:
        """Returns the pruning steps, {epoch: sparsity}."""
        return {**self.steps()}

    def measured(self) -> dict[int, float]:
        """Returns the end of the training after each step, {number of epochs: sparsity}."""
        epochs = [*self.steps(), self.epochs]
        return dict(zip(epochs[1:], self.steps().values(), strict=True))

    def lr_period(self) -> int:
        """Returns the sawtooth's period."""
        return self.period if self.schedule == "sawtooth" else self.epochs


class ACDCSpec(TrainingSpec):
    """Alternating compressed and dense phases (AC/DC; Peste et al., 2021, arXiv 2106.12379, Algorithm 1).

    A compressed phase begins with pruning the model as it is; a dense one frees all weights, and those that were
    removed start again from zero.

    Attributes:
        regime: Name of the regime.
        schedule: Course of the learning rate over all epochs.
        sparsity: Sparsity of the compressed phases.
        warmup: Number of dense epochs before the first compressed phase.
        phase: Number of epochs in a phase.
        final: Smallest number of epochs of the last, compressed phase.
        scope: Scope of `cap.Unstructured`.
    """

    regime: Literal["acdc"] = "acdc"
    schedule: Literal["linear", "cosine"] = "cosine"
    sparsity: float = Field(gt=0, lt=1)
    warmup: int = Field(0, ge=0)
    phase: int = Field(ge=1)
    final: int = Field(ge=1)
    scope: Literal["global", "layer", "erk"] = "global"

    @model_validator(mode="after")
    def _possible(self) -> ACDCSpec:
        if self.warmup + self.final > self.epochs:
            raise ValueError(
                f"{self.warmup} epochs of warm-up and {self.final} of the final phase are more than {self.epochs}"
            )
        return self

    def events(self) -> dict[int, float | None]:
        """Returns the beginnings of all phases, {epoch: sparsity, None for a dense phase}."""
        events: dict[int, float | None] = {}
        epoch = self.warmup
        while epoch + 2 * self.phase + self.final <= self.epochs:
            events |= {epoch: self.sparsity, epoch + self.phase: None}
            epoch += 2 * self.phase
        return {**events, epoch: self.sparsity}

    def measured(self) -> dict[int, float]:
        """Returns the end of the training, {number of epochs: sparsity}."""
        return {self.epochs: self.sparsity}


class QuantizationSpec(Spec):
    """INT8 weights and activations of one-shot pruned models; their ranges are those on the calibration images.

    Attributes:
        finetune: Training in INT8 that starts from the pruned model, masks held; None for none.
    """

    finetune: FinetuneSpec | None = None

    @model_validator(mode="after")
    def _last_weights(self) -> QuantizationSpec:
        if self.finetune is not None and self.finetune.ema:
            raise ValueError("training in INT8 has no ema: its ranges are those of the last weights")
        return self


Regime = Annotated[GradualSpec | ACDCSpec, Field(discriminator="regime")]

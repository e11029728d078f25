"""What a trial, a sweep and a profile are."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

import cap
from bench import assets
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.specs.recipes import ACDCSpec, FinetuneSpec, GradualSpec, QuantizationSpec, Regime, TrainingSpec
from cap.registry import source_file


class CalibrationSpec(Spec):
    """The training images that a pruner may see, and what one gradient is.

    Attributes:
        images: How many training images are drawn.
        batch_size: Images in one forward pass.
        gradient: `sample` or `batch`, see `cap.Calibration`.
    """

    images: int = Field(1024, ge=1)
    batch_size: int = Field(128, ge=1)
    gradient: Literal["sample", "batch"] = "sample"


class Trial(Spec):
    """One pruner on one model with one seed: fitted once, pruned at every pattern; or trained while it is pruned.

    Attributes:
        pruner_options: The pruner's options; those not given take the pruner's defaults, which count in the id.
        patterns: What `cap.parse_pattern` reads: `0.75`, `2:4`.
        finetune_at: The patterns after which the model is also fine-tuned, as `finetune` says.
        training: Pruning during training, in place of one-shot pruning; the patterns are those that are measured.
        quantization: INT8 of the one-shot pruned models, None for none.
    """

    sweep: str
    profile: str
    model: str
    pruner: str
    pruner_options: dict[str, Any] = Field(default_factory=dict)
    patterns: tuple[str, ...] = Field(min_length=1)
    finetune_at: tuple[str, ...] = ()
    finetune: FinetuneSpec | None = None
    training: Regime | None = None
    quantization: QuantizationSpec | None = None
    calibration: CalibrationSpec = CalibrationSpec()
    seed: int = Field(0, ge=0)

    @field_validator("patterns", "finetune_at")
    @classmethod
    def _readable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(cap.parse_pattern(pattern)) for pattern in patterns)

    @model_validator(mode="before")
    @classmethod
    def _with_default_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "pruner" not in values:
            raise ValueError(f"a trial needs a pruner: choose from {', '.join(cap.available())}")
        options = values.get("pruner_options", {})
        cap.create(values["pruner"], **options)  # refuses unknown names, options and values
        return {**values, "pruner_options": {**cap.default_options(values["pruner"]), **options}}

    @model_validator(mode="after")
    def _consistent(self) -> Trial:
        if self.finetune_at and self.finetune is None:
            raise ValueError("finetune_at is given, but finetune is not")
        if stray := set(self.finetune_at) - set(self.patterns):
            raise ValueError(f"finetune_at has {', '.join(sorted(stray))}, which patterns lacks")
        if self.training is not None:
            self._check_training(self.training)
        wanted = self.pruner_options.get("num_gradients") or 0
        if self.calibration.gradient == "sample" and wanted > self.calibration.images:
            raise ValueError(
                f"{wanted} per-sample gradients need as many calibration images, not {self.calibration.images}"
            )
        return self

    def _check_training(self, how: GradualSpec | ACDCSpec) -> None:
        if self.finetune_at:
            raise ValueError("finetune_at belongs to one-shot pruning, but training is given")
        if self.quantization is not None:
            raise ValueError("quantization belongs to one-shot pruning, but training is given")
        reached = [str(cap.Unstructured(sparsity, how.scope)) for sparsity in how.measured().values()]
        if stray := [pattern for pattern in self.patterns if pattern not in reached]:
            raise ValueError(f"{stray[0]} is not reached in training: choose from {', '.join(reached)}")

    @property
    def regime(self) -> str:
        """`one_shot`, or how the model is pruned during training."""
        return self.training.regime if self.training is not None else "one_shot"

    @property
    def recipe(self) -> TrainingSpec | None:
        """All training of the trial."""
        return self.training or self.finetune

    @property
    def recipe_text(self) -> str | None:
        """JSON of all training and quantization, None where there is neither."""
        if self.quantization is None:
            return self.recipe.model_dump_json() if self.recipe is not None else None
        values = self.recipe.model_dump() if self.recipe is not None else {}
        return json.dumps({**values, "quantization": self.quantization.model_dump()})

    @property
    def label(self) -> str:
        """What a reader sees of it in lists and messages."""
        return f"{self.model} {self.pruner} seed {self.seed}"

    @property
    def id(self) -> str:
        """The trial's identity: a hash of the canonical JSON of all its values and of the files behind them."""
        values = {**_without_added(self.model_dump(mode="json")), "files": self._files()}
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def group(self) -> str:
        """What the trials have in common that can share what is computed on the calibration images."""
        return json.dumps([self.profile, self.model, self.seed, self.calibration.model_dump(mode="json")])

    def _files(self) -> dict[str, str]:
        """Returns what tells the data and weights that the trial reads, and a pruner of the user's own, from others."""
        from bench.models import get_model

        found = get_model(self.profile, self.model).identity
        path = source_file(self.pruner)
        return {**found, "pruner": assets.sha256(path)} if path is not None else found

    def derived_seed(self, purpose: str) -> int:
        """Returns a seed for one purpose, such as `calibration`; the same for every pruner under this trial's seed."""
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        return int.from_bytes(digest[:6], "big")


# fields added after results were committed, and the value that says what was done before they were there
ADDED_FIELDS: dict[str, Any] = {"precision": "float32", "quantization": None}


def _without_added(values: Any) -> Any:
    """Leaves out the fields that were added later and say nothing new: a trial run before keeps its identity."""
    if not isinstance(values, dict):
        return values
    kept = {key: value for key, value in values.items() if key not in ADDED_FIELDS or value != ADDED_FIELDS[key]}
    return {key: _without_added(value) for key, value in kept.items()}


def grid(**axes: Any) -> tuple[Trial, ...]:
    """Returns the trials of a Cartesian product.

    A list is an axis, anything else a constant. An element of an axis that is a dict sets several fields at once; the
    axis' own name then does not matter. Later axes vary fastest.

    >>> [t.pruner for t in grid(sweep="s", profile="p", model="vit", patterns=("0.5",), pruner=["cap", "magnitude"])]
    ['cap', 'magnitude']
    """
    choices = [
        [(key, value) for value in (values if isinstance(values, list) else [values])] for key, values in axes.items()
    ]
    trials = []
    for combination in itertools.product(*choices):
        fields: dict[str, Any] = {}
        for key, value in combination:
            fields |= value if isinstance(axes[key], list) and isinstance(value, dict) else {key: value}
        trials.append(Trial(**fields))
    return tuple(trials)


class Sweep(Spec):
    """What one table or figure of the paper needs.

    Attributes:
        name: The sweep's name, which is also that of its results.
        title: What it shows, in a line.
        profiles: For every profile the trials.
    """

    name: str
    title: str
    profiles: dict[str, tuple[Trial, ...]]

    @model_validator(mode="after")
    def _own_trials(self) -> Sweep:
        for profile, trials in self.profiles.items():
            for trial in trials:
                if (trial.sweep, trial.profile) != (self.name, profile):
                    raise ValueError(f"a trial of {trial.sweep}/{trial.profile} stands in {self.name}/{profile}")
            seen: set[str] = set()
            for trial in trials:
                if (values := trial.model_dump_json()) in seen:
                    raise ValueError(f"the trial {trial.label} with {trial.pruner_options} stands twice in {profile}")
                seen.add(values)
        return self

    def trials(self, profile: str) -> tuple[Trial, ...]:
        """Returns the trials of a profile.

        Raises:
            UserError: If the sweep has no such profile.
        """
        if profile not in self.profiles:
            raise UserError(f"sweep {self.name!r} has no profile {profile!r}: choose from {', '.join(self.profiles)}")
        return self.profiles[profile]


FILTERS = ("model", "family", "pruner")


def filter_trials(
    trials: Sequence[Trial], only: Iterable[str] = (), seeds: Sequence[int] | None = None
) -> tuple[Trial, ...]:
    """Keeps the trials that match all filters.

    Args:
        trials: The trials of one profile.
        only: Filters `key=value`; several values for one key are alternatives.
        seeds: The seeds to keep; all by default.

    Raises:
        UserError: If a key is unknown or a value matches no trial.
    """
    from bench.models import get_model

    def value_of(trial: Trial, key: str) -> str:
        return get_model(trial.profile, trial.model).family if key == "family" else getattr(trial, key)

    only = tuple(only)
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        if key not in FILTERS or not value:
            raise UserError(f"cannot filter by {text!r}: write key=value with a key of {', '.join(FILTERS)}")
        known = sorted({value_of(trial, key) for trial in trials})
        if value not in known:
            raise UserError(f"no trial has {key}={value}: choose from {', '.join(known)}")
        wanted.setdefault(key, set()).add(value)
    known_seeds = sorted({trial.seed for trial in trials})
    if stray := sorted(set(seeds or ()) - set(known_seeds)):
        raise UserError(f"the sweep has no seed {stray[0]}: choose from {', '.join(map(str, known_seeds))}")
    chosen = tuple(
        trial
        for trial in trials
        if all(value_of(trial, key) in values for key, values in wanted.items()) and (not seeds or trial.seed in seeds)
    )
    if not chosen:
        raise UserError(f"no trial matches {' '.join(only)}" + (f" with seeds {seeds}" if seeds else ""))
    return chosen

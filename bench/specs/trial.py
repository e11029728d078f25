"""Trials: one pruner on one model with one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

import cap
from bench import assets
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.core.random_state import derive_seed
from bench.data.inputs import Inputs
from bench.models import ModelSpec
from bench.results.labels import REGIMES, scope_in_words
from bench.results.tuned import Setting
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles import Profile, get_profile, profile_file
from bench.specs.profiles.profile import Run
from bench.specs.recipes import LATER, ACDCSpec, FinetuneSpec, GradualSpec, QuantizationSpec, Regime, TrainingSpec
from cap.registry import source_file

MAX_SEED = 2**63 - 1  # a column of the results holds no larger number
UNTOLD = ("first_options",)  # options of another pruner within one: too long for a name


class Trial(Spec):
    """One pruner on one model with one seed: fitted once, pruned at every pattern; or trained while it is pruned.

    Attributes:
        sweep: Name of the sweep.
        profile: Name of the profile, `path/to/file.py:PROFILE`, or the text of a user's own data.
        model: Name of the model in its profile, or the text of a user's own, see `bench.models.own.model_text`.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        pruner_options: Options of the pruner; those not given take the pruner's defaults, which count in the id.
        patterns: Sparsity patterns as `cap.parse_pattern` reads them: `0.75`, `2:4`.
        finetune_at: Patterns after which the model is also fine-tuned, as `finetune` says.
        finetune: Training after one-shot pruning.
        training: Pruning during training, in place of one-shot pruning; the patterns are those that are measured.
        quantization: INT8 of the one-shot pruned models, None for none.
        calibration: Images that the pruner may see.
        seed: Seed of calibration images and training, at most MAX_SEED.
        evaluation_images: Images that are evaluated, drawn once for all; None for all of the split.
        evaluation_split: Split that is evaluated: `test`, or `validation`, by which everything is chosen.
        dense_seed: Seed that the dense model was trained with; None for its weights from before there were several.
        batch_norm: Statistics of batch normalisation after one-shot pruning: `kept` from the dense model, or
            `reestimated` on the calibration images, see `cap.batch_norm`.
        setting: Whose the pruner's options are: its `authors`, or `tuned` ones; None where that is not said.
        pilot_images: Images of a pilot, see `bench.specs.pilot`; None for a trial whose rows are results.
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
    seed: int = Field(0, ge=0, le=MAX_SEED)
    evaluation_images: int | None = Field(None, ge=1)
    evaluation_split: Literal["test", "validation"] = "test"
    dense_seed: int | None = Field(None, ge=0, le=MAX_SEED)
    batch_norm: Literal["kept", "reestimated"] = "kept"
    setting: Setting | None = None
    pilot_images: int | None = Field(None, ge=1)

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
        # it would count as another seed in the tables
        if mistake := repetition("patterns", self.patterns) or repetition("finetune_at", self.finetune_at):
            raise ValueError(mistake)
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

    def _check_training(self, recipe: GradualSpec | ACDCSpec) -> None:
        if self.finetune_at:
            raise ValueError("finetune_at belongs to one-shot pruning, but training is given")
        if self.quantization is not None:
            raise ValueError("quantization belongs to one-shot pruning, but training is given")
        if self.batch_norm != "kept":
            raise ValueError("batch_norm belongs to one-shot pruning; training estimates the statistics by itself")
        reached = [str(cap.Unstructured(sparsity, recipe.scope)) for sparsity in recipe.measured().values()]
        if stray := [pattern for pattern in self.patterns if pattern not in reached]:
            raise ValueError(f"{stray[0]} is not reached in training: choose from {', '.join(reached)}")

    @property
    def regime(self) -> str:
        """`one_shot`, or the name of the pruning during training."""
        return self.training.regime if self.training is not None else "one_shot"

    @property
    def recipe(self) -> TrainingSpec | None:
        """All training of the trial."""
        return self.training or self.finetune

    @property
    def recipe_text(self) -> str | None:
        """JSON of all training and quantization, None where there is neither."""
        if self.quantization is None:
            return self.recipe.model_dump_json(exclude=self.recipe.unsaid) if self.recipe is not None else None
        values = self.recipe.model_dump(exclude=self.recipe.unsaid) if self.recipe is not None else {}
        finetune = self.quantization.finetune
        unsaid = {"finetune": finetune.unsaid} if finetune is not None else None
        return json.dumps({**values, "quantization": self.quantization.model_dump(exclude=unsaid)})

    @property
    def label(self) -> str:
        """Name of the trial in lists and messages: with its scope and options where they are not the usual ones."""
        scopes = {scope_in_words(pattern) for pattern in self.patterns}
        regime = {"one_shot": ""}.get(self.regime, REGIMES.get(self.regime, self.regime))
        scope = scopes.pop() if len(scopes) == 1 else ""
        pilot = f"pilot of {self.pilot_images} images" if self.pilot_images is not None else ""
        settings = [self.pruner, f"({self.setting})" if self.setting else "", *self._unusual_options()]
        settings += self._unusual_surroundings()
        parts = [self.model, *settings, scope, regime, f"seed {self.seed}", pilot]
        return " ".join(filter(None, parts))

    def _unusual_options(self) -> Iterator[str]:
        """Yields the options of the pruner that are not those of the profile, `key=value`."""
        run: Run = "gradual" if self.training is not None else "finetuned" if self.finetune_at else "one_shot"
        try:
            usual = get_profile(self.profile).pruner_options(self.pruner, self.model, run)
        except (UserError, ValueError):  # which is told elsewhere
            return
        untold = (*UNTOLD, *(["num_gradients"] if self.pilot_images is not None else []))
        for name, default in cap.default_options(self.pruner).items():
            if name not in untold and (value := self.pruner_options[name]) != usual.get(name, default):
                yield f"{name}={json.dumps(value, sort_keys=True)}"

    def _unusual_surroundings(self) -> Iterator[str]:
        """Yields what else differs from the profile: the calibration, batch norm, a fine-tune's rate; `key=value`."""
        try:
            profile = get_profile(self.profile)
        except UserError:
            return
        if self.setting is None:  # else that tells the calibration
            of_means = ["batch_size"] if self.calibration.gradient == "batch" else []  # else it is one pass's alone
            for name in ("label_source", "gradient", "augmentation", *of_means):
                if (value := getattr(self.calibration, name)) != getattr(profile.calibration, name):
                    yield f"{name}={value}"
        if self.batch_norm != "kept":
            yield f"batch_norm={self.batch_norm}"
        recipe = profile.recipes_of(self.model).finetune
        if self.finetune is not None and (recipe is None or self.finetune.lr != recipe.lr):
            yield f"lr={self.finetune.lr:g}"

    @property
    def id(self) -> str:
        """Identity of the trial: a hash of the canonical JSON of all its values and of the files behind them."""
        return hashlib.sha256(self.identity_text().encode()).hexdigest()[:16]

    def identity_text(self) -> str:
        """Returns the canonical JSON that the identity is the hash of."""
        values = {**_without_added(self.model_dump(mode="json")), "files": self._files()}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def group(self) -> str:
        """Key that trials have in common which can share what is computed on the calibration images."""
        return json.dumps([*self.dense_key, self.seed, self.calibration.model_dump(mode="json")])

    @property
    def dense_key(self) -> tuple[str, str, int | None]:
        """Profile, model and seed of the dense model: what tells its weights from others."""
        return self.profile, self.model, self.dense_seed

    def _files(self) -> dict[str, str]:
        """Returns what tells data, weights, and a pruner and a profile of the user's own, from others."""
        model = self.resolve().model
        identity = {**model.identity, **model.split_identity(self.evaluation_split)}
        paths = {"pruner": source_file(self.pruner), "profile": profile_file(self.profile)}
        return {**identity, **{name: assets.sha256(path) for name, path in paths.items() if path is not None}}

    def derived_seed(self, purpose: str) -> int:
        """Returns a seed for one purpose, such as `calibration`; the same for every pruner under this trial's seed."""
        return derive_seed(self.seed, purpose)

    def resolve(self) -> ResolvedTrial:
        """Returns the trial with the objects that its names stand for.

        Where all patterns are N:M, the model is without layers of one input, see `ModelSpec.with_inputs_grouped`.

        Raises:
            UserError: If there is no such profile, no such model or split in it, or the model has no seeds.
        """
        profile = get_profile(self.profile)
        if not profile.splits.get(self.evaluation_split):
            known = ", ".join(name for name, count in profile.splits.items() if count)
            raise UserError(f"profile {profile.name!r} has no images of {self.evaluation_split!r}: it has {known}")
        patterns = tuple(cap.parse_pattern(pattern) for pattern in self.patterns)
        model = profile.model(self.model)
        model = model if self.dense_seed is None else model.with_seed(self.dense_seed)
        if all(isinstance(pattern, cap.NM) for pattern in patterns):
            model = model.with_inputs_grouped()
        return ResolvedTrial(self, profile, model, patterns)


@dataclass(frozen=True)
class ResolvedTrial:
    """A trial with the objects that its names stand for: nothing below looks a name up again.

    Attributes:
        trial: The specification.
        profile: Profile of the trial.
        model: Model of the trial.
        patterns: Sparsity patterns, in order.
    """

    trial: Trial
    profile: Profile
    model: ModelSpec
    patterns: tuple[cap.Pattern, ...]

    def pruner(self) -> cap.Pruner:
        """Returns the trial's pruner, not fitted."""
        return cap.create(self.trial.pruner, **self.trial.pruner_options)

    @property
    def num_evaluated(self) -> int:
        """Number of images that each state of the model is evaluated on."""
        card, split = self.model.data_card(), self.trial.evaluation_split
        every = card.test if card is not None and split == "test" else self.profile.splits[split]
        return min(self.trial.evaluation_images or every, every)

    def evaluation_inputs(self) -> Inputs:
        """Returns the images that each state of the model is evaluated on.

        Raises:
            UserError: If the data are missing or damaged.
        """
        return self.model.evaluation_inputs(self.trial.evaluation_images, self.trial.evaluation_split)


def model_notes(trials: Iterable[Trial]) -> Iterator[str]:
    """Yields the lines of the trials' models and data, each once, where they are a user's own."""
    lines: dict[str, None] = {}
    for profile, model in dict.fromkeys((trial.profile, trial.model) for trial in trials):
        lines |= dict.fromkeys(get_profile(profile).model(model).notes())
    yield from lines


# fields added after results were committed, by where they stand, with the value that says what was done before: a trial
# that was run without them keeps its identity
ADDED_FIELDS: dict[str, dict[str, Any]] = {
    "": {
        "quantization": None,
        "evaluation_images": None,
        "evaluation_split": "test",
        "dense_seed": None,
        "batch_norm": "kept",
        "setting": None,
        "pilot_images": None,
    },
    "pruner_options": {
        "allocation": "layer",
        "schedule": "linear",
        "damp_scale": "absolute",
        "fresh_gradients": False,
        "reconstruction": 0.0,
    },
    "calibration": {"label_source": "given", "augmentation": None},
    "finetune": {"precision": "float32", **LATER},
    "training": {"precision": "float32", **LATER},
    "quantization.finetune": {"precision": "float32", **LATER},
}


def _without_added(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Returns the values of a trial without fields that were added later and say nothing new.

    Args:
        values: Values of the trial, or of the part of it that stands at a place.
        place: Names of the fields that lead there, joined by dots.
    """
    added = ADDED_FIELDS.get(place, {})
    kept = {key: value for key, value in values.items() if key not in added or value != added[key]}
    return {
        key: _without_added(value, f"{place}.{key}".lstrip(".")) if isinstance(value, dict) else value
        for key, value in kept.items()
    }


def repetition(name: str, values: Sequence[object]) -> str | None:
    """Returns a line that says which value stands twice under a name, None if none does."""
    repeated = next((value for position, value in enumerate(values) if value in values[:position]), None)
    return f"{name} has {repeated} twice" if repeated is not None else None

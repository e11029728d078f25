"""Profiles: the models, data and settings that a sweep runs with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import cap
from bench.core.errors import UserError
from bench.models import ModelSpec
from bench.specs.calibration import CalibrationSpec
from bench.specs.recipes import FinetuneSpec, GradualSpec, QuantizationSpec, TrainingSpec

Run = Literal["one_shot", "finetuned", "gradual"]
Recipe = TypeVar("Recipe", bound=TrainingSpec)


@dataclass(frozen=True)
class OptionRule:
    """Options that a profile sets, and for which pruner, model and kind of run; None stands for all.

    Attributes:
        options: Options; without a pruner those that a pruner does not have are left out.
        pruner: Registered name of a pruner.
        model: Name of a model.
        run: Kind of run that the pruned model is for.
    """

    options: Mapping[str, Any]
    pruner: str | None = None
    model: str | None = None
    run: Run | None = None

    def applies(self, pruner: str, model: str | None, run: Run) -> bool:
        """Returns whether the rule is for a pruner, model and kind of run."""
        return self.pruner in (None, pruner) and self.model in (None, model) and self.run in (None, run)


@dataclass(frozen=True)
class Recipes:
    """Training of a profile.

    Attributes:
        finetune: Training after one-shot pruning.
        gradual: Training with pruning on the way.
        quantization: INT8 of pruned models, with training; None where the profile has none.
        recovery: Training after one-shot pruning by the rule of `docs/protocol.md`, whose rate is chosen on validation
            images; None where the profile has none.
    """

    finetune: FinetuneSpec
    gradual: GradualSpec
    quantization: QuantizationSpec | None = None
    recovery: FinetuneSpec | None = None


@dataclass(frozen=True)
class ReleaseSetting:
    """Setting of a release whose models and data the profile has: no option needs to be scaled or guessed.

    Attributes:
        pruners: Names of the pruners that the release has, at the profile's options.
        calibration: Images that they see, and what one gradient is.
    """

    pruners: tuple[str, ...]
    calibration: CalibrationSpec


@dataclass(frozen=True)
class Profile:
    """The models, data and settings that a sweep runs with.

    Attributes:
        name: Name in trials and results.
        models: {name: model}.
        calibration: Images that a pruner may see.
        recipes: Training of most models.
        option_rules: Options of pruners; a later rule takes precedence over an earlier one.
        splits: {split: number of its images}: train and test, or calibration, tuning, validation and test.
        augmentations: {model: augmentation set}, of the models whose set is not the recipe's own.
        model_recipes: {model: recipes}, of the models whose recipes are not those of most.
        dense_seeds: Seeds of the dense models that the sweeps of this package are of; none for weights without a seed.
        controls: {name: smaller dense model}, beside which pruned ones are set; not among `models`.
        release: The authors' setting of some pruners; None where all have that of their search space.
    """

    name: str
    models: Mapping[str, ModelSpec]
    calibration: CalibrationSpec
    recipes: Recipes
    option_rules: tuple[OptionRule, ...]
    splits: Mapping[str, int]
    augmentations: Mapping[str, str] = field(default_factory=dict)
    model_recipes: Mapping[str, Recipes] = field(default_factory=dict)
    dense_seeds: tuple[int, ...] = ()
    controls: Mapping[str, ModelSpec] = field(default_factory=dict)

    @property
    def seeded_models(self) -> tuple[str, ...]:
        """Names of the models that there are weights of several seeds of."""
        return tuple(name for name, model in self.models.items() if model.seeded)

    release: ReleaseSetting | None = None

    @property
    def calibration_images(self) -> int | None:
        """Number of images that calibration images are drawn from; None where it is not known."""
        return self.splits.get("calibration", self.splits.get("train"))

    @property
    def training_images(self) -> int | None:
        """Number of images that training is done on; None where it is not known."""
        return self.splits.get("tuning", self.splits.get("train"))

    def model(self, name: str) -> ModelSpec:
        """Returns a model.

        Raises:
            UserError: If there is no such model; the message lists those there are.
        """
        found = {**self.controls, **self.models}.get(name)
        if found is None:
            known = ", ".join(sorted(self.models))
            raise UserError(f"unknown model {name!r} in profile {self.name!r}: choose from {known}")
        return found

    def pruner_options(self, pruner: str, model: str | None = None, run: Run = "one_shot") -> dict[str, Any]:
        """Returns the options that the profile sets; all others keep the pruner's defaults.

        Args:
            pruner: Name of `cap.available()`, or `path/to/file.py:ClassName`.
            model: Name of a model; None for what holds for most.
            run: Kind of run that the pruned model is for.

        Raises:
            ValueError: If there is no such pruner.
        """
        known = cap.default_options(pruner)
        options: dict[str, Any] = {}
        for rule in self.option_rules:
            if rule.applies(pruner, model, run):
                options |= {
                    key: value for key, value in rule.options.items() if rule.pruner is not None or key in known
                }
        return options

    def cases(
        self, models: Iterable[str], pruners: Iterable[str], run: Run = "one_shot", **fields: Any
    ) -> list[dict[str, Any]]:
        """Returns an axis of `bench.specs.sweep.grid`: every model with every pruner, set for both.

        Args:
            models: Names of models.
            pruners: Names of pruners.
            run: Kind of run that the pruned models are for.
            fields: Fields of the trial that are the same for all.
        """
        return [
            {"model": model, "pruner": pruner, "pruner_options": self.pruner_options(pruner, model, run), **fields}
            for model in models
            for pruner in pruners
        ]

    def recipes_of(self, model: str) -> Recipes:
        """Returns the training of a model, with its augmentation set."""
        recipes = self.model_recipes.get(model, self.recipes)
        finetune, gradual = self.augmented(recipes.finetune, model), self.augmented(recipes.gradual, model)
        return replace(recipes, finetune=finetune, gradual=gradual)

    def augmented(self, recipe: Recipe, model: str) -> Recipe:
        """Returns a recipe with the augmentation set of a model."""
        chosen = self.augmentations.get(model, recipe.augmentation)
        return recipe.model_copy(update={"augmentation": chosen})

"""Chosen settings: what was tried for every pruner and model on validation images, and what was best."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake
from bench.core.files import atomic_write
from bench.results import folders

Setting = Literal["authors", "tuned"]
SETTINGS: tuple[Setting, ...] = ("authors", "tuned")
AUTHORS = SETTINGS[0]
FILE = "tuned.json"
PACKAGED = Path(__file__).parent / "chosen"  # published choices as an installed package has them, a file a profile
CONFIGURATIONS = 12  # that may be tried of a pruner on a model, its authors' among them: docs/protocol.md#tuning


def mean_of(values: Sequence[float | None]) -> float | None:
    """Returns the mean of numbers; None unless all are there."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


class TriedSettings(Spec):
    """Settings of a pruner that were tried on a model.

    Attributes:
        pruner_options: All options of the pruner.
        calibration: Fields of the calibration.
        trial_id: Identity of the trial.
        top1: Top-1 on validation images at each pattern, percent; None where there is no valid result.
    """

    pruner_options: dict[str, Any]
    calibration: dict[str, Any]
    trial_id: str
    top1: dict[str, float | None]

    @property
    def mean(self) -> float | None:
        """Mean of the top-1 over the patterns; None unless all have a valid result."""
        return mean_of(list(self.top1.values()))


class TunedPruner(Spec):
    """Choice among the settings of a pruner on a model.

    Attributes:
        model: Name of the model.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        tried: Settings in the order in which they were drawn, the authors' first.
        chosen: Place of the settings with the highest mean; of equals the first.
    """

    model: str
    pruner: str
    tried: tuple[TriedSettings, ...] = Field(min_length=1)
    chosen: int = Field(ge=0)

    @property
    def best(self) -> TriedSettings:
        """The chosen settings."""
        return self.tried[self.chosen]


class TunedRate(Spec):
    """Choice of the fine-tune's highest learning rate on a model.

    Attributes:
        model: Name of the model.
        top1: {pruner: top-1 on validation images at each rate in the order of `rates`, percent; None without one}.
        rates: Learning rates.
        chosen: Place of the rate with the highest mean over the pruners; of equals the first.
        trials: Identities of the trials.
    """

    model: str
    rates: tuple[float, ...] = Field(min_length=1)
    top1: dict[str, tuple[float | None, ...]]
    chosen: int = Field(ge=0)
    trials: tuple[str, ...]

    @property
    def best(self) -> float:
        """The chosen rate."""
        return self.rates[self.chosen]

    @property
    def means(self) -> list[float | None]:
        """Mean of the pruners' top-1 at each rate, all of equal weight; None unless all have a valid result."""
        return [mean_of([values[place] for values in self.top1.values()]) for place in range(len(self.rates))]


class TunedSettings(Spec):
    """All choices of a profile.

    Attributes:
        profile: Name of the profile.
        split: Split of the images that decided.
        evaluation_images: Number of them; None for all of the split.
        dense_seed: Seed of the dense models; None for models with one set of weights.
        tuning_seed: Seed that the settings were drawn with.
        configurations: Largest number of settings for a pruner on a model.
        commit: Commit of the code; None where rows are of several, or of code that was not committed.
        pruners: Choices of settings.
        rates: Choices of learning rates.
    """

    profile: str
    split: str
    evaluation_images: int | None
    dense_seed: int | None
    tuning_seed: int
    configurations: int
    commit: str | None
    pruners: tuple[TunedPruner, ...] = ()
    rates: tuple[TunedRate, ...] = ()

    def find(self, model: str, pruner: str) -> TriedSettings | None:
        """Returns the chosen settings of a pruner on a model; None where none were chosen."""
        return next((one.best for one in self.pruners if (one.model, one.pruner) == (model, pruner)), None)

    def rate(self, model: str) -> float | None:
        """Returns the chosen learning rate on a model; None where none was chosen."""
        return next((one.best for one in self.rates if one.model == model), None)

    def joined(self, later: TunedSettings) -> TunedSettings:
        """Returns these choices, those of the same pruner and model replaced by later ones."""
        pruners = {(one.model, one.pruner): one for one in (*self.pruners, *later.pruners)}
        rates = {one.model: one for one in (*self.rates, *later.rates)}
        return later.model_copy(update={"pruners": tuple(pruners.values()), "rates": tuple(rates.values())})

    def write(self, path: Path) -> None:
        """Writes the choices as JSON, under a temporary name first."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def tuned_file(profile: str, results: Path) -> Path:
    """Returns the file of a profile's choices in a folder of results."""
    return results / folders.profile_folder(profile) / FILE


def read_file(path: Path) -> TunedSettings | None:
    """Returns the choices in a file; None where there is none.

    Raises:
        UserError: If it cannot be read.
    """
    if not path.exists():
        return None
    try:
        return TunedSettings.model_validate_json(path.read_text())
    except ValidationError as error:
        raise UserError(f"{path} cannot be read: {first_mistake(error)}; capbench tune writes it anew") from None


def read_tuned(profile: str, results: Path | None = None) -> TunedSettings | None:
    """Returns the choices of a profile; None where there are none.

    Args:
        profile: Name of the profile.
        results: Folder of all results, whose choices go above the published ones (for `WORKING`), or stand alone; None
            for the published ones alone, on which sweeps of this package rest. Where there is no checkout, these are
            those of the package.

    Raises:
        UserError: If a file cannot be read.
    """
    own = None if results is None else read_file(tuned_file(profile, results))
    if results not in (None, folders.WORKING):
        return own
    known = _published(profile)
    return known.joined(own) if known is not None and own is not None else own or known


def _published(profile: str) -> TunedSettings | None:
    """Returns the choices that are published, in the checkout or with the package."""
    folder = folders.published()
    known = read_file(tuned_file(profile, folder)) if folder is not None else None
    return known or read_file(PACKAGED / f"{folders.profile_folder(profile)}.json")

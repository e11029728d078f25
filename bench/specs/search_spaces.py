"""Search spaces of the pruners, from which their settings are chosen on validation images.

The authors' settings are those of the papers and their code. An absolute dampening is for the mean gradient of a batch
there, whose second moment is smaller than that of single images by about the size of the batch; it is multiplied by
that size here, where gradients are those of single images (`docs/protocol.md`, Tuning).
"""

from __future__ import annotations

import inspect
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

import cap
from bench.core.errors import UserError, first_mistake
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles import Profile

CALIBRATION = "calibration."  # before a field of the calibration that an axis sets
QUARTER = 4

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """Settings that a pruner is run with.

    Attributes:
        pruner_options: All options of the pruner.
        calibration: Images that the pruner sees, and what one gradient is.
    """

    pruner_options: Mapping[str, Any]
    calibration: CalibrationSpec


@dataclass(frozen=True)
class SearchSpace:
    """Values that the settings of a pruner may take: options, and under `calibration.NAME` fields of the calibration.

    Attributes:
        authors: Values of the authors; what is not among them takes the pruner's default.
        axes: {name: values to choose from}; a value that is a mapping sets several at once, and the axis' own name does
            not matter then.
    """

    authors: Values = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def draw(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Returns the authors' values, then others drawn without replacement, in an order that the seed fixes.

        Args:
            count: Number of configurations; a space of fewer is returned whole.
            seed: Seed of the draw.
        """
        found: dict[str, dict[str, Any]] = {}
        for chosen in itertools.product(*self.axes.values()):
            values = dict(self.authors)
            for name, value in zip(self.axes, chosen, strict=True):
                values |= value if isinstance(value, Mapping) else {name: value}
            found[json.dumps(values, sort_keys=True)] = values
        found.pop(json.dumps(dict(self.authors), sort_keys=True), None)
        others = list(found.values())
        random.Random(seed).shuffle(others)
        return [dict(self.authors), *others[: count - 1]]


DAMPENINGS = (1e-3, 1e-2, 1e-1)  # relative to the mean of a diagonal
SEQUENTIAL = {"damp": DAMPENINGS, "sequential": (True, False)}
INPUTS_AND_WEIGHTS = {  # of the pruners that look at no gradients
    "magnitude": SearchSpace(),
    "random": SearchSpace(),
    "synflow": SearchSpace({"iterations": 100}, {"iterations": (1, 10, 30, 100, 300)}),
    "wanda": SearchSpace(),
    "ria": SearchSpace({"power": 0.5}, {"power": (0.1, 0.25, 0.5, 0.75, 1.0)}),
    "dsnot": SearchSpace({"cycles": 50, "threshold": 0.1}, {"cycles": (10, 50, 200), "threshold": (0.03, 0.1, 0.3)}),
    "sparsegpt": SearchSpace(
        {"block_size": 128, "damp": 1e-2, "sequential": True}, {**SEQUENTIAL, "block_size": (32, 128)}
    ),
    "obc": SearchSpace(
        {"damp": 1e-2, "allocation": "error"}, {"damp": DAMPENINGS, "allocation": ("error", "relative")}
    ),
    "alps": SearchSpace({"damp": 1e-2, "rho": 0.1, "iterations": 300, "cg_steps": 10, "sequential": True}, SEQUENTIAL),
}


def search_spaces(images: int) -> dict[str, SearchSpace]:
    """Returns the search space of every pruner of this package, by its name.

    `compose` has none: it is made of other pruners, each with its own.

    Args:
        images: Number of calibration images, which bounds the number of gradients.
    """
    relative = [{"damp": damp, "damp_scale": "relative"} for damp in (1e-3, 1e-2, 1e-1, 1.0)]
    every = {"num_gradients": images, "calibration.label_source": "given"}
    gradients = _gradients(images)
    steps = {"num_recomputations": (1, 4)}
    fisher: dict[str, Sequence[Any]] = {"gradients": gradients, "damp": relative}
    return {
        "cap": SearchSpace(
            {**every, "block_size": 192, "damp": 128 * 1e-8}, {**fisher, "block_size": (16, 64, 192), **steps}
        ),
        # github.com/IST-DASLab/WoodFisher: scripts for ResNet-50, 400 gradients of 400 images each
        "woodfisher": SearchSpace(
            {**every, "block_size": 2000, "damp": 400 * 1e-5, "num_gradients": min(400, images)},
            {**fisher, "block_size": (16, 64, 256), **steps},
        ),
        "obert": SearchSpace(
            {**every, "block_size": 50, "damp": 16 * 1e-7}, {**fisher, "block_size": (16, 50, 192), **steps}
        ),
        # github.com/IST-DASLab/M-FAC, main_prun.py: gradients of 32 images each, 16 steps of equal factors
        "mfac": SearchSpace(
            {**every, "block_size": 128, "damp": 32 * 1e-5, "num_recomputations": 16, "schedule": "geometric"},
            {**fisher, "block_size": (128, 512), **steps},
        ),
        "chita": SearchSpace(
            {**every, "block_size": 500, "damp": 1e-5, "iterations": 10}, {**fisher, "block_size": (64, 500)}
        ),
        "fastcap": SearchSpace(
            {"num_gradients": min(256, images), "block_size": 192, "damp": 1e-2},
            {"gradients": gradients, "damp": DAMPENINGS, "block_size": (64, 192), **steps},
        ),
        "gradient_weight": SearchSpace(every, {"gradients": gradients}),
        "taylor": SearchSpace(every, {"gradients": gradients}),
        "snows": _snows(images),
        **INPUTS_AND_WEIGHTS,
    }


def _gradients(images: int) -> list[Values]:
    """Returns the gradients to choose from: of all images, of a part, with drawn labels, of batches."""
    return [
        {"num_gradients": images, "calibration.label_source": "given"},
        {"num_gradients": max(1, images // QUARTER), "calibration.label_source": "given"},
        {"num_gradients": images, "calibration.label_source": "drawn"},
        {"num_gradients": None, "calibration.gradient": "batch", "calibration.batch_size": min(8, images)},
    ]


def _snows(images: int) -> SearchSpace:
    """Returns the space of SNOWS after CAP, with as many images and steps as a processor allows."""
    first = {"block_size": 64, "num_gradients": images, "damp_scale": "relative"}
    return SearchSpace(
        {"first_options": {"block_size": 192, "num_gradients": images, "damp": 128 * 1e-8}, "operations": 3,
         "passes": 2, "cg_steps": 20, "images": min(128, images)},
        {"first_options": [{"first_options": {**first, "damp": damp}} for damp in (1e-2, 1e-1)]},
    )  # fmt: skip


def find_space(pruner: str, calibration: CalibrationSpec) -> SearchSpace | None:
    """Returns the search space of a pruner; None where it has none.

    Args:
        pruner: A name of `cap.available()`, or `path/to/file.py:ClassName` with a class attribute `search_space`.
        calibration: Calibration that all pruners share.

    Raises:
        UserError: If there is no such pruner, or its space is not valid.
    """
    known = search_spaces(calibration.images)
    if pruner in known:
        return known[pruner]
    try:
        options = cap.default_options(pruner)
        if required := [name for name, value in options.items() if value is inspect.Parameter.empty]:
            raise ValueError(f"pruner {pruner}: option {required[0]} has no default, which its settings begin with")
        declared: object = type(cap.create(pruner)).search_space
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        text = str(error) if isinstance(error, ValueError) else f"pruner {pruner}: {type(error).__name__}: {error}"
        raise UserError(text) from None
    return None if declared is None else _own_space(pruner, declared, options, calibration)


def _own_space(pruner: str, declared: object, options: Mapping[str, Any], calibration: CalibrationSpec) -> SearchSpace:
    """Returns the space that a user's class declares: its defaults first, then the values of its axes."""
    form = "{option: [values]}, or calibration.NAME for a field of the calibration"
    if not isinstance(declared, Mapping):
        raise UserError(f"{pruner}: search_space is a {type(declared).__name__}: it must be {form}")
    for name, values in declared.items():
        known = [*options, *(f"{CALIBRATION}{one}" for one in CalibrationSpec.model_fields)]
        if name not in known:
            raise UserError(f"{pruner}: search_space has {name!r}, which is none of {', '.join(known)}")
        if not isinstance(values, list | tuple) or not values:
            raise UserError(f"{pruner}: search_space of {name!r} is {values!r}: it must be a list of some values")
    usual = {**options, **{f"{CALIBRATION}{name}": value for name, value in calibration.model_dump().items()}}
    return SearchSpace({name: usual[name] for name in declared}, dict(declared))


def configurations(profile: Profile, pruner: str, count: int, seed: int) -> list[Configuration]:
    """Returns the settings that are tried for a pruner, its authors' first.

    Args:
        profile: Profile with the calibration that all pruners share.
        pruner: Name of the pruner, see `find_space`.
        count: Largest number of settings.
        seed: Seed of the draw.

    Raises:
        UserError: If there is no such pruner, or it declares no valid space.
    """
    space = find_space(pruner, profile.calibration)
    if space is None:
        raise UserError(f"{pruner} declares no search space: give its class an attribute search_space = "
                        "{option: [values]}")  # fmt: skip
    return [_configuration(profile, pruner, values) for values in space.draw(count, seed)]


def authors_configuration(profile: Profile, pruner: str, model: str | None = None) -> Configuration:
    """Returns the authors' settings of a pruner; its defaults where it declares no search space.

    Args:
        profile: The profile; where it has a release with the pruner, that is the authors'.
        pruner: Name of the pruner, see `find_space`.
        model: Name of the model, for which a release may have options of its own; None for what holds for most.

    Raises:
        UserError: If there is no such pruner, or its space is not valid.
    """
    if profile.release is not None and pruner in profile.release.pruners:
        options = {**cap.default_options(pruner), **profile.pruner_options(pruner, model)}
        return Configuration(options, profile.release.calibration)
    space = find_space(pruner, profile.calibration) or SearchSpace()
    return _configuration(profile, pruner, space.authors)


def _configuration(profile: Profile, pruner: str, values: Values) -> Configuration:
    """Returns settings with the pruner's defaults and the profile's calibration below some values."""
    options = {key: value for key, value in values.items() if not key.startswith(CALIBRATION)}
    changed = {key.removeprefix(CALIBRATION): value for key, value in values.items() if key.startswith(CALIBRATION)}
    try:
        cap.create(pruner, **options)
        calibration = CalibrationSpec.model_validate({**profile.calibration.model_dump(), **changed})
    except ValidationError as error:
        raise UserError(f"{pruner}: calibration: {first_mistake(error)}") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        raise UserError(f"pruner {pruner}: {type(error).__name__}: {error}") from None
    return Configuration({**cap.default_options(pruner), **options}, calibration)

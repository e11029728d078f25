"""Parameters that several commands share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions

Profile = Annotated[
    str,
    Parameter(
        help="Which models and data: embedded needs nothing but this repository; path/to/file.py:PROFILE is your own."
    ),
]
Results = Annotated[
    Path, Parameter(help="Folder that runs write to. Reports on what it lacks show what is published in the checkout.")
]
# with `consume_multiple=1` an option without a value is refused, which would else mean the same as no option: all
Only = Annotated[tuple[str, ...], Parameter(consume_multiple=1, negative="", help="Filter key=value, key one of "
                 "model, family, pruner, setting, sparsity, phase (one_shot), epochs; several values for one key are "
                 "alternatives.")]  # fmt: skip
Several = Parameter(consume_multiple=1, negative="")
Seeds = Annotated[tuple[int, ...], Parameter(consume_multiple=1, negative="", help="Only these seeds.")]
Options = Annotated[tuple[str, ...], Parameter(name="--option", consume_multiple=1, negative="", help="Options of "
                    "the pruner, key=value; values are read as JSON if they are any.")]  # fmt: skip


@dataclass
class TrialOptions:
    """Choice of a sweep's trials on the command line.

    Attributes:
        only: Filters.
        seeds: Seeds.
        no_finetune: One-shot pruning alone: nothing is trained.
        images: A pilot, to see that all works: evaluation on so many images, calibration and epochs of training on at
            most as many. Its results are kept apart, and are none of the benchmark.
    """

    only: Only = ()
    seeds: Seeds = ()
    no_finetune: Annotated[bool, Parameter(negative="")] = False
    images: int | None = None

    def select(self, sweep: str, profile: str, results: Path) -> bench.TrialSelection:
        """Returns the chosen trials, see `bench.select_trials`."""
        return bench.select_trials(sweep, profile, self.only, self.seeds, results, not self.no_finetune, self.images)


Choice = Annotated[TrialOptions | None, Parameter(name="*", group="Trials")]


@dataclass
class ChoiceOptions:
    """Images and settings of a comparison on the command line.

    Attributes:
        split: Images that decide: test, or validation while you still choose.
        setting: Whose settings all pruners have: authors, or tuned as capbench tune chose them; by default the
            profile's.
        batch_norm: Statistics of batch normalisation after every pruning, for all pruners: kept from the dense model,
            or reestimated on the calibration images, which counts as time of the pruning.
    """

    split: str = "test"
    setting: str | None = None
    batch_norm: str = "kept"


@dataclass
class OwnOptions:
    """A user's own model and data on the command line.

    Attributes:
        data: Your own data in place of a profile: imagefolder:FOLDER, parquet:FILE, hub:NAME or my_data.py:FUNCTION.
        weights: File of the weights of --model: .safetensors, or a state dict of torch.save.
        layers: Regular expression for names of the weights to prune, by default all of Linear and Conv2d layers but
            stem, head and depthwise; may be given several times.
        transform: Preparation of the images where it is not timm's for the model, key=value: input_size, mean, std,
            interpolation, crop_pct, crop_mode.
    """

    data: str | None = None
    weights: str | None = None
    layers: Annotated[tuple[str, ...], Several] = ()
    transform: Annotated[tuple[str, ...], Several] = ()

    def texts(self, models: tuple[str, ...], profile: str) -> tuple[tuple[str, ...], str]:
        """Returns the models and the profile as trials hold them.

        Args:
            models: Models on the command line.
            profile: Profile on the command line.

        Raises:
            UserError: If one does not belong to the others.
        """
        if self.data is not None and profile != "embedded":
            raise bench.UserError(f"--data {self.data} stands in place of --profile {profile}: give one of them")
        if self.data is None and (self.weights or self.layers or self.transform) and ":" not in profile:
            raise bench.UserError("--weights, --layers and --transform are of a model of your own: give --data too")
        if self.weights is not None and len(models) != 1:
            raise bench.UserError(f"--weights are of one model, but --model has {len(models)}")
        given = (self.weights, self.layers, read_options(self.transform))
        own = any(given)
        return tuple(bench.model_text(one, *given) for one in models) if own else models, self.data or profile


@dataclass
class ShapeOptions:
    """A user's own model on the command line, where its shapes alone count.

    Attributes:
        layers: Regular expression for names of the weights to prune of your own models, by default all of Linear and
            Conv2d layers but stem, head and depthwise; may be given several times.
        transform: Size of the images where it is not timm's for your own model: input_size=PIXELS.
    """

    layers: Annotated[tuple[str, ...], Several] = ()
    transform: Annotated[tuple[str, ...], Several] = ()

    def texts(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the models as measurements hold them.

        Raises:
            UserError: If layers or a size are given, but no model of one's own.
        """
        given = (self.layers, read_options(self.transform))
        if any(given) and not any(":" in one for one in models):
            raise bench.UserError(
                "--layers and --transform are of a model of your own: timm:NAME, or my_model.py:FUNCTION"
            )
        return tuple(bench.model_text(one, None, *given) if ":" in one else one for one in models)


def read_options(texts: tuple[str, ...]) -> dict[str, Any]:
    """Reads options of a pruner, key=value: a value is JSON if it can be read so, else text.

    Raises:
        UserError: If one is not of this form, or is given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise bench.UserError(f"cannot read option {text!r}: write key=value")
        if key in options:
            raise bench.UserError(f"option {key} is given twice")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def first_given(options: ClusterOptions) -> str:
    """Returns the first of the cluster's options that has a value, as it is written."""
    name = next(key for key, value in asdict(options).items() if value not in (None, ()))
    return f"--{name.replace('_', '-')}"

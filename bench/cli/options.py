"""Parameters that several commands share."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions

Profile = Annotated[str, Parameter(help="Which models and data: embedded needs nothing but this repository.")]
Results = Annotated[
    Path, Parameter(help="Folder that runs write to. Reports on what it lacks show what is published in the checkout.")
]
# with `consume_multiple=1` an option without a value is refused, which would else mean the same as no option: all
Only = Annotated[tuple[str, ...], Parameter(consume_multiple=1, negative="", help="Filter key=value, key one of "
                 "model, family, pruner; several values for one key are alternatives.")]  # fmt: skip
Several = Parameter(consume_multiple=1, negative="")
Seeds = Annotated[tuple[int, ...], Parameter(consume_multiple=1, negative="", help="Only these seeds.")]
Options = Annotated[tuple[str, ...], Parameter(name="--option", consume_multiple=1, negative="", help="Options of "
                    "the pruner, key=value; values are read as JSON if they are any.")]  # fmt: skip


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

"""Where a user's own model comes from: any of timm, or what a function in a file returns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import nn

from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake
from bench.data.own.image import first_line
from bench.data.own.user_file import call_in_file

TIMM = "timm:"
KINDS = "timm:NAME, or my_model.py:FUNCTION"


class Transform(Spec):
    """Preparation of images where it is not the one in timm's record of the model.

    Attributes:
        input_size: Side of the square input, pixels.
        interpolation: Interpolation of the resizing.
        mean: Mean of each channel, pixels in [0, 1].
        std: Standard deviation of each channel.
        crop_pct: Share of the resized image's side that is kept.
        crop_mode: Way of timm's to make the image square.
    """

    input_size: int | None = Field(None, ge=1)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_pct: float | None = Field(None, gt=0, le=1)
    crop_mode: Literal["center", "squash", "border"] | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Transform:
        """Returns the preparation of some values.

        Raises:
            UserError: If a name or a value is not valid.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            raise UserError(f"transform: {first_mistake(error)}; its keys are {known}") from None

    def given(self) -> dict[str, Any]:
        """Returns what takes precedence over timm's record, as timm names it."""
        values = self.model_dump(exclude_none=True)
        return {**values, "input_size": (3, self.input_size, self.input_size)} if self.input_size else values


def check_source(source: str) -> str:
    """Makes sure that a text names a model, as far as that can be told without building it.

    Args:
        source: `timm:NAME`, or `my_model.py:FUNCTION`.

    Returns:
        timm's name of the architecture; of a function the text itself.

    Raises:
        UserError: If it names none.
    """
    if source.startswith(TIMM):
        _check_timm_name(name := source.removeprefix(TIMM))
        return name
    if not source.rpartition(":")[0].endswith(".py"):
        raise UserError(f"unknown model {source!r}: give {KINDS}")
    return source


def _check_timm_name(name: str) -> None:
    import timm

    if not timm.is_model(name):
        known = timm.list_models() + timm.list_pretrained()
        near = ", ".join(difflib.get_close_matches(name, known, n=3)) or "see timm.list_models()"
        raise UserError(f"timm has no model {name!r}: {near}")


def build_source(source: str) -> nn.Module:
    """Returns the module, its weights random or those of the function.

    Args:
        source: Text that `check_source` has seen.

    Raises:
        UserError: If it cannot be built.
    """
    if not source.startswith(TIMM):
        return module_of_function(source)
    import timm

    try:
        return timm.create_model(source.removeprefix(TIMM))
    except (TypeError, RuntimeError, ValueError) as error:  # of options and tags that it does not know
        raise UserError(f"{source} cannot be built: {first_line(error)}") from None


def data_config_of(source: str, module: nn.Module, transform: Transform) -> dict[str, Any]:
    """Returns the preparation of a model's images, plain values: what timm has on record, and what is given.

    Raises:
        UserError: If the size of the inputs is not told, or they are not square images of three channels.
    """
    from timm.data import resolve_data_config

    given, known = transform.given(), dict(getattr(module, "pretrained_cfg", None) or {})
    if "input_size" not in {**known, **given}:
        raise UserError(
            f"{source} has no pretrained_cfg that tells how images are prepared: give a transform, at least "
            "input_size=PIXELS"
        )
    found = resolve_data_config(given, pretrained_cfg={**known, "input_size": known.get("input_size", (3, 0, 0))})
    channels, height, width = found["input_size"]
    if channels != 3 or height != width:
        raise UserError(f"{source} takes inputs {tuple(found['input_size'])}: they must be square, of three channels")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def module_of_function(source: str) -> nn.Module:
    """Returns the module of a function, the same in every process where its weights are random.

    Raises:
        UserError: If it returns something else.
    """
    path, _, function = source.rpartition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = call_in_file(Path(path), function)
    if not isinstance(found, nn.Module):
        raise UserError(f"{source} must return a torch.nn.Module, not a {type(found).__name__}")
    return found

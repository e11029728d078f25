"""A user's own model without data, as its shapes alone: what the speed of inference depends on."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

import cap
from bench import assets
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.data.own.image import first_line
from bench.models.layers import find_layers
from bench.models.own_source import TIMM, Transform, build_source, check_source, data_config_of
from bench.models.own_text import read_text


class OwnShapes(Spec):
    """Model that a user names, to build with any weights; made by `shapes_of_text`.

    Attributes:
        source: `timm:NAME`, or `my_model.py:FUNCTION`, which returns the module.
        timm_name: Name of the timm architecture; of a function its source.
        prunable: Regular expressions on parameter names, for `cap.select_layers`.
        input_size: Side of the square input, pixels.
        family: Family of the model in reports.
    """

    source: str
    timm_name: str
    prunable: tuple[str, ...]
    input_size: int
    family: str = "own"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        return 3, self.input_size, self.input_size

    def build(self) -> nn.Module:
        """Returns the module, its weights random or those of the function."""
        return build_source(self.source)


def is_own(name: str) -> bool:
    """Returns whether the name of a model is the text of a user's own."""
    return ":" in name


def file_checksum(name: str) -> str | None:
    """Returns the SHA-256 of the file that a user's own model comes from; None of any other."""
    source = name.partition("?")[0]
    path = Path(source.rpartition(":")[0])
    return assets.sha256(path) if is_own(name) and not source.startswith(TIMM) and path.is_file() else None


def shapes_of_text(text: str) -> OwnShapes:
    """Returns the model that a text stands for, see `bench.models.own_text.model_text`.

    Raises:
        UserError: If it stands for none, names weights, takes no such images, or has no layer to prune.
    """
    read = read_text(text)
    if read.weights is not None:
        raise UserError(f"model {text!r}: weights make no difference to its speed, leave them out")
    timm_name = check_source(read.source)
    module = build_source(read.source)
    size = data_config_of(read.source, module, Transform.read(read.transform))["input_size"][-1]
    prunable = read.layers or tuple(re.escape(one) for one in find_layers(module).prunable)
    if not prunable:
        raise UserError(f"{read.source} has no Linear or Conv2d layer to prune beside stem and head: name some")
    try:
        cap.select_layers(module, prunable)
    except ValueError as error:
        raise UserError(f"{read.source}: {error}") from None
    found = OwnShapes(source=read.source, timm_name=timm_name, prunable=prunable, input_size=size)
    _check_images(found, module)
    return found


def _check_images(shapes: OwnShapes, module: nn.Module) -> None:
    """Refuses a module that takes no images of its size, or gives something else than logits."""
    try:
        with torch.inference_mode():
            outputs = module.eval()(torch.zeros(1, *shapes.input_shape))
    except Exception as error:  # noqa: BLE001  a user's module may raise anything
        raise UserError(f"{shapes.source} takes no images {shapes.input_shape}: {first_line(error)}") from None
    if not isinstance(outputs, torch.Tensor):
        raise UserError(f"{shapes.source} gives a {type(outputs).__name__} for an image: it must give a tensor")

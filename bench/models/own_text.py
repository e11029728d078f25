"""A user's own model as a text, which trials hold: `timm:NAME?weights=FILE`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from bench import assets
from bench.core.errors import UserError
from bench.data.own import OwnData, open_data
from bench.models.own import OwnModel, own_model

SAFE = "/.*:()|^$[]{},\\\"'"  # what a text need not escape


def model_text(
    source: str, weights: str | None = None, layers: Sequence[str] = (), transform: Mapping[str, Any] | None = None
) -> str:
    """Returns the text of a model, as `model_of_text` reads it and trials hold it: `timm:NAME?weights=FILE`.

    Args:
        source: See `own_model`, as for all others.
        weights: File of the weights.
        layers: Regular expressions for names of the weights to prune.
        transform: Preparation of the images.
    """
    pairs = [*([("weights", weights)] if weights else []), *(("layers", one) for one in layers)]
    if transform:
        pairs.append(("transform", json.dumps(dict(transform), sort_keys=True, separators=(",", ":"))))
    query = "&".join(f"{key}={quote(value, safe=SAFE)}" for key, value in pairs)
    return f"{source}?{query}" if query else source


def model_of_text(text: str, data: str) -> OwnModel:
    """Returns the model that a text stands for: see `model_text`.

    Args:
        text: The text.
        data: Text of the data.

    Raises:
        UserError: If it stands for none, see `own_model`.
    """
    path = Path(text.partition("?")[0].rpartition(":")[0])
    version = assets.sha256(path) if path.suffix == ".py" and path.is_file() else None
    return _model_of_text(text, data, open_data(data), version)


@cache
def _model_of_text(text: str, data: str, images: OwnData, version: str | None) -> OwnModel:
    """Returns the model of a text, for a version of the data and of the function's file."""
    read = read_text(text)
    return own_model(read.source, data, text, read.weights, read.layers, read.transform)


@dataclass(frozen=True)
class ModelText:
    """Parts of the text of a model; see `own_model`.

    Attributes:
        source: `timm:NAME`, or `my_model.py:FUNCTION`.
        weights: File of the weights, if the text names one.
        layers: Regular expressions for names of the weights to prune.
        transform: Preparation of the images.
    """

    source: str
    weights: str | None
    layers: tuple[str, ...]
    transform: Mapping[str, Any]


def read_text(text: str) -> ModelText:
    """Returns the parts of a text that `model_text` wrote.

    Raises:
        UserError: If a key is unknown, or the preparation is no JSON.
    """
    source, _, query = text.partition("?")
    pairs = parse_qsl(query)
    if unknown := [key for key, _ in pairs if key not in ("weights", "layers", "transform")]:
        raise UserError(f"unknown key {unknown[0]!r} of model {text!r}: its keys are weights, layers and transform")
    values = dict(pairs)
    try:
        transform = json.loads(values.get("transform", "{}"))
    except ValueError:
        raise UserError(f"model {text!r}: its transform is no JSON") from None
    return ModelText(source, values.get("weights"), tuple(value for key, value in pairs if key == "layers"), transform)

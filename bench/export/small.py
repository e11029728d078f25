"""Models without the units that were pruned away: smaller architectures, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import cap
from bench.core.errors import UserError
from bench.models import ModelSpec
from bench.specs.profiles import get_profile
from bench.trials.structured import check_installed
from cap.structured import cut, find_units

CARD = "card"  # metadata of an exported file


def build_small(spec: ModelSpec, removed: Mapping[str, Sequence[int]]) -> nn.Module:
    """Returns the architecture of a model without some units, in eval mode, with random weights.

    Args:
        spec: The model.
        removed: {name of the group: its removed units}.

    Raises:
        UserError: If Torch-Pruning is not installed.
    """
    check_installed()
    model, image = spec.build().eval(), torch.zeros(1, *spec.input_shape)
    units = find_units(model, cap.select_layers(model, spec.prunable), image)
    return cut(model, units, {group.name: torch.tensor(removed[group.name]).long() for group in units}, image)


def load_small(path: Path | str) -> nn.Module:
    """Returns the smaller model of a file that `capbench export` wrote for a pattern of units, in eval mode.

    Args:
        path: Its `model.safetensors`.

    Raises:
        UserError: If it is no such file, or Torch-Pruning is not installed.
    """
    with safe_open(path, framework="pt") as file:
        card = json.loads((file.metadata() or {}).get(CARD, "{}"))
    if not card.get("removed_units"):
        raise UserError(f"{path} is no model without units: timm loads other files of capbench export")
    model = build_small(get_profile(card["profile"]).model(card["model"]), card["removed_units"])
    model.load_state_dict(load_file(path))
    return model.eval()

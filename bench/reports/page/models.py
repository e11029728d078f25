"""The page's models: size, dense accuracy, and the sparsity of every layer by method and pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.reports.page.data import Cell, LayerSparsity, ModelFacts
from bench.results.labels import FAMILY_ORDER

DIGITS = 3  # of a layer's sparsity
SHOWN = ("one-shot", "fine-tuned")  # phases: the first that a cell has; training holds the masks


def model_facts(
    cells: Sequence[Cell], rows: Mapping[str, pd.DataFrame], layers: Mapping[str, pd.DataFrame]
) -> list[ModelFacts]:
    """Returns the models of all sweeps, the paper's families first.

    Args:
        cells: All cells.
        rows: Result rows by sweep.
        layers: Rows of layers by sweep, as `bench.results.schema.LayerRow` describes them.
    """
    every = pd.concat([frame[["model", "family", "timm_name", "dataset", "top1_dense", "params_dense", "macs_dense"]]
                       for frame in rows.values()])  # fmt: skip
    found = []
    for model, part in every.groupby("model", sort=False):
        tables = {sweep: _by_layer(frame[frame["trial_id"].isin(set(rows[sweep].loc[rows[sweep]["model"] == model,
                  "trial_id"]))]) for sweep, frame in layers.items()}  # fmt: skip
        weights = pd.concat([pd.Series(dtype=int), *(table.weights for table in tables.values())])
        weights = weights[~weights.index.duplicated()]
        names = list(weights.index)
        states = [state for cell in _shown(cells, str(model)) for state in _state(cell, tables, names)]
        facts = ModelFacts(
            str(model), _first(part["timm_name"]), _first(part["dataset"]), _value(part["top1_dense"]),
            _whole(part["params_dense"]), _whole(part["macs_dense"]), tuple(names),
            tuple(int(count) for count in weights), tuple(states),
        )  # fmt: skip
        family = _first(part["family"])
        found.append((FAMILY_ORDER.index(family) if family in FAMILY_ORDER else len(FAMILY_ORDER), facts))
    return [facts for _, facts in sorted(found, key=lambda pair: pair[0])]


def _shown(cells: Sequence[Cell], model: str) -> list[Cell]:
    """Returns the valid cells of a model, of those that differ in their phase alone the first of `SHOWN`."""
    chosen: dict[tuple[str, ...], Cell] = {}
    for cell in sorted(cells, key=lambda cell: SHOWN.index(cell.phase) if cell.phase in SHOWN else len(SHOWN)):
        if cell.model == model and cell.status == "done" and cell.pattern:
            key = (cell.sweep, cell.method, cell.variant, cell.regime, cell.pattern)
            chosen.setdefault(key, cell)
    return list(chosen.values())


@dataclass(frozen=True)
class _LayerTable:
    """Layers of one model in a sweep.

    Attributes:
        weights: Number of weights by layer.
        sparsity: Fraction of zeros of each layer, in the order of `layers`, by trial and pattern.
        layers: Names of the layers.
    """

    weights: pd.Series
    sparsity: Mapping[tuple[str, str], np.ndarray]
    layers: tuple[str, ...]


def _by_layer(rows: pd.DataFrame) -> _LayerTable:
    pruned = rows[rows["pattern"].notna()].drop_duplicates(["trial_id", "pattern", "layer"])
    weights = rows.drop_duplicates("layer").set_index("layer")["weights"]
    wide = pruned.pivot(index=["trial_id", "pattern"], columns="layer", values="sparsity")
    return _LayerTable(weights, dict(zip(wide.index, wide.to_numpy(), strict=True)), tuple(wide.columns))


def _state(cell: Cell, tables: Mapping[str, _LayerTable], names: list[str]) -> list[LayerSparsity]:
    """Returns the sparsity of the layers in a cell; nothing where it is not known."""
    if cell.sweep not in tables or cell.pattern is None:
        return []
    table = tables[cell.sweep]
    known = [table.sparsity[trial, cell.pattern] for trial in cell.trials if (trial, cell.pattern) in table.sparsity]
    if not known:
        return []
    means = dict(zip(table.layers, np.mean(known, axis=0), strict=True))
    values = [float(means.get(name, np.nan)) for name in names]
    sparsity = tuple(round(value, DIGITS) if np.isfinite(value) else None for value in values)
    return [LayerSparsity(cell.sweep, cell.method, cell.variant, cell.target, sparsity)]


def _first(values: pd.Series) -> str:
    known = values.dropna()
    return str(known.iloc[0]) if len(known) else ""


def _value(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.iloc[0]) if len(known) else None


def _whole(values: pd.Series) -> int | None:
    found = _value(values)
    return None if found is None else int(found)

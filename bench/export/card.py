"""Card of an exported model: how it was made, how good and how large it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core import provenance
from bench.export.hub import front_matter, how_made, is_of_timm
from bench.export.source import PrunedModel
from bench.models import sparse_file
from bench.reports.common.origin import code_state
from bench.reports.common.text import kibibytes
from bench.results.schema import ResultRow

# columns of the result row that the card takes over
COLUMNS = (
    "profile", "sweep", "trial_id", "model", "family", "dataset", "pruner", "pruner_options", "pattern", "regime",
    "recipe", "phase", "epoch", "seed", "sparsity_prunable", "sparsity_model", "top1", "top5", "loss", "n_images",
    "top1_dense", "params_dense", "params_nonzero", "macs_dense", "macs_sparse", "calibration_images", "num_gradients",
    "commit", "dirty", "versions",
)  # fmt: skip
JSON_COLUMNS = ("pruner_options", "recipe", "versions")


@dataclass(frozen=True)
class WrittenFile:
    """File that was written and read back.

    Attributes:
        format: Name of its format.
        path: Path of the file.
        error: Largest difference of the outputs of what was read back.
    """

    format: str
    path: Path
    error: float


def card(pruned: PrunedModel) -> dict[str, Any]:
    """Returns what there is to know about the model and how it was made, as JSON has it."""
    columns = {name: getattr(pruned.row, name) for name in COLUMNS}
    return {
        "architecture": pruned.spec.timm_name,
        "options": pruned.spec.timm_options,
        "input": pruned.spec.preparation(),
        **{name: json.loads(value) if value and name in JSON_COLUMNS else value for name, value in columns.items()},
        "exported_at_commit": provenance.commit(),
        "layer_sparsity": {name: 1 - float(mask.double().mean()) for name, mask in pruned.masks.items()},
        "int8_layers": list(pruned.int8),
        "removed_units": dict(pruned.removed),
    }


def sizes(pruned: PrunedModel) -> dict[str, int]:
    """Returns the bytes of the model as a dense file, a sparse one and, in INT8, a sparse INT8 one, as written."""
    found = {"dense fp32": sparse_file.dense_bytes(pruned.model), "sparse fp32": sparse_file.sparse_bytes(pruned.model)}
    return found | ({"sparse INT8": sparse_file.sparse_bytes(pruned.model, pruned.int8)} if pruned.int8 else {})


def readme(
    pruned: PrunedModel, files: Sequence[WrittenFile], sizes: Mapping[str, int], repository: str | None = None
) -> str:
    """Returns the card in Markdown, with the files and the line that loads the model.

    Args:
        pruned: The model.
        files: Files that were written.
        sizes: Bytes of the model by kind of file, as `sizes` returns them.
        repository: Name of the hub's repository that it is for.
    """
    row = pruned.row
    formats = {file.format for file in files}
    for_timm = "safetensors" in formats and not pruned.removed and is_of_timm(pruned.spec)
    lines = [
        *(front_matter(pruned) if for_timm else []),
        f"# {row.model} pruned to {row.pattern} by {row.pruner}" + (", INT8" if pruned.int8 else ""),
        "",
        f"{row.top1:.2f} % top-1 on {row.n_images:,} test images of {row.dataset} (dense {row.top1_dense:.2f} %); "
        f"{100 * (row.sparsity_prunable or 0):.2f} % of the prunable weights are zero. Phase {row.phase}, seed "
        f"{row.seed}, {_code(row)}. All else is in [card.json](card.json).",
        "",
        "| file | KiB | largest difference of outputs when read back |",
        "| --- | --- | --- |",
        *(f"| {file.path.name} | {kibibytes(file.path.stat().st_size)} | {file.error:.3g} |" for file in files),
        "",
        "Sizes as written, KiB: " + ", ".join(f"{name} {kibibytes(size)}" for name, size in sizes.items()) + ".",
        *how_made(row, bool(pruned.int8)),
    ]
    if "safetensors" in formats and pruned.removed:
        count = sum(map(len, pruned.removed.values()))
        lines += ["", f'{count} units are cut out: `bench.load_small("model.safetensors")` returns the smaller model.']
    elif "safetensors" in formats:
        place = f"hf-hub:{repository}" if repository else "local-dir:."
        whole = [f'timm.create_model("{place}", pretrained=True)  # images and classes are in config.json']
        lines += ["", "```python", pruned.spec.loading_code("model.safetensors"), *(whole if for_timm else []), "```"]
    if "sparse" in formats:
        lines += ["", "`bench.models.sparse_file.read(path).load_into(model)` reads the sparse file."]
    return "\n".join(lines) + "\n"


def _code(row: ResultRow) -> str:
    """Returns which code made a row."""
    return code_state(pd.DataFrame([{"commit": row.commit, "dirty": row.dirty, "versions": row.versions}]))

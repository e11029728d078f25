"""Export of a pruned model: from a checkpoint or a pruner to files and a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.execution.preflight import check_device, check_pruner
from bench.export.model import Format, Written, check_formats, export, load, prune, sizes


@dataclass(frozen=True)
class ExportedModel:
    """A pruned model that was written to files.

    Attributes:
        top1: Top-1 accuracy, percent.
        top1_dense: Top-1 accuracy of the dense model, percent.
        sizes: Bytes of the model by kind of file: dense, sparse, INT8.
        written: Files, each read back and compared.
    """

    top1: float
    top1_dense: float
    sizes: dict[str, int]
    written: list[Written]


def export_model(
    checkpoint: Path | None = None,
    *,
    model: str | None = None,
    pruner: str = "cap",
    options: Mapping[str, Any] | None = None,
    sparsity: str = "0.75",
    seed: int = 0,
    finetune: bool = False,
    int8: bool = False,
    formats: Sequence[Format] = (),
    output: Path = Path("export"),
    profile: str = "embedded",
    device: str = "cpu",
) -> ExportedModel:
    """Writes a pruned model as files that others read, each read back and compared; and a card about it.

    Args:
        checkpoint: Model that training with pruning left: `results/PROFILE/SWEEP/TRIAL/PATTERN.safetensors`.
        model: Name of the model to prune at once, without a checkpoint.
        pruner: Registered name of its pruner, or `path/to/file.py:ClassName`.
        options: Options of the pruner, {name: value}.
        sparsity: Sparsity or another pattern: 0.75, 0.75@layer, 2:4.
        seed: Seed of the calibration images and the training.
        finetune: Whether to train after pruning, in INT8 if the model is.
        int8: Whether to quantize weights and activations.
        formats: Formats to write; by default safetensors, for INT8 sparse.
        output: Folder to write to.
        profile: Name of the profile.
        device: Torch device.

    Raises:
        UserError: If an argument is not valid, or the pruner cannot prune so.
    """
    if (checkpoint is None) == (model is None):
        raise UserError("give either a checkpoint or --model")
    if checkpoint is not None and finetune:
        raise UserError("--finetune belongs to --model: a checkpoint is exported as it is")
    formats = formats or (("sparse",) if int8 else ("safetensors",))
    check_formats(formats, int8)
    check_device(device)
    if checkpoint is not None:
        pruned = load(checkpoint, int8)
    else:
        assert model is not None
        check_pruner(pruner, options or {})
        pruned = prune(profile, model, pruner, options or {}, sparsity, seed, finetune, int8, device)
    written = export(pruned, formats, output)
    return ExportedModel(pruned.row["top1"], pruned.row["top1_dense"], sizes(pruned), written)

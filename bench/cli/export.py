"""`capbench export`: a pruned model as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import bench
from bench.cli.options import Options, Profile, Several, read_options


def export(
    checkpoint: Path | None = None,
    *,
    model: str | None = None,
    pruner: str = "cap",
    option: Options = (),
    sparsity: str = "0.75",
    seed: int = 0,
    finetune: bool = False,
    int8: bool = False,
    format: Annotated[tuple[Literal["safetensors", "sparse", "onnx", "runtime"], ...], Several] = (),
    output: Path = Path("export"),
    profile: Profile = "embedded",
    device: str = "cpu",
    push_to_hub: str | None = None,
) -> None:
    """Write a pruned model as files that others read, each read back and compared; and a card about it.

    That the files can be written is found out before any work; if one cannot be in the end, none is left.

    Args:
        checkpoint: A model that a gradual or AC/DC trial left: runs/PROFILE/SWEEP/TRIAL/PATTERN.safetensors.
        model: Without a checkpoint: the model to prune at once.
        pruner: Its pruner (see `capbench list pruners`), or path/to/file.py:ClassName.
        sparsity: A sparsity or another pattern: 0.75, 0.75@layer, 0.5@units, 2:4.
        seed: Of the calibration images and the training.
        finetune: Train after pruning, in INT8 if the model is.
        int8: Quantize weights and activations.
        format: safetensors (loads in timm), sparse (bitmask and values), onnx, runtime (for cap.runtime.load); several
            may be given. By default safetensors, with --int8 sparse.
        output: Folder to write to; it is made if need be, and files of the same names are replaced.
        device: The torch device.
        push_to_hub: A repository of the Hugging Face hub, USER/NAME, that the folder is pushed to in the end.
    """
    if (checkpoint is None) == (model is None):
        raise bench.UserError("give either a checkpoint or --model")
    if checkpoint is not None and finetune:
        raise bench.UserError("--finetune belongs to --model: a checkpoint is exported as it is")
    source: Path | bench.Trial | None = checkpoint
    if model is not None:
        options = read_options(option)
        source = bench.one_shot_trial(profile, model, pruner, options, sparsity, seed, finetune, int8)
    assert source is not None
    exported = bench.export_model(source, output, format, int8, device, push_to_hub)
    row = exported.pruned.row
    print(f"{row.top1:.2f} % top-1, dense {row.top1_dense:.2f} %")
    for name, size in exported.sizes.items():
        print(f"{name:12} {size:>12,} bytes")
    for file in exported.files:
        size = file.path.stat().st_size
        print(f"written: {file.path}, {size:,} bytes; read back, outputs differ by {file.error:.3g}")
    if exported.url is not None:
        print(f"pushed: {exported.url}")

"""Features of many images, kept on disk part by part while they are computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.core import distributed
from bench.core.files import atomic_write
from bench.data.inputs import Inputs
from bench.models import probing
from cap.distributed import all_reduce_min

PART = 16_384  # images whose features are one file


def kept_features(
    backbone: probing.Backbone, inputs: Inputs, device: str | torch.device, folder: Path
) -> tuple[Tensor, Tensor]:
    """Returns the features of all images; those that an earlier call has kept in the folder are read, not computed.

    The parts do not depend on the number of processes, which share each of them.

    Args:
        backbone: Function from images to features, on the device.
        inputs: Images.
        device: Torch device to compute on.
        folder: Folder of these features alone: its name stands for network and images.

    Returns:
        Features (n, width), float32, and labels (n,), on the device.
    """
    maker = f"torch {torch.__version__} on {torch.device(device).type}"
    features, labels = torch.empty(0), torch.empty(len(inputs), dtype=torch.int64, device=device)
    for chosen in torch.arange(len(inputs)).split(PART):
        some, some_labels = _part(backbone, inputs, device, chosen, folder, maker)
        start, stop = int(chosen[0]), int(chosen[-1]) + 1
        if not start:
            features = some.new_empty(len(inputs), some.shape[1])
        features[start:stop], labels[start:stop] = some, some_labels
    return features, labels


def forget_features(folder: Path) -> None:
    """Removes what was kept in a folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _part(
    backbone: probing.Backbone,
    inputs: Inputs,
    device: str | torch.device,
    chosen: Tensor,
    folder: Path,
    maker: str,
) -> tuple[Tensor, Tensor]:
    """Returns the features and labels of the images of one part, from its file or else newly computed and kept."""
    path = folder / f"{int(chosen[0]):08d}.safetensors"
    found = _read(path, len(chosen), maker)
    if all_reduce_min(int(found is not None)) and found is not None:  # all processes read it, or all compute
        return found[0].to(device), found[1].to(device)
    features, labels = probing.features(backbone, inputs, device, chosen=chosen)

    def write() -> None:
        with atomic_write(path) as temporary:
            values = {"features": features.cpu().contiguous(), "labels": labels.cpu()}
            save_file(values, temporary, metadata={"made by": maker})

    distributed.run_on_rank0(write)
    return features, labels


def _read(path: Path, count: int, maker: str) -> tuple[Tensor, Tensor] | None:
    """Returns what a part's file holds; None where there is none, or one of another device or version of torch."""
    try:
        with safe_open(path, framework="pt") as opened:
            if opened.metadata() != {"made by": maker}:
                return None
            features, labels = opened.get_tensor("features"), opened.get_tensor("labels")
    except (OSError, SafetensorError):
        return None
    return (features, labels) if len(labels) == count else None

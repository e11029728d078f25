"""Statistics of batch normalisation, estimated anew for a model whose weights have changed."""

from __future__ import annotations

import torch
from torch import nn

from cap.calibration import Calibration
from cap.model_state import evaluating

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def has_batch_norm(model: nn.Module) -> bool:
    """Returns whether a model normalises by running statistics, which pruning puts out of date."""
    return bool(_normalisers(model))


def _normalisers(model: nn.Module) -> list[BatchNorm]:
    return [one for one in model.modules() if isinstance(one, BatchNorm) and one.running_mean is not None]


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, calibration: Calibration) -> None:
    """Replaces running means and variances by those over the calibration images, as `torch.optim.swa_utils` does.

    They are means of the statistics of whole batches. A layer sees what layers before it give when they normalise by
    the batch, as in training; everything else computes as in evaluation, dropout and stochastic depth included.

    Args:
        model: The model, on its device; its weights and modes stay as they are.
        calibration: Images to estimate on, `batch_size` at a time; what is left over is not used, unless it is all.

    Raises:
        ValueError: If a batch is of one image, whose statistics have no variance.
    """
    size = min(calibration.batch_size, len(calibration))
    if size < 2:
        raise ValueError(
            "statistics of batch normalisation need at least two images in a batch: calibration has "
            f"{len(calibration)}, its batch size is {calibration.batch_size}"
        )
    found, device = _normalisers(model), next(model.parameters()).device
    momenta = [one.momentum for one in found]
    with evaluating(model):
        for one in found:
            one.reset_running_stats()
            one.momentum = None  # torch then takes the mean over batches
            one.train()
        for images in calibration.inputs.split(size):
            if len(images) == size:
                images.to(device).run(model)
    for one, momentum in zip(found, momenta, strict=True):
        one.momentum = momentum

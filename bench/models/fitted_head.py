"""Linear heads that the suite fits to the features of a network, once for its weights and data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from bench.core import distributed
from bench.core.files import atomic_write
from bench.data import imagenet
from bench.data.inputs import Inputs
from bench.models import probing
from bench.models.kept_features import forget_features, kept_features

logger = logging.getLogger(__name__)


def head_path(name: str, digest: str) -> Path:
    """Returns where a head is kept.

    Args:
        name: Name of the model.
        digest: Hexadecimal digest of weights, training images and recipe.
    """
    return imagenet.cache_folder() / "heads" / f"{name}-{digest[:16]}.safetensors"


def give_head(model: nn.Module, path: Path, name: str, inputs: Inputs, num_classes: int, device: str) -> None:
    """Gives a model of timm the head that is in a file, or fits it and keeps it there.

    The features that it is fitted to are kept beside it until it is there: who is interrupted goes on with them.

    Args:
        model: The model with any head, on the device, in eval mode.
        path: File of the head.
        name: Name of the model, for messages.
        inputs: Training images.
        num_classes: Number of classes of the data.
        device: Torch device.
    """
    net: Any = model
    if not distributed.run_on_rank0(path.is_file):
        logger.warning("fitting the linear head of %s, once: %s", name, path)
        parts = path.with_suffix(".features")
        found, labels = kept_features(probing.pooled(model), inputs, device, parts)

        def fit() -> None:
            head = probing.best_linear_head(found, labels, num_classes)
            with atomic_write(path) as temporary:
                save_file({key: value.cpu() for key, value in head.state_dict().items()}, temporary)
            forget_features(parts)

        distributed.run_on_rank0(fit)
    net.get_classifier().load_state_dict(distributed.run_on_rank0(lambda: load_file(path)))

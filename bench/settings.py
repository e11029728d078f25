"""How each profile sets the pruners and their training, wherever they are compared.

The embedded profile scales the paper's settings to models 100 times smaller. A Fisher block is as wide as the ViT (64;
the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024 (of 4,096), the dampening is the
paper's own. The fine-tune is linear with the paper's ratio of ten between first and last rate.
"""

from __future__ import annotations

from typing import Any

import cap
from bench.recipes import FinetuneSpec, GradualSpec, QuantizationSpec

FISHER: dict[str, dict[str, Any]] = {"embedded": {"block_size": 64, "num_gradients": 1024}}
# M-FAC is for blocks too large for their matrices, and SparseGPT's block is no Fisher block: both keep their own size
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "embedded": {
        "cap": {"damp": 1e-8},
        "woodfisher": {"damp": 1e-6},
        "mfac": {"block_size": 2048},
        "sparsegpt": {"block_size": 128},
    }
}
# a crop of at least three quarters leaves 24 of 28 pixels; the paper's 8 % would leave a few
FINETUNE = {"embedded": FinetuneSpec(epochs=1, images=4096, batch_size=32, lr=1e-3, lr_end=1e-4, crop=0.75)}
GRADUAL = {
    "embedded": GradualSpec(
        epochs=10, images=4096, batch_size=32, lr=5e-4, lr_end=1e-5, crop=0.75, period=2,
        knots=((0, 0.5), (2, 0.6), (4, 0.75), (6, 0.8), (8, 0.9)),
    )
}  # fmt: skip
# the paper's own rates
INT8_FINETUNE = {"embedded": FINETUNE["embedded"].model_copy(update={"images": 2048, "lr": 1e-4, "lr_end": 1e-5})}
QUANTIZATION = {profile: QuantizationSpec(finetune=recipe) for profile, recipe in INT8_FINETUNE.items()}


def pruner_options(profile: str, pruner: str) -> dict[str, Any]:
    """Returns the options that a profile sets, of those that the pruner has; the others keep the pruner's defaults.

    Args:
        profile: A profile of `bench.zoo.PROFILES`.
        pruner: A name of `cap.available()`, or `path/to/file.py:ClassName`.

    Raises:
        ValueError: If there is no such pruner.
    """
    known = cap.default_options(pruner)
    shared = {key: value for key, value in FISHER[profile].items() if key in known}
    return {**shared, **OWN[profile].get(pruner, {})}

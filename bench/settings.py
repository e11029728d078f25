"""How each profile sets the pruners and the short fine-tune, wherever they are compared.

The embedded profile scales the paper's settings to models 100 times smaller. A Fisher block is as wide as the ViT (64;
the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024 (of 4,096), the dampening is the
paper's own. The fine-tune is linear with the paper's ratio of ten between first and last rate.
"""

from __future__ import annotations

from typing import Any

from bench.spec import FinetuneSpec

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
FINETUNE = {"embedded": FinetuneSpec(epochs=1, images=4096, batch_size=32, lr=1e-3, lr_end=1e-4)}


def pruner_options(profile: str, pruner: str) -> dict[str, Any]:
    """Returns the options that a profile sets, of those that the pruner has; the others keep the pruner's defaults.

    Args:
        profile: A profile of `bench.zoo.PROFILES`.
        pruner: A name of `cap.available()`, or `path/to/file.py:ClassName`.

    Raises:
        ValueError: If there is no such pruner.
    """
    import cap

    known = cap.default_options(pruner)
    shared = {key: value for key, value in FISHER[profile].items() if key in known}
    return {**shared, **OWN[profile].get(pruner, {})}

"""The pruners, one a file. Importing this package registers them."""

from cap.pruners import (
    correlation_aware,
    fastcap,
    gradient_weight,
    magnitude,
    mfac,
    obc,
    sparsegpt,
    taylor,
    wanda,
    woodfisher,
)

__all__ = [
    "correlation_aware",
    "fastcap",
    "gradient_weight",
    "magnitude",
    "mfac",
    "obc",
    "sparsegpt",
    "taylor",
    "wanda",
    "woodfisher",
]

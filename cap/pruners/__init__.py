"""The pruners, one a file. Importing this package registers them."""

from cap.pruners import (
    alps,
    correlation_aware,
    dsnot,
    fastcap,
    gradient_weight,
    magnitude,
    mfac,
    obc,
    random,
    ria,
    snows,
    sparsegpt,
    synflow,
    wanda,
    woodfisher,
)

__all__ = [
    "alps",
    "correlation_aware",
    "dsnot",
    "fastcap",
    "gradient_weight",
    "magnitude",
    "mfac",
    "obc",
    "random",
    "ria",
    "snows",
    "sparsegpt",
    "synflow",
    "wanda",
    "woodfisher",
]

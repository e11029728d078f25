"""The pruners, one a file. Importing this package registers them."""

from cap.pruners import (
    chita,
    compose,
    correlation_aware,
    fastcap,
    gradient_weight,
    magnitude,
    mfac,
    obc,
    obert,
    sparsegpt,
    wanda,
    woodfisher,
)

__all__ = [
    "chita",
    "compose",
    "correlation_aware",
    "fastcap",
    "gradient_weight",
    "magnitude",
    "mfac",
    "obc",
    "obert",
    "sparsegpt",
    "wanda",
    "woodfisher",
]

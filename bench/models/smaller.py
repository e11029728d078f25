"""Smaller dense models: the embedded architectures, narrower, with as many weights as a pruned model has left.

They are the control of docs/protocol.md: trained from random weights with the dense model's recipe
(`nox -s train_zoo -- --model vit_75`), one for each sparsity of `SPARSITIES`.
"""

from __future__ import annotations

from typing import Any

from bench.models.embedded import EMBEDDED, EmbeddedModel

SPARSITIES = (0.5, 0.75, 0.9)
# the widest of these proportions with no more weights than are left, those of other layers included; 1 % more at most
_WIDTHS: dict[str, tuple[dict[str, Any], ...]] = {
    "vit": ({"embed_dim": 46, "num_heads": 2}, {"embed_dim": 32}, {"embed_dim": 22, "num_heads": 2}),
    "convnext": ({"dims": (17, 29, 46, 70)}, {"dims": (13, 22, 34, 52)}, {"dims": (10, 16, 25, 38)}),
    "xcit": ({"embed_dim": 48}, {"embed_dim": 36}, {"embed_dim": 28}),
}


class SmallerModel(EmbeddedModel):
    """Narrower dense model.

    Attributes:
        base: Name of the model whose architecture it is.
        sparsity: Fraction of zeros in the pruned layers at which that has as many weights left.
    """

    base: str
    sparsity: float


def _narrower(base: EmbeddedModel, sparsity: float, options: dict[str, Any]) -> SmallerModel:
    seeded = base.with_seed(0)
    return SmallerModel(
        name=f"{base.name}_{100 * sparsity:g}",
        family=base.family,
        timm_name=base.timm_name,
        timm_options={**base.timm_options, **options},
        prunable=seeded.prunable,
        input_size=base.input_size,
        base=base.name,
        sparsity=sparsity,
        seed=0,
    )


SMALLER = {
    one.name: one
    for base, widths in _WIDTHS.items()
    for one in (_narrower(EMBEDDED[base], *pair) for pair in zip(SPARSITIES, widths, strict=True))
}
"""Smaller dense models, {name: model}."""

"""Structured pruning: whole heads, hidden units and channels, one-shot; and unstructured pruning of what is left.

Beside CAP's joint cost stand the usual scores of units, magnitude and first-order Taylor. CAP's dampening is 1e-4, of
1e-8, 1e-6 and 1e-4 the best on 3,000 training images at 50 and 75 % on the ViT and ConvNeXt (at 25 % not on the ViT).
Its rivals were not tuned.
"""

from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid

SWEEP = Sweep(
    name="structured",
    title="Heads, hidden units and channels, and unstructured pruning on top",
    profiles={
        "embedded": grid(
            sweep="structured",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": "magnitude"},
                {"pruner": "taylor", "pruner_options": EMBEDDED.pruner_options("taylor")},
                {"pruner": "cap", "pruner_options": {**EMBEDDED.pruner_options("cap"), "damp": 1e-4}},
            ],
            patterns=("0.25@units", "0.5@units", "0.75@units", "0.25@units+0.5", "0.5@units+0.5"),
        )
    },
)

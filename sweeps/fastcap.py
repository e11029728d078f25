"""FastCAP against CAP: accuracy and time, every layer at the same sparsity."""

from bench.settings import pruner_options
from bench.spec import Sweep, grid

SWEEP = Sweep(
    name="fastcap",
    title="FastCAP against CAP: accuracy and time",
    profiles={
        "embedded": grid(
            sweep="fastcap",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": name, "pruner_options": pruner_options("embedded", name)} for name in ("cap", "fastcap")
            ],
            patterns=("0.5@layer", "0.6@layer", "0.75@layer", "0.9@layer"),
        )
    },
)

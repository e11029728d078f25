"""Table 1: one-shot pruning, then a short fine-tune, at 50, 75 and 90 %; one-shot alone at 80, 95 and 98 %.

How the embedded profile is scaled down is told in `bench.settings`.
"""

from bench.settings import FINETUNE, pruner_options
from bench.spec import Sweep, grid

SWEEP = Sweep(
    name="table1",
    title="One-shot pruning, then a short fine-tune",
    profiles={
        "embedded": grid(
            sweep="table1",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": name, "pruner_options": pruner_options("embedded", name)}
                for name in ("magnitude", "woodfisher", "cap")
            ],
            patterns=("0.5", "0.75", "0.8", "0.9", "0.95", "0.98"),
            finetune_at=("0.5", "0.75", "0.9"),
            finetune=FINETUNE["embedded"],
        )
    },
)

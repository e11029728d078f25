"""N:M sparsity, one-shot at 2:4, 1:4 and 4:8; 2:4 also with a short fine-tune."""

from bench.settings import FINETUNE, pruner_options
from bench.spec import Sweep, grid

SWEEP = Sweep(
    name="nm",
    title="N:M sparsity: 2:4, 1:4, 4:8",
    profiles={
        "embedded": grid(
            sweep="nm",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": name, "pruner_options": pruner_options("embedded", name)}
                for name in ("magnitude", "woodfisher", "cap", "wanda", "sparsegpt", "obc")
            ],
            patterns=("2:4", "1:4", "4:8"),
            finetune_at=("2:4",),
            finetune=FINETUNE["embedded"],
        )
    },
)

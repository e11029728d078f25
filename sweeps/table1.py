"""Table 1: one-shot pruning, then a short fine-tune, at 50, 75 and 90 %; one-shot alone at 80, 95 and 98 %.

The embedded profile scales the paper's settings to models 100 times smaller. A Fisher block is as wide as the ViT (64;
the paper's 192 is the width of DeiT-Tiny), the number of gradients is 1,024 (of 4,096), the dampening is the
paper's own. The fine-tune is linear with the paper's ratio of ten between first and last rate.
"""

from bench.spec import FinetuneSpec, Sweep, grid

FISHER = {"block_size": 64, "num_gradients": 1024}

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
                {"pruner": "magnitude"},
                {"pruner": "woodfisher", "pruner_options": {**FISHER, "damp": 1e-6}},
                {"pruner": "cap", "pruner_options": {**FISHER, "damp": 1e-8}},
            ],
            patterns=("0.5", "0.75", "0.8", "0.9", "0.95", "0.98"),
            finetune_at=("0.5", "0.75", "0.9"),
            finetune=FinetuneSpec(epochs=1, images=4096, batch_size=32, lr=1e-3, lr_end=1e-4),
        )
    },
)

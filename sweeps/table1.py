"""Table 1: one-shot pruning, then a short fine-tune, at 50, 75 and 90 %; one-shot alone at 80, 95 and 98 %.

How the embedded profile is scaled down is told in `bench.specs.profiles`. The profile imagenet fine-tunes for 20
epochs.
"""

from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.sweep import Sweep, grid

PRUNERS = ("magnitude", "woodfisher", "cap")
MODELS = (
    "deit_tiny", "deit_small", "deit_base", "deit3_small", "deit3_base", "convnext_tiny", "convnext_small",
    "convnext_base", "convnext_large", "xcit_small", "efficientformer_l1", "levit_192", "swin_tiny", "resnet50d",
    "efficientnetv2_tiny",
)  # fmt: skip

SWEEP = Sweep(
    name="table1",
    title="One-shot pruning, then a short fine-tune",
    profiles={
        "embedded": grid(
            sweep="table1",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[{"pruner": name, "pruner_options": EMBEDDED.pruner_options(name)} for name in PRUNERS],
            patterns=("0.5", "0.75", "0.8", "0.9", "0.95", "0.98"),
            finetune_at=("0.5", "0.75", "0.9"),
            finetune=EMBEDDED.recipes.finetune,
        ),
        "imagenet": grid(
            sweep="table1",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                case
                for model in MODELS
                for case in IMAGENET.cases([model], PRUNERS, "finetuned", finetune=IMAGENET.recipes_of(model).finetune)
            ],
            patterns=("0.5", "0.75", "0.8", "0.9", "0.95", "0.98"),
            finetune_at=("0.5", "0.75", "0.9"),
            calibration=IMAGENET.calibration,
        ),
    },
)

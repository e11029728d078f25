"""N:M sparsity, one-shot at 2:4, 1:4 and 4:8; 2:4 also with a fine-tune: short, or on the profile imagenet 50 epochs.

XCiT's depthwise convolutions, which that profile prunes, have one input each and no groups of four.
"""

from bench.specs.profiles import CALIBRATION, FINETUNE, NM_FINETUNE, augmented, cases, pruner_options
from bench.specs.trial import Sweep, grid

PRUNERS = ("magnitude", "woodfisher", "cap", "wanda", "sparsegpt", "obc")
MODELS = ("deit_tiny", "deit_small", "deit_base", "convnext_tiny", "convnext_small", "swin_tiny")

SWEEP = Sweep(
    name="nm",
    title="N:M sparsity: 2:4, 1:4, 4:8",
    profiles={
        "embedded": grid(
            sweep="nm",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[{"pruner": name, "pruner_options": pruner_options("embedded", name)} for name in PRUNERS],
            patterns=("2:4", "1:4", "4:8"),
            finetune_at=("2:4",),
            finetune=FINETUNE["embedded"],
        ),
        "imagenet": grid(
            sweep="nm",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                case
                for model in MODELS
                for case in cases([model], PRUNERS, "finetuned", finetune=augmented(NM_FINETUNE, model))
            ],
            patterns=("2:4", "1:4", "4:8"),
            finetune_at=("2:4",),
            calibration=CALIBRATION["imagenet"],
        ),
    },
)

"""Table 1: one-shot pruning, then a short fine-tune, at 50, 75 and 90 %.

The embedded models run with every rival that matters, at tuned settings and one-shot also at those of their authors
(docs/protocol.md), with the dense model after the same fine-tune beside them. The profile imagenet fine-tunes for 20
epochs, and has one-shot pruning alone at 80, 95 and 98 %.
"""

from bench.specs.evidence import BOTH, TUNED, finetuned, protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

PRUNERS = ("magnitude", "woodfisher", "cap")
CONTENDERS = ("magnitude", "gradient_weight", "woodfisher", "obert", "mfac", "obc", "alps", "cap")
SEEDED_MODELS = ("vit", "convnext", "xcit")
SPARSITIES = (0.5, 0.75, 0.9)
MODELS = (
    "deit_tiny", "deit_small", "deit_base", "deit3_small", "deit3_base", "convnext_tiny", "convnext_small",
    "convnext_base", "convnext_large", "xcit_small", "efficientformer_l1", "levit_192", "swin_tiny", "resnet50d",
    "efficientnetv2_tiny",
)  # fmt: skip


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds: tuned settings with the fine-tune, the authors' without."""
    every = protocol_cases(EMBEDDED, SEEDED_MODELS, CONTENDERS, SPARSITIES, BOTH)
    shown = [case for case in every if case["setting"] not in (None, *TUNED)]
    judged = [case for case in every if case not in shown]
    return seeded_grid("table1", EMBEDDED, [*finetuned(EMBEDDED, judged), *shown])


SWEEP = Sweep(
    name="table1",
    title="One-shot pruning, then a short fine-tune",
    profiles={
        "embedded": seeded(),
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

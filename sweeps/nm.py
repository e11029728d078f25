"""N:M sparsity, one-shot at 2:4, 1:4 and 4:8; 2:4 also with a fine-tune: short, or on the profile imagenet 50 epochs.

XCiT's depthwise convolutions, which that profile prunes, have one input each and no groups of four. Those of the
embedded XCiT stay dense. Tuned settings are those of sparsities; the Fisher is estimated once, since
N:M is not reached in parts.
"""

from bench.specs.evidence import control, protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

PRUNERS = ("magnitude", "woodfisher", "cap", "wanda", "sparsegpt", "obc")
MODELS = ("deit_tiny", "deit_small", "deit_base", "convnext_tiny", "convnext_small", "swin_tiny")

NM_FINETUNE = IMAGENET.recipes.finetune.model_copy(update={"epochs": 50, "lr": 5e-4})

SEEDED_MODELS = ("vit", "convnext", "xcit")


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds, and the dense models after the same fine-tune."""
    recipes = {model: finetune_recipe(EMBEDDED, model) for model in SEEDED_MODELS}
    cases = protocol_cases(
        EMBEDDED, SEEDED_MODELS, PRUNERS, one_step=True, patterns=("2:4", "1:4", "4:8"), finetune_at=("2:4",)
    )
    cases = [{**case, "finetune": recipes[case["model"]]} for case in cases]
    return seeded_grid("nm", EMBEDDED, [*cases, *(control(*pair) for pair in recipes.items())])


SWEEP = Sweep(
    name="nm",
    title="N:M sparsity: 2:4, 1:4, 4:8",
    profiles={
        "embedded": seeded(),
        "imagenet": grid(
            sweep="nm",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                case
                for model in MODELS
                for case in IMAGENET.cases(
                    [model], PRUNERS, "finetuned", finetune=IMAGENET.augmented(NM_FINETUNE, model)
                )
            ],
            patterns=("2:4", "1:4", "4:8"),
            finetune_at=("2:4",),
            calibration=IMAGENET.calibration,
        ),
    },
)

"""The recovery ablation: a sawtooth rate against one cosine, light1 against deit augmentation, in gradual pruning.

The profile imagenet has the paper's 100 epochs, 40 to 90 %. Of the embedded profile each architecture runs, with
CAP's tuned settings, and the end of a run at 90 % is what counts.
"""

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.recipes import GradualSpec
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

RECOVERY = GradualSpec.model_validate(
    {**IMAGENET.recipes.gradual.model_dump(), "epochs": 100, "knots": ((0, 0.4), (80, 0.9))}
)

SEEDED_MODELS = ("vit", "convnext", "xcit")
RECIPES = [
    EMBEDDED.recipes.gradual.model_copy(update={"schedule": schedule, "augmentation": augmentation})
    for schedule in ("sawtooth", "cosine")
    for augmentation in ("light1", "deit")
]


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds."""
    cases = protocol_cases(EMBEDDED, SEEDED_MODELS, ["cap"], one_step=True, patterns=("0.9",))
    return seeded_grid("recovery", EMBEDDED, cases, training=RECIPES)


SWEEP = Sweep(
    name="recovery",
    title="Sawtooth against cosine rate, light1 against deit augmentation",
    profiles={
        "embedded": seeded(),
        "imagenet": grid(
            sweep="recovery",
            profile="imagenet",
            seed=[0, 1, 2],
            case=IMAGENET.cases(["deit_tiny", "deit_small"], ["cap"], "gradual"),
            patterns=tuple(str(sparsity) for sparsity in RECOVERY.steps().values()),
            training=[
                RECOVERY.model_copy(update={"schedule": schedule, "augmentation": augmentation})
                for schedule in ("sawtooth", "cosine")
                for augmentation in ("light1", "deit")
            ],
            calibration=IMAGENET.calibration,
        ),
    },
)

"""Gradual pruning: one run gives a model at each of 50, 60, 75, 80 and 90 %.

The paper's schedule in small: steps at the sparsities of its ramp that its tables report, the rate falling from 5e-4 to
1e-5 between two steps, light1 augmentation, two epochs of 4,096 images a step (of 20 epochs of ImageNet). The profile
imagenet has the paper's 300 epochs.

The embedded models run with tuned settings. Beside CAP's run stand dedicated ones, one for each sparsity, which end
there after as many epochs as the run took to get there: as many steps at even distances from 50 %, and one cosine fall
of the rate in place of the sawtooth, with which they would be the same training.
"""

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.recipes import GradualSpec
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

PRUNERS = ("magnitude", "woodfisher", "cap")
MODELS = (
    "deit_tiny", "deit_small", "deit_base", "convnext_tiny", "convnext_small", "xcit_small", "swin_tiny", "resnet50d",
    "efficientnetv2_tiny",
)  # fmt: skip

SEEDED_MODELS = ("vit", "convnext", "xcit")


def dedicated() -> dict[str, GradualSpec]:
    """Returns the training that ends at each sparsity of the run, {pattern: recipe}."""
    run = EMBEDDED.recipes.gradual
    found = {}
    for epochs, sparsity in run.measured().items():
        first, last = (0, run.knots[0][1]), (epochs - run.period, sparsity)
        values = {"epochs": epochs, "schedule": "cosine", "knots": (first, last) if last[0] else (last,)}
        found[str(sparsity)] = GradualSpec.model_validate({**run.model_dump(), **values})
    return found


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds: the runs, and CAP's dedicated ones."""
    run = EMBEDDED.recipes.gradual
    patterns = tuple(map(str, run.measured().values()))
    cases = protocol_cases(EMBEDDED, SEEDED_MODELS, PRUNERS, one_step=True, patterns=patterns, training=run)
    for pattern, recipe in dedicated().items():
        cases += protocol_cases(EMBEDDED, SEEDED_MODELS, ["cap"], one_step=True, patterns=(pattern,), training=recipe)
    return seeded_grid("gradual", EMBEDDED, cases)


SWEEP = Sweep(
    name="gradual",
    title="Gradual pruning to 50, 60, 75, 80 and 90 % in one run",
    profiles={
        "embedded": seeded(),
        "imagenet": grid(
            sweep="gradual",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                case
                for model in MODELS
                for case in IMAGENET.cases(
                    [model],
                    PRUNERS,
                    "gradual",
                    training=IMAGENET.recipes_of(model).gradual,
                )
            ],
            patterns=("0.5", "0.6", "0.75", "0.8", "0.9"),
            calibration=IMAGENET.calibration,
        ),
    },
)

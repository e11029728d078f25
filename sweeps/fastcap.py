"""FastCAP against CAP: accuracy and time, every layer at the same sparsity.

On the profile imagenet FastCAP also prunes gradually, in 10 epochs. The embedded models run with tuned settings.
"""

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.recipes import GradualSpec
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

PATTERNS = ("0.5@layer", "0.6@layer", "0.75@layer", "0.9@layer")
MODELS = ("deit_tiny", "deit_small", "deit_base", "convnext_tiny", "xcit_small")

FASTCAP_GRADUAL = GradualSpec.model_validate(
    {**IMAGENET.recipes.gradual.model_dump(), "epochs": 10, "period": 2, "schedule": "cosine",
     "knots": ((0, 0.4), (8, 0.9)), "scope": "layer"}
)  # fmt: skip


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds."""
    cases = protocol_cases(EMBEDDED, EMBEDDED.seeded_models, ("cap", "fastcap"), patterns=PATTERNS)
    return seeded_grid("fastcap", EMBEDDED, cases)


SWEEP = Sweep(
    name="fastcap",
    title="FastCAP against CAP: accuracy and time",
    profiles={
        "embedded": seeded(),
        "imagenet": grid(
            sweep="fastcap",
            profile="imagenet",
            seed=[0, 1, 2],
            case=[
                *IMAGENET.cases(MODELS, ("cap", "fastcap"), patterns=PATTERNS),
                *IMAGENET.cases(
                    ("deit_tiny", "deit_small"),
                    ["fastcap"],
                    "gradual",
                    patterns=tuple(f"{sparsity}@layer" for sparsity in FASTCAP_GRADUAL.steps().values()),
                    training=FASTCAP_GRADUAL,
                ),
            ],
            calibration=IMAGENET.calibration,
        ),
    },
)

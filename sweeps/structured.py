"""Structured pruning: whole heads, hidden units and channels, one-shot; and unstructured pruning of what is left.

Beside CAP's joint cost stand the usual scores of units, magnitude and first-order Taylor. CAP's dampening is 1e-4, of
1e-8, 1e-6 and 1e-4 the best on 3,000 training images at 50 and 75 % on the ViT and ConvNeXt (at 25 % not on the ViT).
Its rivals were not tuned. Models with dense seeds run with settings tuned for single weights, the Fisher estimated
once, and are fine-tuned after the pattern that saves about a quarter of the multiply-adds.
"""

from bench.specs.evidence import control, protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

PATTERNS = ("0.25@units", "0.5@units", "0.75@units", "0.25@units+0.5", "0.5@units+0.5")
SEEDED_MODELS = ("vit", "convnext", "xcit")


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds, and the dense models after the same fine-tune."""
    recipes = {model: finetune_recipe(EMBEDDED, model) for model in SEEDED_MODELS}
    pruners = ("magnitude", "taylor", "cap")
    cases = protocol_cases(EMBEDDED, SEEDED_MODELS, pruners, one_step=True, patterns=PATTERNS, finetune_at=PATTERNS[:1])
    cases = [{**case, "finetune": recipes[case["model"]]} for case in cases]
    return seeded_grid("structured", EMBEDDED, [*cases, *(control(*pair) for pair in recipes.items())])


SWEEP = Sweep(
    name="structured",
    title="Heads, hidden units and channels, and unstructured pruning on top",
    profiles={
        "embedded": seeded()
        if EMBEDDED.dense_seeds
        else grid(
            sweep="structured",
            profile="embedded",
            model=["vit", "convnext", "xcit", "dino"],
            seed=[0, 1, 2],
            pruner=[
                {"pruner": "magnitude"},
                {"pruner": "taylor", "pruner_options": EMBEDDED.pruner_options("taylor")},
                {"pruner": "cap", "pruner_options": {**EMBEDDED.pruner_options("cap"), "damp": 1e-4}},
            ],
            patterns=PATTERNS,
        )
    },
)

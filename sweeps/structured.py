"""Structured pruning: whole heads, hidden units and channels, one-shot; and unstructured pruning of what is left.

Beside CAP's joint cost stand the usual scores of units, magnitude and first-order Taylor. Settings are those tuned for
single weights, the Fisher estimated once. The models are fine-tuned after the pattern that saves about a quarter of the
multiply-adds.
"""

from bench.specs.evidence import control, protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep
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
    profiles={"embedded": seeded()},
)

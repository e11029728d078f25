"""Structured pruning: whole heads, hidden units and channels, one-shot; and unstructured pruning of what is left.

Beside CAP's joint cost stand the usual scores of units, magnitude and Taylor. Settings are the profile's own: those
tuned for single weights have blocks that are too large for units (docs/structured.md). The models are fine-tuned
after the pattern that saves about a quarter of the multiply-adds.
"""

from bench.specs.evidence import control, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial

PATTERNS = ("0.25@units", "0.5@units", "0.75@units", "0.25@units+0.5", "0.5@units+0.5")
PRUNERS = ("magnitude", "taylor", "cap")
QUARTER = {"vit": "0.25@units", "convnext": "0.6@units", "xcit": "0.5@units"}  # saves a quarter of the multiply-adds


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds, and the dense models after the same fine-tune."""
    cases = []
    for model, quarter in QUARTER.items():
        recipe = finetune_recipe(EMBEDDED, model)
        patterns = tuple(dict.fromkeys([*PATTERNS, quarter]))
        cases += EMBEDDED.cases([model], PRUNERS, patterns=patterns, finetune=recipe, finetune_at=(quarter,))
        cases.append(control(model, recipe))
    return seeded_grid("structured", EMBEDDED, cases)


SWEEP = Sweep(
    name="structured",
    title="Heads, hidden units and channels, and unstructured pruning on top",
    profiles={"embedded": seeded()},
)

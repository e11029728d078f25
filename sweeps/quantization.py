"""INT8 of pruned models: the one-shot pruned one, and after a short training in INT8 with masks held.

The same training in single precision stands beside it: an epoch of the protocol's fine-tune, without its average, since
ranges in INT8 are those of the last weights. CAP's settings are tuned.
"""

from bench.specs.evidence import control, protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.recipes import QuantizationSpec
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial

PATTERNS = ("0.5", "0.75")

SEEDED_MODELS = ("vit", "convnext", "xcit")


def seeded() -> tuple[Trial, ...]:
    """Returns the trials of the models with dense seeds, and the dense models after the same training."""
    recipes = {
        model: finetune_recipe(EMBEDDED, model).model_copy(update={"epochs": 1, "ema": 0.0}) for model in SEEDED_MODELS
    }
    cases = [
        {**case, "finetune": recipes[case["model"]], "quantization": QuantizationSpec(finetune=recipes[case["model"]])}
        for case in protocol_cases(EMBEDDED, SEEDED_MODELS, ["cap"], patterns=PATTERNS, finetune_at=PATTERNS)
    ]
    return seeded_grid("quantization", EMBEDDED, [*cases, *(control(*pair) for pair in recipes.items())])


SWEEP = Sweep(
    name="quantization",
    title="INT8 of pruned models, without and with training in INT8",
    profiles={"embedded": seeded()},
)

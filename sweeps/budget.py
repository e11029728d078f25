"""Accuracy against the budget of the fine-tune: the protocol's training, shorter and longer, at 75 and 90 %.

Each point is a training of its own from start to end. The control at 0 % is the dense model after the same training.
"""

from bench.specs.evidence import CONTROL, protocol_cases
from bench.specs.profiles import EMBEDDED
from bench.specs.settings import finetune_recipe
from bench.specs.sweep import Sweep, grid

EPOCHS = (1, 2, 4, 8)
PATTERNS = ("0.75", "0.9")
MODEL = "vit"
PRUNERS = ("magnitude", "cap")
CASES = protocol_cases(EMBEDDED, [MODEL], PRUNERS, patterns=PATTERNS, finetune_at=PATTERNS)

SWEEP = Sweep(
    name="budget",
    title="Accuracy against the number of images of the fine-tune",
    profiles={
        "embedded": tuple(
            trial
            for seed in (0, 1, 2)
            for trial in grid(
                sweep="budget",
                profile="embedded",
                dense_seed=seed,
                seed=seed,
                finetune=[finetune_recipe(EMBEDDED, MODEL).model_copy(update={"epochs": epochs}) for epochs in EPOCHS],
                case=[
                    *CASES,
                    {"model": MODEL, "pruner": "magnitude", "patterns": (CONTROL,), "finetune_at": (CONTROL,)},
                ],
            )
        )
    },
)

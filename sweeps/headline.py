"""CAP and rivals of all families under the protocol: sparsity at 1 % drop, ranks, the lead over the best rival.

Three dense models of each architecture, one for a seed; docs/protocol.md has the sparsities. The layer-wise pruners
give every layer the same sparsity, the others rank all layers together. The models are fine-tuned at three sparsities.
With tuned settings they run one-shot alone, and with the self-supervised model where there is one: Table 1 has the
fine-tune.
"""

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid
from bench.specs.trial import Trial

TOGETHER = ("magnitude", "gradient_weight", "woodfisher", "obert", "mfac", "cap")
LAYER_BY_LAYER = ("obc", "alps")
SPARSITIES = ("0.3", "0.4", "0.5", "0.6", "0.7", "0.75", "0.8", "0.85", "0.9", "0.95", "0.98")
FINETUNED = ("0.5", "0.75", "0.9")
SEEDS = (0, 1, 2)


def at(sparsities: tuple[str, ...], scope: str) -> tuple[str, ...]:
    """Returns the patterns of sparsities; no scope for all layers together."""
    return tuple(f"{sparsity}{scope}" for sparsity in sparsities)


def tuned() -> tuple[Trial, ...]:
    """Returns the trials with tuned settings."""
    cases = protocol_cases(EMBEDDED, EMBEDDED.seeded_models, (*TOGETHER, *LAYER_BY_LAYER), map(float, SPARSITIES))
    return seeded_grid("headline", EMBEDDED, cases)


SWEEP = Sweep(
    name="headline",
    title="CAP and rivals of all families, with dense seeds: curves, sparsity at 1 % drop, ranks",
    profiles={
        "embedded": tuned()
        if EMBEDDED.dense_seeds
        else grid(
            sweep="headline",
            profile="embedded",
            model=["vit", "convnext", "xcit"],
            seed=[{"seed": seed, "dense_seed": seed} for seed in SEEDS],
            pruner=[
                {
                    "pruner": name,
                    "pruner_options": EMBEDDED.pruner_options(name),
                    "patterns": at(SPARSITIES, scope),
                    "finetune_at": at(FINETUNED, scope),
                }
                for names, scope in ((TOGETHER, ""), (LAYER_BY_LAYER, "@layer"))
                for name in names
            ],
            finetune=EMBEDDED.recipes.finetune,
        )
    },
)

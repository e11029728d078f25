"""CAP and rivals of all families under the protocol: sparsity at 1 % drop, ranks, the lead over the best rival.

Three dense models of each architecture, one for a seed, and of the self-supervised model where there is one, one-shot
at tuned settings; docs/protocol.md has the sparsities. Table 1 has the fine-tune.
"""

from bench.specs.evidence import protocol_cases, seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep

CONTENDERS = ("magnitude", "gradient_weight", "woodfisher", "obert", "mfac", "obc", "alps", "cap")
SPARSITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)

SWEEP = Sweep(
    name="headline",
    title="CAP and rivals of all families, with dense seeds: curves, sparsity at 1 % drop, ranks",
    profiles={
        "embedded": seeded_grid(
            "headline", EMBEDDED, protocol_cases(EMBEDDED, EMBEDDED.seeded_models, CONTENDERS, SPARSITIES)
        )
    },
)

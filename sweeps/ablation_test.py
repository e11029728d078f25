"""The base and the ends of the ablation's grids of CAP on the test images, once: claim C8 of docs/protocol.md."""

from bench.specs.ablation import ablation_cases
from bench.specs.evidence import seeded_grid
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep

SWEEP = Sweep(
    name="ablation_test",
    title="Base and ends of the ablation's grids of CAP, on test images",
    profiles={"embedded": seeded_grid("ablation_test", EMBEDDED, ablation_cases("vit", ["cap"], ends=True))},
)

"""The base and the ends of the ablation's grids of CAP on the test images, once: claim C8 of docs/protocol.md."""

from bench.specs.ablation import ablation_cases
from bench.specs.sweep import Sweep, grid

SWEEP = Sweep(
    name="ablation_test",
    title="Base and ends of the ablation's grids of CAP, on test images",
    profiles={
        "embedded": grid(
            sweep="ablation_test",
            profile="embedded",
            seed=[{"seed": seed, "dense_seed": seed} for seed in (0, 1, 2)],
            case=ablation_cases("vit", ["cap"], ends=True),
        )
    },
)

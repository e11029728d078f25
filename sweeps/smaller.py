"""Smaller dense models with as many weights as a pruned one has left at 50, 75 and 90 %: a control of the protocol.

`nox -s train_zoo -- --model vit_75 --seeds 0` trains one. Reports of other sweeps set the pruned models beside them.
"""

from bench.specs.evidence import CONTROL
from bench.specs.profiles import EMBEDDED
from bench.specs.sweep import Sweep, grid

SEEDS = (0,)  # a training each; more where there is time

SWEEP = Sweep(
    name="smaller",
    title="Smaller dense models with as many weights as a pruned one",
    profiles={
        "embedded": grid(
            sweep="smaller",
            profile="embedded",
            model=list(EMBEDDED.controls),
            seed=[{"seed": seed, "dense_seed": seed} for seed in SEEDS],
            pruner="magnitude",
            patterns=(CONTROL,),
        )
    },
)

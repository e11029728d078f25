from __future__ import annotations

from bench.cluster.config import ClusterConfig
from bench.cluster.plan_table import describe_parts
from bench.cluster.rates import RATES
from bench.specs.discovery import load_sweep

A100 = RATES["a100"]
PARAMETERS, WEIGHTS = (
    5_717_416,
    12 * 12 * 192**2,
)  # of DeiT-Tiny: 12 blocks of 192 x (576 + 192 + 2 x 768)


def table(sweep: str, by: str, **options: bool) -> list[list[str]]:
    trials = [t for t in load_sweep(sweep).trials("imagenet") if t.model == "deit_tiny" and t.seed == 0]
    lines = describe_parts(trials, by, ClusterConfig(cpus_per_task=16), A100, **options)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_what_each_pruner_takes() -> None:
    head, _, *lines = table("first_imagenet", "pruner")
    assert head[:3] == ["pruner", "trials", "hours (a100)"]
    assert [line[:2] for line in lines] == [[name, "1"] for name in ("magnitude", "woodfisher", "obert", "cap")]
    assert lines[0][3:] == ["0.0", "0.0", "0.0", "", "0", "0"], "no fit, no training, nothing kept"
    assert all(0 < float(line[2]) < 1 for line in lines)


def test_what_a_model_leaves_on_disk() -> None:
    *_, line = table("gradual", "model")
    rows, kept = 3 * 64 * 1024, 3 * 5 * (4 * PARAMETERS + WEIGHTS)  # three trials, five models each
    assert line[:2] == ["deit_tiny", "3"]
    assert line[-2:] == [f"{(rows + kept) / 2**20:,.0f}", f"{2 * (12 * PARAMETERS + WEIGHTS) / 2**20:,.0f}"]
    assert table("gradual", "model", keep_models=False)[-1][-2] == f"{rows / 2**20:,.0f}"

from __future__ import annotations

from bench.cluster.config import ClusterConfig
from bench.cluster.plan import describe, pack_jobs, split_groups
from bench.cluster.rates import RATES
from bench.execution.executor import group_by_calibration
from bench.specs.discovery import load_sweep

CPU, H100 = RATES["cpu"], RATES["h100"]
EMBEDDED = load_sweep("table1").trials("embedded")


def test_groups_are_split_at_the_limit() -> None:
    a, b, c = load_sweep("table1").trials("embedded")[:3]
    assert split_groups([[a, b, c]], [[4.0, 4.0, 4.0]], 8.0) == [[a, b], [c]]
    assert split_groups([[a], [b, c]], [[1.0], [1.0, 1.0]], 100.0) == [[a], [b, c]], "groups are not joined"
    assert split_groups([[a, b, c]], [[99.0, 1.0, 99.0]], 8.0) == [[a], [b], [c]], (
        "too long alone, but nothing is left out"
    )


def test_jobs_fit_into_the_time_limit_but_for_single_trials() -> None:
    trials = load_sweep("table1").trials("embedded")
    groups = len(group_by_calibration(trials))
    assert len(pack_jobs(trials, ClusterConfig(), CPU)) == groups
    assert len(pack_jobs(trials, ClusterConfig(time=1), CPU)) > groups
    split = pack_jobs(trials, ClusterConfig(time=1), CPU)
    assert [t for job in split for t in job] == [t for group in group_by_calibration(trials) for t in group]


def test_a_plan_says_what_is_assumed() -> None:
    trials = load_sweep("table1").trials("embedded")
    lines = "\n".join(describe(trials, {trials[0].id}, ClusterConfig(time=60, mem_gb=8), RATES["a100"]))
    count, groups = len(trials), len(group_by_calibration(trials))
    assert f"{count}, 1 done or in jobs already, {count - 1} to run" in lines
    assert f"{groups} of {groups} groups" in lines
    assert "GPU hours (a100: rates assumed, not measured)" in lines
    assert "each job asks for 8 GB" in lines
    assert list(describe(trials, {trial.id for trial in trials}, ClusterConfig(), CPU)) == [
        f"trials    {count}, {count} done or in jobs already, 0 to run"
    ]


def test_the_cores_decide_where_images_are_decoded() -> None:
    trials = [t for t in load_sweep("table1").trials("imagenet") if (t.model, t.seed) == ("deit_tiny", 0)]
    (one, many) = ("\n".join(describe(trials, (), ClusterConfig(cpus_per_task=n), H100)) for n in (1, 16))
    images = 3 * (3 * 20 * 1_281_167 + 9 * 50_000) + 50_000  # fine-tunes, evaluations of all states, and the dense one
    assert f"images    {images:,} are decoded, 1,400,000 of them to evaluate" in one
    hours = images / 150 / 3600
    assert f"{hours:,.2f} h for the 1 cores" in one
    assert f"{hours / 16:,.2f} h for the 16 cores" in many
    assert "loader    h100 takes " in one
    assert "cores would keep it busy, 1 are asked for" in one
    assert float(one.split("time      ")[1].split()[0].replace(",", "")) > hours
    assert float(many.split("time      ")[1].split()[0].replace(",", "")) < hours / 8
    assert list(describe(EMBEDDED, (), ClusterConfig(), CPU))[2].startswith("time")
    assert not any("decoded" in line for line in describe(EMBEDDED, (), ClusterConfig(), CPU))


def test_what_a_card_cannot_hold_is_told() -> None:
    trials = [t for t in load_sweep("table1").trials("imagenet") if t.model in ("deit_tiny", "deit_base")]
    lines = [line for line in describe(trials, (), ClusterConfig(), H100) if line.startswith("too much")]
    assert any("deit_base: training takes" in line and "for 1024 images at once; --micro-batch" in line
               for line in lines)  # fmt: skip
    old = "\n".join(describe(trials, (), ClusterConfig(), RATES["v100"]))
    assert "training  on v100 in float16, for it has no bfloat16: deit_tiny, deit_base" in old
    new = list(describe(trials, (), ClusterConfig(), H100))
    assert "training  on h100 in bfloat16, tf32: deit_tiny, deit_base" in new


def test_where_factors_do_not_fit_they_are_made_again() -> None:
    """The CAP fit of ConvNeXt-L has 76 GiB of factors; the whole model would have been refused for a card of 40 GB."""
    trials = [t for t in load_sweep("table1").trials("imagenet") if (t.model, t.seed) == ("convnext_large", 0)]
    lines = list(describe(trials, (), ClusterConfig(), RATES["a100-40gb"]))
    assert not [line for line in lines if line.startswith("too much") and "a fit takes" in line]
    [told] = [line for line in lines if line.startswith("rebuilt") and " cap: " in line]
    assert "on a100-40gb of 40 GB: convnext_large cap: no factors are kept, 5.9 GiB in place of 75.7 GiB" in told
    assert "pruning takes about " in told
    [memory] = [line for line in lines if line.startswith("memory")]
    assert "GiB without kept factors (convnext_large " in memory
    assert not [line for line in describe(trials, (), ClusterConfig(), RATES["h200"]) if line.startswith("rebuilt")]


def test_kept_models_are_told_and_can_be_left() -> None:
    trials = [t for t in load_sweep("gradual").trials("imagenet") if t.model == "deit_tiny"]
    kept, left = (list(describe(trials, (), ClusterConfig(), H100, keep_models=keep))[-1] for keep in (True, False))
    rows, models = f"{9 * 64} KiB of results", "1.2 GiB of models (--no-keep-models leaves them)"
    assert kept == f"storage   {rows}, {models}, 141 MiB for the checkpoints of a running job"
    assert left == f"storage   {rows}, 141 MiB for the checkpoints of a running job"

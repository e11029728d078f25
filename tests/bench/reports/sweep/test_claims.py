from __future__ import annotations

import pandas as pd
import pytest

from bench.reports.sweep.claims import verdicts


def one(rows: pd.DataFrame, start: str) -> str:
    """The only verdict that starts so."""
    [found] = [verdict for verdict in verdicts(rows) if verdict.startswith(start)]
    return found


def none(rows: pd.DataFrame, start: str) -> bool:
    return not any(verdict.startswith(start) for verdict in verdicts(rows))


def tuned(make, pruner: str, pattern: str, one_shot: list[float], finetuned: list[float], **values) -> list:
    return make(pruner, pattern, one_shot, **values) + make(pruner, pattern, finetuned, phase="finetuned", **values)


def test_c1(make, frame) -> None:
    good = tuned(make, "cap", "0.75", [80.0, 82.0, 87.0], [89.2, 89.4, 89.6])
    worse = tuned(make, "cap", "0.75", [80.0], [88.0], model="xcit", family="hybrid")
    assert "holds, on 1 of 1 models" in one(frame(good), "C1")
    assert "vit 0.67 % (before it 7.78 %)" in one(frame(good), "C1")
    assert "holds in part, on 1 of 2 models" in one(frame(good, worse), "C1")
    assert "does not hold, on 0 of 1" in one(frame(worse), "C1")


def test_c1_is_on_cap_pruned_at_once_over_all_layers(make, frame) -> None:
    for pruner, pattern, more in (
        ("magnitude", "0.75", {}), ("cap", "0.8", {}), ("cap", "0.75@layer", {}), ("cap", "1:4", {}),
        ("cap", "0.75", {"regime": "gradual"}),
    ):  # fmt: skip
        assert none(frame(tuned(make, pruner, pattern, [80.0], [89.9], **more)), "C1"), (pruner, pattern, more)


def test_c6_is_on_the_large_models_at_half_of_their_weights(make, frame) -> None:
    large = {"sweep": "large_ssl", "family": "dino"}
    good = make("cap", "0.5", [89.5, 89.7], model="dinov2_large", **large)
    worse = make("cap", "0.5", [80.0, 82.0], model="dino_base", **large)
    verdict = one(frame(good, worse, make("magnitude", "0.5", [10.0], model="dino_base", **large)), "C6")
    assert "holds in part, with CAP on 1 of 2 models" in verdict
    assert "dinov2_large 0.44 %" in verdict
    assert "dino_base 10.00 %" in verdict
    assert none(frame(make("cap", "0.5", [89.5], sweep="table1")), "C6")


def test_int8(make, frame) -> None:
    def phases(pruner: str, pattern: str, **top1: float) -> list:
        sizes = {"one_shot": 400_000, "int8": 100_000}
        dense = make(pruner, pattern, [90.0], phase="dense", file_bytes=800_000)
        return dense + [
            row for phase, value in top1.items()
            for row in make(pruner, pattern, [value], phase=phase, file_bytes=sizes.get(phase), violations=0)
        ]  # fmt: skip

    rows = frame(
        phases("cap", "0.5", one_shot=88.0, int8=87.9, int8_finetuned=88.1, finetuned=88.2),
        phases("cap", "0.9", one_shot=80.0, int8=79.1, int8_finetuned=80.5, finetuned=81.0),
        phases("magnitude", "0.9", one_shot=50.0, int8=10.0, int8_finetuned=10.0, finetuned=10.0),
    )
    verdict = one(rows, "C4")
    assert "holds in part, in 1 of 2 cells (model and sparsity) without any training and in 2 after" in verdict
    assert "mean over models: 50 %: -0.10, 90 %: -0.90; with training in INT8 50 %: +0.10, 90 %: +0.50" in verdict
    assert "against the same training in single precision 50 %: -0.10, 90 %: -0.50." in verdict
    assert "dense 781; 50 % sparse 391 (2.0 times smaller), sparse INT8 98 (8.0)" in verdict
    static = one(rows[rows["phase"].isin(["dense", "one_shot", "int8"])], "C4")
    assert "without any training. Change" in static
    assert none(rows[rows["phase"] != "int8"], "C4")
    assert none(rows[rows["pruner"] != "cap"], "C4")
    assert "Files" not in one(rows.assign(file_bytes=None), "C4")


def test_c2(make, frame) -> None:
    rows = frame(
        make("magnitude", "0.75", [60.0, 61.0, 62.0]), make("cap", "0.75", [80.0, 82.0, 87.0]),
        make("magnitude", "0.95", [10.0, 10.0, 10.0]), make("cap", "0.95", [40.0, 41.0, 42.0]),
    )  # fmt: skip
    verdict = one(rows, "C2")
    assert "(CAP beats GM one-shot): holds, CAP's mean is the highest in 2 of 2 cells" in verdict
    assert "in 2 it beats the best other pruner with every seed" in verdict
    assert "75 %: +22.00, 95 %: +31.00" in verdict
    assert "larger at 95 % than at the lowest sparsity" in verdict
    turned = rows.assign(pruner=rows["pruner"].map({"cap": "magnitude", "magnitude": "cap"}))
    assert "does not hold" in one(turned, "C2")


def test_c2_takes_the_best_rival_of_each_cell_and_plain_sparsities_alone(make, frame) -> None:
    rows = frame(
        make("cap", "0.5", [80.0, 84.0]),
        make("woodfisher", "0.5", [81.0, 82.0], options={"block_size": 64}),
        make("woodfisher", "0.5", [70.0, 70.0], options={"block_size": 1}),
        make("mfac", "0.9", [70.0, 70.0]),
        make("cap", "0.9", [60.0, 60.0]),
        make("cap", "0.9", [99.0, 99.0], phase="finetuned"),
        make("obc", "0.5@layer", [89.0, 89.0]),
    )
    verdict = one(rows, "C2")
    assert "CAP beats WF, WF-1 and M-FAC one-shot): holds in part" in verdict
    assert "highest in 1 of 2 cells, and in 0 it beats" in verdict
    assert "50 %: +0.50, 90 %: -10.00; smallest -10.00, largest +0.50" in verdict


def test_c2_needs_one_cap_and_another_pruner_in_one_cell(make, frame) -> None:
    cap = make("cap", "0.75", [80.0])
    assert none(frame(cap), "C2")
    assert none(frame(cap, make("magnitude", "0.5", [1.0])), "C2")
    other = make("cap", "0.75", [80.0], options={"damp": 1.0})
    assert none(frame(cap, other, make("magnitude", "0.75", [1.0])), "C2"), "which CAP?"


def recovery(make, schedule: str, augmentation: str, pattern: str, top1: list[float]) -> list:
    recipe = {"schedule": schedule, "augmentation": augmentation}
    return make("cap", pattern, top1, recipe=recipe, regime="gradual", phase="finetuned")


def test_c3_pairs_runs_that_differ_in_nothing_else(make, frame) -> None:
    rows = frame(
        recovery(make, "sawtooth", "light1", "0.5", [88.0, 87.0, 85.0]),
        recovery(make, "cosine", "light1", "0.5", [87.0, 87.5, 84.0]),
        recovery(make, "sawtooth", "light1", "0.9", [70.0]),
        recovery(make, "cosine", "light1", "0.9", [72.0]),
        recovery(make, "cosine", "deit", "0.9", [71.0]),
    )
    saw = one(rows, "C3 (the sawtooth")
    # the runs' differences are (1 - 2) / 2, -0.5 and 1: mean 0, deviation 0.866, times 4.303 / sqrt(3)
    assert ": not shown. Difference" in saw
    assert "+0.00, 95 % interval -2.15 to +2.15, 3 pairs of runs with the same seed; 50 %: +0.50, 90 %: -2.00." in saw
    assert "The mean is higher in 1 of 2 cells" in saw
    steady = frame(*(recovery(make, name, "light1", "0.5", [top1, top1 + 0.1]) for name, top1 in
                     (("sawtooth", 88.0), ("cosine", 87.0))))  # fmt: skip
    assert ": holds. Difference" in one(steady, "C3 (the sawtooth")
    light = one(rows, "C3 (the lighter")
    assert ": not shown. " in light, "one run each gives no interval"
    assert "+1.00, 1 pairs of runs with the same seed; 90 %: +1.00. The mean is higher in 1 of 1 cells" in light
    assert none(frame(recovery(make, "sawtooth", "light1", "0.5", [88.0])), "C3")
    apart = (recovery(make, "sawtooth", "light1", "0.5", [88.0]), recovery(make, "cosine", "deit", "0.5", [88.0]))
    assert none(frame(*apart), "C3"), "two things differ"


def test_c4_counts_violations_and_orders_pruners(make, frame) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 81.0], violations=0),
        make("cap", "4:8", [85.0, 86.0], violations=0),
        make("cap", "2:4", [88.0, 88.0], phase="finetuned", violations=0),
        make("obc", "2:4", [82.0, 83.0], violations=4),
        make("magnitude", "2:4", [60.0, 61.0], violations=0),
    )
    verdict = one(rows, "C4")
    assert "holds, 6 of 6 pruned models follow their pattern; violations over all pruners: 8." in verdict
    assert "best first: 2:4: OBC 82.50, CAP 80.50, magnitude 60.50." in verdict
    assert "fine-tuned" not in verdict, "there is nothing to compare with"
    rows.loc[0, "violations"] = 1
    rows.loc[1, "status"] = "skipped"
    assert "holds in part, 4 of 6" in one(rows, "C4")
    assert "not tested, violations were not counted" in one(rows.assign(violations=None), "C4")
    assert none(frame(make("cap", "0.5", [1.0], violations=0)), "C4")


def test_c7(make, frame) -> None:
    common = {"regime": "gradual", "phase": "finetuned"}
    rows = frame(
        make("cap", "0.5", [89.55, 89.55], **common), make("cap", "0.9", [80.1, 81.9], **common),
        make("magnitude", "0.5", [88.55, 90.55], **common), make("magnitude", "0.9", [80.0, 80.0], **common),
        make("cap", "0.5", [86.85], model="dino", **common), make("cap", "0.9", [81.0], model="dino", **common),
    )  # fmt: skip
    verdict = one(rows, "C7")
    assert "models at 50 % and 90 %): holds, 3 of 3 runs of CAP gave all 2" in verdict
    assert "50 %: 2.00 % (1 of 2 models), 90 %: 10.00 % (0 of 2 models)" in verdict
    assert "over GM 50 %: +0.00, 90 %: +1.00." in verdict
    rows.loc[2, "status"] = "failed"  # CAP at 90 % with the first seed
    assert "holds in part, 2 of 3 runs" in one(rows, "C7")
    assert none(frame(make("cap", "0.5", [1.0], **common)), "C7"), "one sparsity is no path"
    assert none(rows.assign(regime="one_shot"), "C7")


def test_c8_names_best_value_and_spread_of_each_option(make, frame) -> None:
    top1 = {(64, 0.1): [80.0, 82.0], (16, 0.1): [70.0, 70.0], (256, 0.1): [83.0, 83.0], (64, 1.0): [81.5, 81.5]}
    rows = frame(*(make("cap", "0.75", v, options={"m": m, "damp": damp}) for (m, damp), v in top1.items()))
    assert one(rows, "C8 (CAP, m") == (
        "C8 (CAP, m 16, 64 and 256, base 64; one-shot top-1): 75 %: best 256 with 83.00, worst 16 with 70.00, "
        "spread 13.00 points. Largest standard deviation over seeds 1.41."
    )
    assert "damp 0.1 and 1, base 0.1; one-shot top-1): 75 %: best 1 with 81.50" in one(rows, "C8 (CAP, damp")
    assert none(frame(make("cap", "0.75", [80.0])), "C8")


def test_fastcap_against_cap(make, frame) -> None:
    rows = frame(
        make("cap", "0.5@layer", [80.0, 82.0], fit_seconds=3.0), make("cap", "0.9@layer", [60.0, 60.0]),
        make("fastcap", "0.5@layer", [80.5, 82.5], fit_seconds=0.75), make("fastcap", "0.9@layer", [58.0, 58.0]),
    )  # fmt: skip
    verdict = one(rows, "FastCAP against CAP")
    assert "in 1 of 2 cells" in verdict
    assert "50 %: +0.50, 90 %: -2.00" in verdict
    assert "faster on 1 of 1 models: vit 0.75 s against 3 s (4 times as fast)" in verdict
    assert none(frame(make("cap", "0.5", [1.0]), make("fastcap", "0.5@layer", [1.0])), "FastCAP"), "other patterns"


def test_order_of_the_layerwise_pruners(make, frame) -> None:
    tops = {"magnitude": 50.0, "wanda": 60.0, "obc": 70.0}
    rows = frame(*(make(pruner, "0.5@layer", [top1]) for pruner, top1 in tops.items()))
    assert one(rows, "Same sparsity").endswith("best first: 50 %: OBC 70.00, Wanda 60.00, UM 50.00.")


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_only_finished_models_count(make, frame, status: str) -> None:
    rows = frame(make("cap", "0.75", [80.0]), make("magnitude", "0.75", [1.0], status=status))
    assert verdicts(rows) == []

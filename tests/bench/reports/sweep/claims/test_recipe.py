from __future__ import annotations

import pytest
from scipy import stats


def recovery(make, schedule: str, augmentation: str, pattern: str, top1: list[float]) -> list:
    recipe = {"schedule": schedule, "augmentation": augmentation}
    return make("cap", pattern, top1, recipe=recipe, regime="gradual", phase="finetuned")


def test_runs_that_differ_in_nothing_else_are_paired(make, frame, one, none) -> None:
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


SAW, COSINE = [84.0, 84.3, 84.1], [82.0, 82.2, 82.3]


def runs(everywhere, **tops: list[float]) -> list[list]:
    """Runs to 90 % with both schedules and both augmentations, each with a state at 50 % on the way."""
    values = {
        "sawtooth_light1": SAW,
        "cosine_light1": COSINE,
        "sawtooth_deit": COSINE,
        "cosine_deit": [80.0, 80.1, 80.3],
    }
    rows = []
    for name, top1 in {**values, **tops}.items():
        schedule, augmentation = name.split("_")
        common = {"recipe": {"schedule": schedule, "augmentation": augmentation, "epochs": 10}, "regime": "gradual",
                  "phase": "finetuned"}  # fmt: skip
        rows += [everywhere("cap", "0.5", [89.0, 89.1, 89.2], **common), everywhere("cap", "0.9", top1, **common)]
    return rows


def test_by_the_protocol_the_last_states_are_paired_by_dense_seed(everywhere, frame, judged) -> None:
    [found] = judged(frame(*runs(everywhere)), "C3")
    assert found.outcome == "holds"
    assert [cell.name for cell in found.cells] == [
        f"{less} on {where}" for less in ("sawtooth less cosine", "light less strong")
        for where in ("vit", "convnext", "xcit", "the mean")
    ]  # fmt: skip
    with_deit = [saw - cosine for saw, cosine in zip(COSINE, [80.0, 80.1, 80.3], strict=True)]
    with_light = [saw - cosine for saw, cosine in zip(SAW, COSINE, strict=True)]
    by_seed = [(one + other) / 2 for one, other in zip(with_deit, with_light, strict=True)]
    interval = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert found.cells[0].estimate.units == 3, "augmentations are no units"
    assert found.cells[0].estimate.interval() == pytest.approx(tuple(interval))
    bad = {"sawtooth_light1": COSINE, "cosine_light1": SAW, "sawtooth_deit": [80.0, 80.1, 80.3], "cosine_deit": COSINE}
    [lost] = judged(frame(*runs(everywhere, **bad)), "C3")
    assert lost.outcome == "fails"


def test_runs_on_one_architecture_decide_nothing(everywhere, frame, judged) -> None:
    rows = frame(*runs(everywhere))
    [found] = judged(rows[rows["model"] == "vit"], "C3")
    assert found.outcome == "undecided"
    assert found.text == "Not on all of ViT, ConvNeXt and hybrid: sawtooth less cosine and light less strong."
    other = rows["recipe"].str.replace('"epochs": 10', '"epochs": 20').where(rows["recipe"].str.contains("cosine"))
    assert not any("sawtooth less" in cell.name for finding in judged(rows.assign(recipe=other.fillna(rows["recipe"])),
                   "C3") for cell in finding.cells), "other epochs"  # fmt: skip

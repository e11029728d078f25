from __future__ import annotations


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

from __future__ import annotations


def tuned(make, pruner: str, pattern: str, one_shot: list[float], finetuned: list[float], **values) -> list:
    return make(pruner, pattern, one_shot, **values) + make(pruner, pattern, finetuned, phase="finetuned", **values)


def test_drops_after_and_before_the_fine_tune(make, frame, one) -> None:
    good = tuned(make, "cap", "0.75", [80.0, 82.0, 87.0], [89.2, 89.4, 89.6])
    worse = tuned(make, "cap", "0.75", [80.0], [88.0], model="xcit", family="hybrid")
    assert "holds, on 1 of 1 models" in one(frame(good), "C1")
    assert "vit 0.67 % (before it 7.78 %)" in one(frame(good), "C1")
    assert "holds in part, on 1 of 2 models" in one(frame(good, worse), "C1")
    assert "does not hold, on 0 of 1" in one(frame(worse), "C1")


def test_it_is_on_cap_pruned_at_once_over_all_layers(make, frame, none) -> None:
    for pruner, pattern, more in (
        ("magnitude", "0.75", {}), ("cap", "0.8", {}), ("cap", "0.75@layer", {}), ("cap", "1:4", {}),
        ("cap", "0.75", {"regime": "gradual"}),
    ):  # fmt: skip
        assert none(frame(tuned(make, pruner, pattern, [80.0], [89.9], **more)), "C1"), (pruner, pattern, more)

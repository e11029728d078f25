from __future__ import annotations


def part(make, mask: str, weights: str | None, top1: list[float], **values):  # type: ignore[no-untyped-def]
    return make("compose", "0.9", top1, options={"mask": mask, "weights": weights, "allocation": None}, **values)


def test_shares_of_mask_and_update(make, frame, one, none) -> None:
    rows = frame(
        part(make, "magnitude", "none", [40.0, 42.0]), part(make, "magnitude", "obert", [50.0, 52.0]),
        part(make, "cap", "none", [60.0, 62.0]), part(make, "cap", "obert", [80.0, 82.0]),
    )  # fmt: skip
    claim = one(rows, "One-shot top-1 that CAP's mask")
    assert "mean of 1 model: 90 %: update alone +10.00, mask alone +20.00, both +40.00." in claim
    assert none(frame(part(make, "cap", "obert", [1.0]), part(make, "cap", "none", [1.0])), "One-shot top-1 that CAP's")


def test_what_each_mask_gains_by_caps_layer_sparsities(make, frame, one, none) -> None:
    options = {"mask": "obc", "weights": None}
    rows = frame(
        make("compose", "0.9", [70.0, 72.0], options={**options, "allocation": "cap"}),
        make("compose", "0.9@layer", [50.0, 52.0], options={**options, "allocation": None}),
        part(make, "cap", "obert", [80.0]),
        make("compose", "0.9@layer", [75.0], options={"mask": "cap", "weights": "obert", "allocation": None}),
        make("compose", "0.9@layer", [1.0], options={"mask": "magnitude", "weights": "obert", "allocation": None}),
    )
    claim = one(rows, "One-shot top-1 that CAP's layer sparsities gain over equal ones")
    assert "mean of 1 model: 90 %: CAP +5.00, OBC +20.00." in claim
    assert none(rows.iloc[:2], "One-shot top-1 that CAP's layer"), "one mask is no comparison of masks"
    apart = frame(
        part(make, "cap", "obert", [80.0]), part(make, "cap", "none", [70.0]), part(make, "magnitude", "obert", [60.0]),
        make("compose", "0.9", [70.0], options={**options, "allocation": "cap"}),
        make("compose", "0.9@layer", [50.0], options={**options, "allocation": None}, model="xcit"),
    )  # fmt: skip
    assert none(apart, "One-shot top-1 that CAP's layer"), "on no model with both"

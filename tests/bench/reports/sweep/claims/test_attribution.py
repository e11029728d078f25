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

from __future__ import annotations

import pytest

from bench.reports.sweep.headline import headline_table, headlines
from bench.reports.sweep.summary import SweepResults


def test_the_curve_crosses_one_percent(seeded, make, frame) -> None:
    """Drops of 0, 0.5 and 2 %: 1 % lies a third of the way from 75 to 90 %."""
    rows = frame(
        seeded("cap", "0.5", [90.0, 90.1, 89.9]), seeded("cap", "0.75", [89.55, 89.56, 89.54]),
        seeded("cap", "0.9", [88.2, 88.3, 88.1]),
        seeded("obc", "0.5@layer", [90.0, 90.0, 90.0]), seeded("obc", "0.75@layer", [90.0, 90.0, 90.0]),
        seeded("obc", "0.9@layer", [89.9, 89.91, 89.92]),
        seeded("wanda", "0.5@layer", [90.0, 90.0, 90.0]),
    )  # fmt: skip
    cap, obc = headlines(SweepResults.of(rows))
    assert (cap.name, cap.model, cap.phase) == ("CAP", "vit", "one_shot")
    assert cap.headline.at.sparsity == pytest.approx(0.8)
    assert cap.headline.low.sparsity < 0.8 < cap.headline.high.sparsity
    assert str(obc.headline.at) == "at least 90.0 %"
    [first, second] = headline_table([cap, obc]).to_dict("records")
    assert first["pruner"] == "CAP"
    assert first["vit"].startswith("80.0 % (")
    assert second["vit"].startswith("at least 90.0 % (")
    assert "phase" not in first
    assert headlines(SweepResults.of(rows.assign(dense_seed=None))) == [], "one dense model has no interval"
    assert headlines(SweepResults.of(rows[rows["seed"] == 0])) == []


def test_each_phase_has_its_curve_and_the_unpruned_model_none(seeded, frame) -> None:
    curve = {"0.5": [89.9, 89.8], "0.75": [89.5, 89.4], "0.9": [80.0, 81.0]}
    rows = frame(*(
        seeded("cap", pattern, top1, phase=phase)
        for phase in ("one_shot", "finetuned") for pattern, top1 in {"0.0": [90.0, 90.0], **curve}.items()
    ))  # fmt: skip
    found = headlines(SweepResults.of(rows))
    assert [one.phase for one in found] == ["one_shot", "finetuned"]
    assert headline_table(found)["phase"].tolist() == ["one-shot", "fine-tuned"]

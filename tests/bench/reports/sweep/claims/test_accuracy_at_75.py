from __future__ import annotations

import numpy as np
from scipy import stats

from bench.reports.sweep.claims import claims
from bench.results.predictions import PredictionRow, Predictions, encode


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


def seeded(make, finetuned: list[float], **values) -> list:
    return make("cap", "0.75", finetuned, phase="finetuned", dense_seed=0, **values)


def test_over_dense_models_there_are_three_outcomes(make, frame, one) -> None:
    sure, lost, wide = [89.7, 89.75, 89.8], [85.0, 85.2, 85.1], [89.8, 88.6, 89.6]
    hybrid = {"model": "xcit", "family": "hybrid"}
    assert ": holds. Relative drop with 95 % interval" in one(frame(seeded(make, sure)), "C1")
    assert ": fails. " in one(frame(seeded(make, sure), seeded(make, lost, **hybrid)), "C1")
    found = one(frame(seeded(make, sure), seeded(make, wide, **hybrid)), "C1")
    assert ": undecided. " in found
    low, high = stats.ttest_1samp([(90 - top1) / 0.9 for top1 in wide], 0).confidence_interval()
    assert f"xcit 0.74 % ({low:.2f} to {high:.2f}), 3 dense seeds: undecided." in found
    assert "corrected for 2: vit 0.28 % (" in found


def test_self_supervised_models_are_another_claims(make, frame, one) -> None:
    rows = frame(seeded(make, [89.7, 89.75, 89.8]), seeded(make, [80.0, 80.1, 80.2], model="dino", family="dino"))
    assert ": holds. " in one(rows, "C1")


def test_images_count_where_predictions_are_stored(make, frame) -> None:
    rows = frame(seeded(make, [89.0, 89.0, 89.0]))
    assert "1.11 % (1.11 to 1.11), 3 dense seeds: fails" in " ".join(claims(rows))
    labels, right = np.zeros(1000, int), np.arange(1000)
    states = [(row.trial_id, pattern, phase, count) for row in rows.itertuples()
              for pattern, phase, count in ((None, "dense", 900), ("0.75", "finetuned", 890))]  # fmt: skip
    predictions = Predictions({
        (trial, pattern, phase): PredictionRow(
            trial, pattern, phase, 1000, encode((right >= count).astype(int)), encode(labels)
        )
        for trial, pattern, phase, count in states
    })  # fmt: skip
    assert ": undecided. " in " ".join(claims(rows, predictions)), "ten of 1,000 images are no more than chance"

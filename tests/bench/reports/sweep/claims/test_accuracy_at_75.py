from __future__ import annotations

import pytest
from scipy import stats


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


def test_over_dense_models_there_are_three_outcomes(seeded, everywhere, frame, judged) -> None:
    sure, lost, wide = [89.7, 89.75, 89.8], [85.0, 85.2, 85.1], [89.8, 88.6, 89.6]
    after = {"phase": "finetuned"}
    [good] = judged(frame(everywhere("cap", "0.75", sure, **after)), "C1")
    assert good.outcome == "holds"
    assert [cell.name for cell in good.cells] == ["vit", "convnext", "xcit"]
    assert good.sentence.startswith(
        "C1 (75 % unstructured sparsity costs at most 1 % of the top-1, on ViT, CNN and hybrid): holds. Confirmed: r "
        "lower than 1 % on each; refuted: r higher than 1 % on one; undecided: else."
    )
    on_vit, on_cnn = seeded("cap", "0.75", sure, **after), seeded("cap", "0.75", sure, model="convnext", **after)
    hybrid = {"model": "xcit", "family": "hybrid", **after}
    [bad] = judged(frame(on_vit, on_cnn, seeded("cap", "0.75", lost, **hybrid)), "C1")
    assert bad.outcome == "fails"
    [open_] = judged(frame(on_vit, on_cnn, seeded("cap", "0.75", wide, **hybrid)), "C1")
    assert open_.outcome == "undecided"
    low, high = stats.ttest_1samp([(90 - top1) / 0.9 for top1 in wide], 0).confidence_interval()
    assert f"xcit 0.74 % ({low:.2f} to {high:.2f}, 3 dense seeds, p = " in open_.sentence
    assert "p-values corrected for 3: vit 0.28 % (" in open_.sentence


def test_an_architecture_without_a_result_leaves_it_undecided(seeded, frame, judged) -> None:
    [found] = judged(frame(seeded("cap", "0.75", [89.7, 89.75, 89.8], phase="finetuned")), "C1")
    assert found.outcome == "undecided"
    assert found.text == "There is no result on ConvNeXt and hybrid."
    assert [cell.outcome for cell in found.cells] == ["holds"]


def test_self_supervised_models_and_validation_images_are_another_matter(seeded, everywhere, frame, judged) -> None:
    after = {"phase": "finetuned"}
    good = everywhere("cap", "0.75", [89.7, 89.75, 89.8], **after)
    dino = seeded("cap", "0.75", [80.0, 80.1, 80.2], model="dino", **after)
    assert judged(frame(good, dino), "C1")[0].outcome == "holds"
    assert judged(frame(good).assign(split="validation"), "C1") == []


def test_images_count_where_predictions_are_stored(everywhere, frame, judged, predicted) -> None:
    rows = frame(everywhere("cap", "0.75", [89.0, 89.0, 89.0], phase="finetuned"))
    assert judged(rows, "C1")[0].outcome == "fails"
    [found] = judged(rows, "C1", predicted(rows))
    assert found.outcome == "undecided", "ten of 1,000 images are no more than chance"
    assert found.cells[0].estimate.value == pytest.approx(100 / 90)


def test_draws_on_one_dense_model_are_one_unit(seeded, frame, judged) -> None:
    """Three calibration draws on each of two dense models are two units, not six."""
    rows = frame(*(seeded("cap", "0.75", [89.7, 89.0], phase="finetuned", started_at=None) for _ in range(3)))
    [found] = judged(rows, "C1")
    assert [cell.estimate.units for cell in found.cells] == [2]

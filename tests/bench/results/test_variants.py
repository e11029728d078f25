from __future__ import annotations

import json

import pandas as pd

from bench.reports.sweep.summary import summarise
from bench.results.variants import baselines_of, option_sweeps

STAR = [{"m": 64, "damp": 0.1}, {"m": 16, "damp": 0.1}, {"m": 64, "damp": 1.0}, {"m": 256, "damp": 0.1}]


def described(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Name and variant of every trial, in the order of tables."""
    summary = summarise(rows)
    return list(dict.fromkeys(zip(summary["name"], summary["variant"], strict=True)))


def test_nothing_differs(make, frame) -> None:
    rows = frame(
        make("cap", "0.5", [1.0, 2.0], options={"damp": 1e-8}), make("woodfisher", "0.5", [1.0], options={"damp": 1e-6})
    )
    assert described(rows) == [("WF", ""), ("CAP", "")]


def test_options_are_told_apart_within_a_pruner_and_a_model(make, frame) -> None:
    rows = frame(
        make("cap", "0.5", [1.0], options={"damp": 1e-7, "block_size": 64}),
        make("cap", "0.5", [1.0], options={"damp": 1e-8, "block_size": 64}),
        make("cap", "0.5", [1.0], options={"damp": 1e-8, "block_size": 32}, model="dino"),
        make("fastcap", "0.5@layer", [1.0], options={"damp": 0.01, "block_size": 64}),
    )
    assert described(rows) == [("CAP", "damp=1e-08"), ("CAP", "damp=1e-07"), ("FastCAP (per layer)", "")]


def test_recipes_and_regimes(make, frame) -> None:
    def recipe(schedule: str, **more) -> dict:
        return {"schedule": schedule, "augmentation": {"shift": 2}, "lr": 0.1, **more}

    common = {"phase": "finetuned", "regime": "gradual"}
    rows = frame(
        make("cap", "0.5", [1.0], recipe=recipe("sawtooth"), **common),
        make("cap", "0.5", [1.0], recipe=recipe("cosine"), **common),
    )
    assert described(rows) == [("CAP", "schedule=cosine"), ("CAP", "schedule=sawtooth")]
    inner = make("cap", "0.5", [1.0], recipe=recipe("cosine", augmentation={"shift": 0}), **common)
    assert ("CAP", "schedule=cosine augmentation.shift=0") in described(pd.concat([rows, frame(inner)]))
    trial = make("cap", "0.5", [1.0], recipe=recipe("cosine"))
    assert described(frame([{**trial[0], "recipe": None}], [{**trial[0], "phase": "finetuned"}])) == [("CAP", "")]
    regimes = frame(make("cap", "0.5", [1.0]), make("cap", "0.5", [1.0], regime="acdc", phase="finetuned"))
    assert described(regimes) == [("CAP", "AC/DC"), ("CAP", "one-shot")]


def test_calibration_tells_apart_what_nothing_else_does(make, frame) -> None:
    first, second = (make("cap", "0.5", [1.0], calibration_images=images) for images in (512, 1024))
    assert described(frame(first, second)) == [("CAP", "calibration_images=512"), ("CAP", "calibration_images=1024")]
    more = [{**row, "pruner_options": json.dumps({"num_gradients": 1024})} for row in second]
    assert described(frame(first, more)) == [("CAP", "num_gradients=1024"), ("CAP", "")]


def test_calibration_is_named_on_the_models_where_it_differs(make, frame) -> None:
    kept, settled = (make("cap", "0.5", [1.0], batch_norm=kind, model="cnn") for kind in ("kept", "reestimated"))
    rows = frame(kept, settled, make("cap", "0.5", [2.0], batch_norm="kept", model="vit"))
    summary = summarise(rows).sort_values(["model", "variant"])
    assert summary[["model", "variant"]].values.tolist() == [
        ["cnn", "batch_norm=kept"], ["cnn", "batch_norm=reestimated"], ["vit", ""],
    ]  # fmt: skip


def test_magnitude_and_woodfisher_have_names_of_their_own(make, frame) -> None:
    rows = frame(
        make("magnitude", "0.5", [1.0]), make("magnitude", "0.5@layer", [2.0]), make("magnitude", "2:4", [3.0]),
        make("woodfisher", "0.5", [4.0], options={"block_size": 64}),
        make("woodfisher", "0.5", [5.0], options={"block_size": 1}),
    )  # fmt: skip
    summary = summarise(rows)
    assert dict(zip(summary["method"], summary["one_shot_mean"], strict=True)) == {
        "GM": 1, "UM": 2, "magnitude": 3, "WF": 4, "WF-1": 5,
    }  # fmt: skip
    assert not summary["variant"].any()
    scan = frame(*(make("woodfisher", "0.5", [1.0], options={"block_size": size}) for size in (64, 1, 192)))
    assert described(scan) == [("WF", "block_size=1"), ("WF", "block_size=64"), ("WF", "block_size=192")]


def test_files_that_share_a_class_name(make, frame) -> None:
    rows = frame(make("a/one.py:Mine", "0.5", [1.0]), make("a/two.py:Mine", "0.5", [1.0]))
    assert described(rows) == [("a/one.py:Mine", ""), ("a/two.py:Mine", "")]


def test_variants_of_an_ablation_name_what_differs_from_the_base(make, frame) -> None:
    rows = frame(*(make("cap", "0.5", [1.0], options=options) for options in STAR))
    assert described(rows) == [("CAP", "base"), ("CAP", "m=16"), ("CAP", "m=256"), ("CAP", "damp=1")]
    assert option_sweeps(summarise(rows)) == {
        ("CAP", "m"): [STAR[1], STAR[0], STAR[3]],
        ("CAP", "damp"): [STAR[0], STAR[2]],
    }
    assert baselines_of(summarise(rows)) == {"CAP": STAR[0]}


def test_settings_are_named_by_whose_they_are_not_by_their_values(make, frame) -> None:
    """Tuned options differ from model to model; what else differs is still told."""
    tuned = {"setting": "tuned", "calibration_images": 8}
    rows = frame(
        make("cap", "0.5", [1.0], options={"damp": 1e-6, "b": 1}, setting="authors", calibration_images=8),
        make("cap", "0.5", [2.0], options={"damp": 0.1, "b": 2}, **tuned),
        make("cap", "0.5", [3.0], options={"damp": 0.2, "b": 3}, model="dino", **tuned),
        make("magnitude", "0.5", [4.0], **tuned),
    )
    assert described(rows) == [("GM", "tuned"), ("CAP", "authors"), ("CAP", "tuned")]
    more = frame(make("cap", "0.5", [5.0], options={"damp": 0.3, "b": 2}, **tuned))
    assert ("CAP", "tuned damp=0.3") in described(pd.concat([rows, more]))


def test_what_nothing_was_removed_from_is_no_pruners(make, frame) -> None:
    rows = frame(
        make("magnitude", "0.0", [88.0]), make("magnitude", "0.0", [87.0], phase="finetuned"),
        make("magnitude", "0.5", [80.0]), make("cap", "0.5", [81.0]),
    )  # fmt: skip
    assert described(rows) == [("unpruned", ""), ("GM", ""), ("CAP", "")]


def test_what_the_control_lacks_tells_nobody_apart(make, frame) -> None:
    """It is fine-tuned at the model's own rate as the pruned models are, but not trained in INT8."""
    recipes = {
        model: [{"epochs": 4, "lr": rate}, {"epochs": 4, "lr": rate, "quantization": {"lr": rate}}]
        for model, rate in (("vit", 0.001), ("xcit", 0.0003))
    }
    rows = frame(*(
        make(pruner, pattern, [80.0], model=model, phase="finetuned", recipe=recipe)
        for model, (plain, with_int8) in recipes.items()
        for pruner, pattern, recipe in (("magnitude", "0.0", plain), ("cap", "0.5", with_int8))
    ))  # fmt: skip
    assert {variant for _, variant in described(rows)} == {""}


def test_composed_pruners_are_named_by_their_parts(make, frame) -> None:
    """Options that follow from model and part go unsaid; those that a part has several of on a model do not."""

    def parts(mask: str, weights: str | None, damp: float, allocation: str | None = None) -> dict:
        return {"mask": mask, "mask_options": {"damp": damp}, "weights": weights, "allocation": allocation}

    rows = frame(
        make("compose", "0.5", [1.0], options=parts("cap", "obert", 0.1)),
        make("compose", "0.5", [1.0], options=parts("magnitude", "none", 0.2)),
        make("compose", "0.5", [1.0], options=parts("obc", None, 0.3, "cap")),
        make("compose", "0.5", [1.0], options=parts("cap", "woodfisher", 0.4, "obc"), model="xcit"),
        make("compose", "0.5", [1.0], options=parts("cap", "obert", 0.5), model="xcit"),
    )
    assert {variant for _, variant in described(rows)} == {
        "CAP mask + joint update", "GM mask + no update", "OBC + layers of CAP",
        "CAP mask + WF update + layers of OBC",
    }  # fmt: skip
    again = make("compose", "0.5", [1.0], options=parts("cap", "obert", 0.6))
    assert any("mask_options.damp=0.6" in variant for _, variant in described(pd.concat([rows, frame(again)])))

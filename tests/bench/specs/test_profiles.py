"""The profile imagenet has the paper's settings: literal values of its tables."""

from __future__ import annotations

from typing import Any

import pytest

import cap
from bench.specs.discovery import load_sweep
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.recipes import GradualSpec
from bench.specs.trial import Trial
from bench.trials.planning import plan_fit

FULL = 1_281_167


@pytest.mark.parametrize(
    ("pruner", "model", "run", "expected"),
    [
        ("cap", "deit_small", "one_shot", (192, 4096, 1e-8)),
        ("cap", "xcit_small", "finetuned", (192, 4096, 1e-8)),
        ("cap", "convnext_base", "gradual", (192, 4096, 1e-8)),
        ("cap", "convnext_large_clip", "one_shot", (128, 4096, 1e-7)),
        ("cap", "resnet50d", "one_shot", (256, 4096, 1e-8)),
        ("cap", "resnet50d", "gradual", (256, 4096, 1e-8)),
        ("cap", "resnet50d", "finetuned", (256, 4096, 1e-7)),
        ("cap", "efficientnetv2_tiny", "gradual", (16, 4096, 1e-8)),
        ("fastcap", "deit_tiny", "one_shot", (192, 256, 1e-2)),
        ("fastcap", "deit_tiny", "gradual", (192, 128, 1e-2)),
        ("woodfisher", "deit_tiny", "finetuned", (192, 4096, 1e-6)),
        ("woodfisher", "resnet50d", "one_shot", (256, 4096, 1e-6)),
        ("mfac", "deit_tiny", "one_shot", (2048, 2048, 1e-6)),
        ("mfac", "resnet50d", "one_shot", (2048, 512, 1e-5)),
    ],
)
def test_options_of_the_fisher_pruners(pruner: str, model: str, run: Any, expected: tuple[float, ...]) -> None:
    options = IMAGENET.pruner_options(pruner, model, run)
    assert tuple(options[key] for key in ("block_size", "num_gradients", "damp")) == expected


def test_options_of_the_refit_after_cap() -> None:
    for profile, model in ((EMBEDDED, "vit"), (IMAGENET, "deit_small"), (IMAGENET, "resnet50d")):
        first = profile.pruner_options("cap", model)
        options = profile.pruner_options("snows", model)
        assert options["first_options"] == first
    assert IMAGENET.pruner_options("snows", "deit_small")["images"] == 3000
    assert IMAGENET.pruner_options("snows", "resnet50d")["operations"] == 20
    for pruner in ("random", "synflow", "ria", "dsnot"):
        assert EMBEDDED.pruner_options(pruner) == IMAGENET.pruner_options(pruner) == {}


def plan(trial: Trial, budget: int) -> cap.MemoryPlan | None:
    resolved = trial.resolve()
    return plan_fit(resolved, resolved.model.build(), budget, share=True)


def trials(sweep: str) -> tuple[Trial, ...]:
    return load_sweep(sweep).trials("imagenet")


@pytest.mark.parametrize(
    "sweep", ["table1", "one_shot_curves", "gradual", "nm", "ablation", "recovery", "fastcap", "large_ssl"]
)
def test_sweeps_have_the_profile(sweep: str) -> None:
    found = trials(sweep)
    assert len({trial.id for trial in found}) == len(found)
    assert {trial.seed for trial in found} == {0, 1, 2}
    for trial in found:
        assert (trial.calibration.images, trial.calibration.gradient) == (4096, "sample")
        if how := trial.recipe:
            assert (how.images, how.batch_size, how.precision, how.label_smoothing, how.crop) == (
                FULL, 1024, "bfloat16", 0.1, 0.08,
            )  # fmt: skip


def test_one_shot_and_fine_tune() -> None:
    for trial in trials("table1"):
        how = trial.finetune
        assert how is not None
        assert (how.epochs, how.schedule, how.optimizer, how.lr, how.lr_end) == (20, "linear", "adamw", 1e-4, 1e-5)
        assert trial.finetune_at == ("0.5", "0.75", "0.9")
    augmentation = {trial.model: trial.finetune.augmentation for trial in trials("table1") if trial.finetune}
    assert augmentation["deit_tiny"] == "light1"
    assert augmentation["deit_small"] == "deit"
    for trial in trials("nm"):
        assert trial.finetune is not None
        assert (trial.finetune.epochs, trial.finetune.schedule) == (50, "linear")
        assert (trial.finetune.lr, trial.finetune.lr_end) == (5e-4, 1e-5)
        assert trial.finetune_at == ("2:4",)


def test_gradual_pruning() -> None:
    for trial in trials("gradual"):
        how = trial.training
        assert isinstance(how, GradualSpec)
        cnn = trial.model in ("resnet50d", "efficientnetv2_tiny")
        assert (how.epochs, how.period, how.schedule) == (300, 20, "sawtooth")
        assert (how.optimizer, how.lr, how.lr_end) == (("sgd", 0.2, 1e-3) if cnn else ("adamw", 5e-4, 1e-5))
        assert how.weight_decay == (1e-4 if cnn else 0.03 if how.augmentation == "light1" else 0.05)
        steps = how.steps()
        assert [steps[epoch] for epoch in (20, 40, 60, 80, 100, 160, 280)] == [0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9]
        assert (0 in steps) == cnn
        assert steps.get(0, 0.4) == 0.4
        assert max(steps) == 280
    for trial in trials("recovery"):
        how = trial.training
        assert isinstance(how, GradualSpec)
        assert how.steps() == {0: 0.4, 20: 0.525, 40: 0.65, 60: 0.775, 80: 0.9}
        assert (how.epochs, how.lr_period(), how.lr, how.lr_end) == (
            100,
            20 if how.schedule == "sawtooth" else 100,
            5e-4,
            1e-5,
        )
    [how] = {trial.training for trial in trials("fastcap") if trial.training}
    assert isinstance(how, GradualSpec)
    assert (how.epochs, how.schedule, how.scope, how.lr, how.lr_end) == (10, "cosine", "layer", 5e-4, 1e-5)
    assert how.steps() == {0: 0.4, 2: 0.525, 4: 0.65, 6: 0.775, 8: 0.9}


def test_the_ablation_has_the_papers_grids() -> None:
    seen: dict[tuple[str, str], set[float]] = {}
    for trial in trials("ablation"):
        for option, value in trial.pruner_options.items():
            seen.setdefault((trial.pruner, option), set()).add(value)
    for pruner, blocks, damps in (
        ("cap", {8, 16, 32, 48, 96, 192}, {1e-9, 1e-8, 1e-7}),
        ("woodfisher", {1, 48, 96, 192}, {1e-7, 1e-6, 1e-5}),
    ):
        assert seen[pruner, "num_gradients"] == {16, 64, 256, 1024, 4096}
        assert seen[pruner, "block_size"] == blocks
        assert seen[pruner, "damp"] == damps
        assert seen[pruner, "num_recomputations"] == {1, 2, 5, 8}


def test_the_large_models_are_pruned_at_once_to_moderate_sparsity() -> None:
    found = trials("large_ssl")
    assert {trial.model for trial in found} == {
        "convnext_large_clip", "vit_large", "dino_small", "dino_base", "dinov2_small", "dinov2_base", "dinov2_large",
    }  # fmt: skip
    assert all("0.5" in trial.patterns and trial.recipe is None for trial in found)


def test_mfac_fits_into_64_gib() -> None:
    """It keeps all gradients: with the paper's 4,096 a fit of DeiT-Small would take 333 GiB."""
    for trial in {trial.model: trial for trial in trials("one_shot_curves") if trial.pruner == "mfac"}.values():
        assert plan(trial, 64 * 2**30) is None, "it has no passes to plan, and no error"


def test_a_fit_is_planned_without_weights_and_data() -> None:
    trial = next(trial for trial in trials("table1") if (trial.model, trial.pruner) == ("deit_tiny", "cap"))
    found = plan(trial, 200 * 2**30)
    assert isinstance(found, cap.MemoryPlan)
    assert (found.block_size, found.num_gradients) == (192, 4096)
    assert found.gram_bytes > 8 * 192 * 5_308_416

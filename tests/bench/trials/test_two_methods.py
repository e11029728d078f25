"""A pruner of `fit` and `prune` alone, as an outsider writes it, goes through all that prunes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.export import source
from bench.specs.recipes import GradualSpec
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.runner import run_trial

PRUNERS = """
import torch
import cap
from cap.selection import select

class Two(cap.Pruner):
    '''Magnitude, tilted by what is drawn from the generator.'''
    def fit(self, model, layers, calibration):
        self.drawn = torch.rand(4, generator=calibration.generator)
        assert calibration.memory_budget == 10**9 and calibration.device == torch.device("cpu")
        self.dense = {name: weight.detach().clone() for name, weight in layers.items()}
        return self

    def supports(self, pattern):
        return "no blocks" if isinstance(pattern, cap.Blocks) else None

    def prune(self, pattern):
        assert isinstance(pattern, cap.Unstructured)
        masks = select({name: weight.abs() for name, weight in self.dense.items()}, pattern)
        print("drawn", self.drawn.tolist())
        return cap.PrunedWeights({name: weight * masks[name] for name, weight in self.dense.items()}, masks)

class Wrong(Two):
    def prune(self, pattern):
        return super().prune(pattern).weights

class Shapeless(Two):
    def prune(self, pattern):
        pruned = super().prune(pattern)
        return cap.PrunedWeights(pruned.weights, {name: mask.flatten() for name, mask in pruned.masks.items()})
"""
CONFIG = ExecutionConfig(memory_budget=10**9)


def trial(folder: Path, name: str = "Two", **values: Any) -> Trial:
    (folder / "two.py").write_text(PRUNERS)
    small: dict[str, Any] = {"patterns": ("0.5",), "calibration": {"images": 16}, "evaluation_images": 100}
    return Trial(
        sweep="s", profile="embedded", model="vit", pruner=f"{folder / 'two.py'}:{name}", **{**small, **values}
    )


def test_at_once_with_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 0, 1):
        rows = run_trial(trial(tmp_path, patterns=("0.5", "0.5@blocks4"), seed=seed), config=CONFIG).rows
        assert [(row.pattern, row.status, row.error) for row in rows[1:]] == [
            ("0.5", "done", None),
            ("0.5@blocks4", "skipped", "no blocks"),
        ]
        assert rows[1].sparsity_prunable == pytest.approx(0.5)
    first, again, other = capsys.readouterr().out.strip().splitlines()
    assert first == again != other, "the generator is seeded with the trial"


def test_gradual(tmp_path: Path) -> None:
    recipe = GradualSpec(
        epochs=2, period=1, knots=((0, 0.5), (1, 0.6)), images=32, batch_size=32, lr=1e-4, lr_end=1e-5, crop=0.75
    )
    *_, row = run_trial(trial(tmp_path, patterns=("0.6",), training=recipe), config=CONFIG).rows
    assert (row.status, row.pattern, row.violations) == ("done", "0.6", 0)


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ExecutionConfig", lambda device: CONFIG)
    pruned = source.run(trial(tmp_path))
    kept = sum(int(mask.sum()) for mask in pruned.masks.values())
    assert kept == round(sum(mask.numel() for mask in pruned.masks.values()) / 2)
    assert all(pruned.model.get_parameter(name)[~mask].eq(0).all() for name, mask in pruned.masks.items())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Wrong", "prune returned dict, not cap.PrunedWeights"),
        ("Shapeless", r"has shape .*, but at 0\.5 its weights"),
    ],
)
def test_a_wrong_form_is_told(tmp_path: Path, name: str, said: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=said):
        run_trial(trial(tmp_path, name), config=CONFIG)

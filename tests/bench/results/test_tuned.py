from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.results import folders
from bench.results.tuned import TriedSettings, TunedPruner, TunedRate, TunedSettings, mean_of, read_tuned, tuned_file


def tried(damp: float, *top1: float | None) -> TriedSettings:
    values = dict(zip(("0.5", "0.9"), top1, strict=True))
    return TriedSettings(pruner_options={"damp": damp}, calibration={"images": 8}, trial_id="0" * 16, top1=values)


def made(chosen: int, model: str = "vit", rates: tuple[TunedRate, ...] = ()) -> TunedSettings:
    one = TunedPruner(model=model, pruner="cap", tried=(tried(0.1, 80.0, 60.0), tried(0.2, 81.0, 70.0)), chosen=chosen)
    return TunedSettings(
        profile="embedded", split="validation", evaluation_images=None, dense_seed=0, tuning_seed=0, configurations=12,
        commit="c0ffee", pruners=(one,), rates=rates,
    )  # fmt: skip


def test_means_need_all_patterns() -> None:
    assert tried(0.1, 80.0, 60.0).mean == 70.0
    assert tried(0.1, 80.0, None).mean is None
    assert mean_of([]) is None
    rate = TunedRate(model="vit", rates=(1e-4, 1e-3), top1={"a": (1.0, 2.0), "b": (3.0, None)}, chosen=0, trials=())
    assert rate.means == [2.0, None]
    assert rate.best == 1e-4


def test_choices_are_written_and_read(tmp_path: Path) -> None:
    assert read_tuned("embedded", tmp_path) is None
    rate = TunedRate(model="vit", rates=(1e-4, 3e-4), top1={"cap": (80.0, 81.5)}, chosen=1, trials=("a", "b"))
    path = tuned_file("embedded", tmp_path)
    assert path == tmp_path / "embedded" / "tuned.json"
    made(1, rates=(rate,)).write(path)
    found = read_tuned("embedded", tmp_path)
    assert found == made(1, rates=(rate,))
    chosen = found.find("vit", "cap")
    assert chosen is not None
    assert chosen.pruner_options == {"damp": 0.2}
    assert found.find("dino", "cap") is None
    assert (found.rate("vit"), found.rate("dino")) == (3e-4, None)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tuned_file("embedded", tmp_path)
    path.parent.mkdir()
    path.write_text('{"profile": "embedded"}')
    with pytest.raises(UserError, match=r"tuned\.json cannot be read: split: Field required; capbench tune writes it"):
        read_tuned("embedded", tmp_path)


def test_working_choices_go_above_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published, working = tmp_path / "checkout" / "results", tmp_path / "runs"
    made(0).joined(made(0, "dino")).write(tuned_file("embedded", published))
    (tmp_path / "checkout" / "pyproject.toml").touch()
    made(1).write(tuned_file("embedded", working))
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(folders, "WORKING", working)

    def damp(model: str, results: Path | None) -> float | None:
        found = read_tuned("embedded", results)
        one = found.find(model, "cap") if found is not None else None
        return one.pruner_options["damp"] if one is not None else None

    assert [damp(model, working) for model in ("vit", "dino")] == [0.2, 0.1]
    assert [damp(model, None) for model in ("vit", "dino")] == [0.1, 0.1], "those that sweeps rest on"
    assert damp("vit", tmp_path / "elsewhere") is None

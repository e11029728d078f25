from __future__ import annotations

from pathlib import Path

import pytest

from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import Trial
from bench.trials import progress
from bench.trials.context import ExecutionConfig
from bench.trials.progress import FitProgress, ProgressReporter, TrialProgress, read_progress
from bench.trials.runner import run_trial


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_training_tells_its_rate_and_what_is_left(tmp_path: Path, clock: list[float]) -> None:
    shown: list[FitProgress] = []
    reporter = ProgressReporter("vit cap seed 0", tmp_path, shown.append)
    reporter.training(1, 3, 10, 300, 64, lambda: 2.5)
    assert read_progress(tmp_path) == TrialProgress(10, 300, "epoch 1/3", None, 2.5, None)
    clock[0] += 20
    reporter.training(1, 3, 30, 300, 64, lambda: 2.25)
    found = read_progress(tmp_path)
    assert found == TrialProgress(30, 300, "epoch 1/3", 64.0, 2.25, 270.0), "a step of 64 images a second"
    assert str(found) == "epoch 1/3: 30/300, 64 images/s, loss 2.250, 4 min 30 s left"
    assert str(shown[-1]) == "vit cap seed 0: 30/300 epoch 1/3, 64 images/s, loss 2.250, 4 min 30 s left"
    clock[0] += 1
    reporter.training(1, 3, 31, 300, 64, lambda: pytest.fail("nobody waits for the device at every step"))
    clock[0] += 9
    reporter.training(1, 3, 1, 300, 64, lambda: 3.0)
    assert read_progress(tmp_path) == TrialProgress(1, 300, "epoch 1/3", None, 3.0, None), "the next training"


def test_a_fit_tells_what_is_left(tmp_path: Path, clock: list[float]) -> None:
    reporter = ProgressReporter("t", tmp_path)
    reporter.fit(1, 5, "layers")
    clock[0] += 3600
    reporter.fit(2, 5, "layers")
    assert str(read_progress(tmp_path)) == "fit layers: 2/5, 3 h 00 min left"


def test_steps_that_others_interrupt_are_estimated_as_a_whole(tmp_path: Path, clock: list[float]) -> None:
    shown: list[FitProgress] = []
    reporter = ProgressReporter("t", tmp_path, shown.append)
    for layer in (1, 2):
        for batch in (1, 2, 3):
            reporter.fit(batch, 3, "batches of gradients")
            clock[0] += 20
        reporter.fit(layer, 4, "layers")
    assert str(shown[2]) == "t: 3/3 batches of gradients, 0 min 00 s left"
    assert str(shown[5]) == "t: 2/3 batches of gradients, 0 min 20 s left", "the second pass begins anew"
    assert str(shown[-1]) == "t: 2/4 layers, 2 min 00 s left", "with the passes between"
    reporter.evaluation(250, 1000)
    assert str(shown[-1]) == "t: 250/1000 images evaluated"


def test_the_steps_of_a_fit_are_shown(tmp_path: Path) -> None:
    seen: list[FitProgress] = []
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner="cap", patterns=("0.5",), calibration={"images": 48,
        "batch_size": 16}, pruner_options={"block_size": 16, "num_gradients": 48}, evaluation_images=500,
    )  # fmt: skip
    run_trial(trial, config=ExecutionConfig(folder=tmp_path, on_progress=seen.append))
    texts = list(dict.fromkeys(told.text for told in seen))
    assert texts[0] == "images evaluated", "of the dense model"
    assert {"batches of gradients", "layers"} < set(texts)
    assert [told.done for told in seen if told.text == "images evaluated"] == [250, 500] * 2
    passes = [(told.done, told.total) for told in seen if told.text == "batches of gradients"]
    assert passes[:3] == [(1, 3), (2, 3), (3, 3)]


def test_a_file_of_another_form_tells_nothing(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / "checkpoint").mkdir()
    for text in ("{", "[]", '{"done": 1}', '{"other": 1}'):
        (tmp_path / progress.FILE).write_text(text)
        assert read_progress(tmp_path) is None
    assert not ProgressReporter("t").is_wanted


def test_a_trial_writes_the_loss_that_it_trains_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    seen: list[str] = []
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",), finetune_at=("0.5",),
        finetune=FinetuneSpec(epochs=2, images=32, batch_size=16, lr=1e-5, lr_end=1e-5),
        calibration={"images": 16}, evaluation_images=50,
    )  # fmt: skip
    run_trial(trial, config=ExecutionConfig(folder=tmp_path, on_progress=lambda told: seen.append(str(told))))
    training = [line for line in seen if "epoch" in line]
    assert [line.split("seed 0")[-1].split()[1] for line in training] == ["1/4", "2/4", "3/4", "4/4"]
    assert 0 < float(training[-1].partition("loss ")[2].partition(",")[0]) < 5
    assert "images/s" in training[-1]
    assert seen[-1].endswith("50/50 images evaluated")
    assert read_progress(tmp_path) == TrialProgress(50, 50, "evaluation")

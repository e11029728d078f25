"""A trial that is cut off again and again ends as one that was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from bench.data.inputs import Inputs
from bench.evaluation.accuracy import Accuracy, evaluate
from bench.execution.worker import execute
from bench.results.store import Store
from bench.specs.recipes import ACDCSpec, FinetuneSpec, GradualSpec
from bench.specs.trial import Trial
from bench.trials import context
from bench.trials import session as sessions
from bench.trials.checkpoint import FILE
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import ExecutionConfig, TrialContext
from bench.trials.session import TrialSession
from cap.model_state import fingerprint

Status = Callable[[Trial, Path], tuple[str, str | None]]
COMMON: dict[str, Any] = {"images": 64, "batch_size": 32, "lr": 5e-4, "lr_end": 1e-5, "crop": 0.75}
COMMON |= {"augmentation": "deit", "distillation": 0.3}  # stochastic depth draws from the same generator
SPEC: dict[str, Any] = {"sweep": "s", "profile": "embedded", "model": "vit", "calibration": {"images": 16}}
SPEC |= {"evaluation_images": 100}
OFTEN = ExecutionConfig(checkpoint_interval=0.0)  # after every step
TRIALS = {
    "one_shot": Trial(
        **SPEC, pruner="magnitude", patterns=("0.5", "0.75", "0.9"), finetune_at=("0.5", "0.9"),
        finetune=FinetuneSpec(epochs=2, **COMMON),
    ),
    "gradual": Trial(
        **SPEC, pruner="cap", pruner_options={"block_size": 16}, patterns=("0.5", "0.8"),
        training=GradualSpec(epochs=4, period=2, knots=((0, 0.5), (2, 0.8)), **COMMON),
    ),
    "acdc": Trial(
        **SPEC, pruner="magnitude", patterns=("0.8",),
        training=ACDCSpec(epochs=4, sparsity=0.8, phase=1, final=2, **COMMON),
    ),
}  # fmt: skip
TIMES = ["fit_seconds", "prune_seconds", "finetune_seconds", "shared_seconds", "started_at", "peak_memory_bytes"]
TIMES += ["threads"]  # numba's first use sets them for torch too


class KilledError(BaseException):
    """What no `except Exception` holds up."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the states of models that are evaluated."""
    counted: Counter[str] = Counter()

    def counting(model: nn.Module, inputs: Inputs, **options: Any) -> Accuracy:
        counted[fingerprint(model)] += 1
        return evaluate(model, inputs, **options)

    monkeypatch.setattr(context, "evaluate", counting)
    monkeypatch.setattr(sessions, "evaluate", counting)
    return counted


@pytest.fixture
def status(seen: Counter[str]) -> Status:
    """Executes a trial, and returns how it ended; the dense model is evaluated once."""
    session = TrialSession()

    def run(chosen: Trial, folder: Path) -> tuple[str, str | None]:
        finished = execute(chosen, folder, OFTEN, session)
        return finished.status, finished.error

    return run


def results(folder: Path, chosen: Trial) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """Returns the rows but for times, and the models beside them."""
    store = Store(folder, chosen.profile, chosen.sweep)
    rows = store.collect([chosen.id]).drop(columns=TIMES)
    return rows, {path.name: path.read_bytes() for path in store.folder.glob("*/*.safetensors")}


@pytest.mark.parametrize("name", TRIALS)
def test_what_is_cut_off_ends_as_if_it_had_not_been(
    name: str, tmp_path: Path, seen: Counter[str], status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run saves once, and is killed when it is about to save again: all that it did after that is lost."""
    chosen = TRIALS[name]
    assert status(chosen, tmp_path / "through") == ("done", None)
    measured = dict(seen)
    seen.clear()
    saves, runs, save = 0, 0, TrialCheckpointer.save

    def save_once(self: TrialCheckpointer, *args: Any) -> None:
        nonlocal saves
        saves += 1
        if saves % 2 == 0:
            raise KilledError
        save(self, *args)

    monkeypatch.setattr(TrialCheckpointer, "save", save_once)
    ended = None
    while ended is None:
        runs += 1
        try:
            ended = status(chosen, tmp_path / "killed")
        except KilledError:
            assert runs < 50
    assert ended == ("done", None)
    assert runs > 10
    through, killed = results(tmp_path / "through", chosen), results(tmp_path / "killed", chosen)
    pd.testing.assert_frame_equal(through[0], killed[0], check_exact=True)
    assert through[1] == killed[1]
    assert sorted(through[1]) == ([] if name == "one_shot" else [f"{text}.safetensors" for text in chosen.patterns])
    assert set(seen) | set(measured) == set(measured)  # the same weights, whether or not the first run got to measure
    assert sum(seen.values()) <= 2 * sum(measured.values())
    folder = tmp_path / "killed/embedded/s" / chosen.id
    assert sorted(path.name for path in folder.glob("*")) == sorted(through[1])


def test_what_is_measured_and_saved_is_not_measured_again(
    tmp_path: Path, seen: Counter[str], status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when all is measured but nothing is written, a trial fits and trains no more."""
    chosen = TRIALS["one_shot"]
    write = Store.write

    def full(*args: Any) -> None:
        raise KilledError

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(KilledError):
        status(chosen, tmp_path)
    assert sum(seen.values()) == 1 + 5
    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(TrialContext, "fit", full)
    assert status(chosen, tmp_path) == ("done", None)
    assert sum(seen.values()) == 1 + 5
    phases = results(tmp_path, chosen)[0]["phase"].tolist()
    assert phases == ["dense", "one_shot", "finetuned", "one_shot", "one_shot", "finetuned"]


def test_a_checkpoint_of_others_starts_again(
    tmp_path: Path,
    seen: Counter[str],
    status: Status,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = TRIALS["one_shot"]
    save = TrialCheckpointer.save

    def save_and_die(self: TrialCheckpointer) -> None:
        save(self)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TrialCheckpointer, "save", save_and_die)
        with pytest.raises(KilledError):
            status(chosen, tmp_path)
    seen.clear()
    path = Store(tmp_path, chosen.profile, chosen.sweep).folder / chosen.id / FILE
    state = torch.load(path, weights_only=True)
    torch.save({**state, "code": {**state["code"], "commit": 3}}, path)
    assert status(chosen, tmp_path) == ("done", None)
    assert sum(seen.values()) == 5  # all but the dense model, which the session has evaluated
    assert "starts again: its checkpoint is of other code or versions" in caplog.text

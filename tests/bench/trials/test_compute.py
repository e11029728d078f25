"""How trials compute: what a described card decides is in the rows, and fits and evaluation keep all bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.execution.worker import execute
from bench.results.store import Store
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import Trial
from bench.trials import context, training_state
from bench.trials.checkpointer import TrialCheckpointer
from bench.trials.context import ExecutionConfig, TrialContext
from bench.trials.session import TrialSession
from cap.training.accelerator import Accelerator

TRIAL = Trial(
    sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",), finetune_at=("0.5",),
    calibration={"images": 16}, evaluation_images=50,
    finetune=FinetuneSpec(epochs=2, images=32, batch_size=32, lr=1e-4, lr_end=1e-5, precision="bfloat16"),
)  # fmt: skip


class KilledError(BaseException):
    """What no `except Exception` holds up."""


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch) -> Callable[[Accelerator], None]:
    """Lets trials be told of another device than the processor that they compute on."""
    return lambda card: monkeypatch.setattr(training_state.Accelerator, "of", lambda _: card)


@pytest.fixture(scope="module")
def session() -> TrialSession:
    return TrialSession()


def test_a_training_that_changes_cards_says_so(
    tmp_path: Path,
    on_card: Callable[[Accelerator], None],
    session: TrialSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed after an epoch on a card without bfloat16, with the scaler's state; then requeued on one with it."""
    saves, save = 0, TrialCheckpointer.save

    def save_and_die(self: TrialCheckpointer) -> None:
        nonlocal saves
        save(self)
        saves += 1
        if saves == 2:  # the first is before any step
            raise KilledError

    on_card(Accelerator("cuda", (7, 0)))
    with monkeypatch.context() as patch:
        patch.setattr(TrialCheckpointer, "save", save_and_die)
        with pytest.raises(KilledError):
            execute(TRIAL, tmp_path, ExecutionConfig(), session)
    assert "trains in float16, for the card has no bfloat16" in caplog.text
    store = Store(tmp_path, "embedded", "s")
    [file] = store.folder.glob("*/checkpoint/state.pt")
    saved = torch.load(file, weights_only=True)["parts"]["training"]
    assert saved["compute"] == ["float16"]
    assert saved["training"]["scaler"]["_growth_tracker"] == 1
    on_card(Accelerator("cuda", (8, 0)))
    assert execute(TRIAL, tmp_path, ExecutionConfig(), session).status == "done"
    rows = store.collect([TRIAL.id])
    assert rows["compute"].fillna("").tolist() == ["", "", "float16 then bfloat16, tf32"]


def test_fits_and_evaluation_keep_all_bits(
    tmp_path: Path, on_card: Callable[[Accelerator], None], session: TrialSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(Accelerator("cuda", (9, 0)))
    seen: dict[str, set[tuple[bool, bool]]] = {}

    def looking(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def look(*args: object, **options: object) -> object:
            flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            seen.setdefault(name, set()).add(flags)
            return function(*args, **options)

        return look

    monkeypatch.setattr(context, "evaluate", looking("evaluation", context.evaluate))
    monkeypatch.setattr(TrialContext, "fit", looking("fit", TrialContext.fit))
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", looking("training", torch.nn.functional.cross_entropy))
    assert execute(TRIAL, tmp_path, ExecutionConfig(), session).status == "done"
    assert seen["evaluation"] == seen["fit"] == {(False, False)}
    assert (True, True) in seen["training"]


def test_what_the_recipe_says_alone_is_no_news(tmp_path: Path, session: TrialSession) -> None:
    assert execute(TRIAL, tmp_path, ExecutionConfig(compute="plain"), session).status == "done"
    assert Store(tmp_path, "embedded", "s").collect([TRIAL.id])["compute"].isna().all()

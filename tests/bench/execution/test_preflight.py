from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.execution.preflight import LocalResources, check_models, check_pruner, check_trials, describe_memory
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

MakeTrial = Callable[..., Trial]
GIB = 2**30


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (LocalResources(0), "--jobs 0 is not valid"),
        (LocalResources(memory_gb=-1.0), "--memory-gb -1.0 is not valid"),
        (LocalResources(compute="fast"), "--compute fast is not valid: choose from auto, compile, plain"),
        (LocalResources(memory_gb=float("inf")), "--memory-gb inf is not valid"),
        (LocalResources(device="cuda:77"), "--device cuda:77 cannot be used"),
    ],
)
def test_resources_that_are_not_valid(resources: LocalResources, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resources.check()


def test_what_cannot_be_compiled_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match=r"--compute compile needs a C\+\+ compiler"):
        LocalResources(compute="compile").check()
    LocalResources(compute="plain").check()


def test_memory_and_cores_are_shared_by_the_processes(make_trial: MakeTrial) -> None:
    trials = [make_trial(seed=seed) for seed in range(3)]
    LocalResources(2).check()
    assert LocalResources(2, memory_gb=1.0).share(trials) == (2, ExecutionConfig("cpu", GIB // 2))
    assert LocalResources(8, memory_gb=1.5).share(trials) == (3, ExecutionConfig("cpu", GIB // 2)), "as many as trials"
    alike = [make_trial("magnitude"), make_trial("sparsegpt")]
    assert LocalResources(8, memory_gb=1.0).share(alike) == (2, ExecutionConfig("cpu", GIB // 2)), "a group is cut"
    assert LocalResources().share(alike)[0] == 1, "unless nobody asks for it"
    assert LocalResources(1, compute="plain", memory_gb=1.0).share(trials)[1].compute == "plain"
    processes, config = LocalResources().share(trials)
    assert processes == min(3, len(os.sched_getaffinity(0)))
    assert config.memory_budget is not None
    assert LocalResources(device="cuda:77", memory_gb=1.0).share(trials)[0] == 1, "a GPU has one process"


def test_nothing_to_run_takes_one_process() -> None:
    processes, _ = LocalResources().share([])
    assert processes == 1


def test_memory_of_the_fits(make_trial: MakeTrial) -> None:
    trials = [make_trial(), make_trial("cap", pruner_options={"block_size": 32, "num_gradients": 16})]
    assert describe_memory(trials[:1], 1, ExecutionConfig()) is None
    line = describe_memory(trials, 1, ExecutionConfig(memory_budget=GIB))
    assert line is not None
    assert line.startswith("a fit takes up to ")
    assert line.endswith(" (vit cap) of 1.00 GiB memory, one pass over the gradients each")
    with pytest.raises(UserError, match=r"vit cap: a memory budget of .* is too small.*; 3 processes share the memory"):
        describe_memory(trials, 3, ExecutionConfig(memory_budget=10**6))
    line = describe_memory(trials, 1, ExecutionConfig(memory_budget=30 * 10**6))
    assert line is not None
    assert line.endswith("; no factors are kept, and pruning takes as many passes again or more: vit cap")


def test_models_that_are_there(make_trial: MakeTrial) -> None:
    check_models([make_trial(), make_trial(seed=1)])


def test_pruners_and_their_options(make_trial: MakeTrial, tmp_path: Path) -> None:
    file = make_trial("Raises").pruner.rpartition(":")[0]
    check_pruner(f"{file}:Raises", {})
    check_pruner("cap", {"block_size": 32})
    with pytest.raises(UserError, match="has no pruner class 'Nobody'"):
        check_pruner(f"{file}:Nobody", {})
    with pytest.raises(UserError, match="no option size"):
        check_pruner("cap", {"size": 32})


def test_images_in_memory_are_not_augmented(make_trial: MakeTrial) -> None:
    trial = make_trial(calibration={"images": 32, "augmentation": "crops"})
    with pytest.raises(
        UserError, match=r"calibration\.augmentation is crops, but images of profile embedded are calib"
    ):
        check_trials([trial])

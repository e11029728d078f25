from __future__ import annotations

import os
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.latency.engines import ENGINES, EngineConfig
from bench.latency.plan import engine_configs, plan_cells
from bench.results.timings import Cell


def plan(**values: Any) -> tuple[list[Cell], list[str]]:
    usual: dict[str, Any] = {"profile": "embedded", "models": ["vit"], "sparsities": [0.5], "batch_sizes": [1, 4]}
    usual |= {"threads": [1], "engines": ["sparse"], "seconds": 1.0, "memory_batch_sizes": [4]}
    return plan_cells(**{**usual, **values})


def test_cells_of_a_plan() -> None:
    cells, reasons = plan(models=["vit", "xcit"], sparsities=[0.9, 0.5, 0.9])
    assert [(one.model, one.batch, one.memory) for one in cells] == [
        ("vit", 1, False), ("vit", 4, True), ("xcit", 1, False), ("xcit", 4, True),
    ]  # fmt: skip
    assert cells[0].engines == ("eager", "sparse")
    assert cells[0].sparsities == (0.5, 0.9)
    assert engine_configs(cells[0]) == [EngineConfig("eager"), *(EngineConfig("sparse", s) for s in (0.0, 0.5, 0.9))]
    assert not reasons


def test_a_model_of_another_profile() -> None:
    cells, _ = plan(models=["vit", "pretrained_imagenet/efficientnet_lite0"], batch_sizes=[1], memory_batch_sizes=[])
    assert [(one.profile, one.model) for one in cells] == [
        ("embedded", "vit"), ("pretrained_imagenet", "efficientnet_lite0"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="unknown profile 'none'"):
        plan(models=["none/vit"])


def test_an_engine_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ENGINES["openvino"]), "packages", ("no_such_package",))
    cells, reasons = plan(engines=["eager", "openvino"])
    assert cells[0].engines == ("eager",)
    assert reasons == ["openvino needs no_such_package: pip install 'cap-bench[engines]'"]
    monkeypatch.setattr("shutil.which", lambda command: None)
    assert plan(engines=["compile"])[1] == ["compile needs a C++ compiler, and neither g++ nor clang++ is installed"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"models": ["nope"]}, "unknown model 'nope'.*vit"),
        ({"models": ["nope"], "profile": "imagenet"}, "unknown model 'nope'.*deit_small"),
        ({"engines": ["tvm"]}, "unknown engine 'tvm': choose from eager, compile"),
        ({"threads": [10**6]}, "--threads 1000000 is more than"),
        ({"threads": [0]}, "threads: "),
        ({"batch_sizes": [0], "memory_batch_sizes": []}, "batch: "),
        ({"sparsities": [0.0]}, "--sparsity 0.0 is not valid"),
        ({"memory_batch_sizes": [8]}, "--memory 8 is none of --batch 1 4"),
        ({"seconds": 0.0}, "seconds: "),
    ],
)
def test_mistakes_are_refused_before_any_work(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**values)


def test_threads_are_one_for_each_core_by_default() -> None:
    assert {one.threads for one in plan(threads=[])[0]} == {len(os.sched_getaffinity(0))}

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.latency.engines import ENGINES, EngineConfig
from bench.latency.models import find_model
from bench.latency.plan import engine_configs, plan_cells
from bench.models.own_text import model_text
from bench.results.timings import Cell, Timings


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


BUILD = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Flatten(), nn.Linear(256, 3))

def words():
    class Words(nn.Linear):
        def forward(self, x):
            return {"x": x}
    return Words(2, 2)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("my_model.py")
    path.write_text(BUILD)
    return path


def test_cells_of_models_of_ones_own(file: Path) -> None:
    own = model_text("my_model.py:build", transform={"input_size": 32})
    [net, build, vit] = plan(models=["timm:test_resnet", own, "vit"], batch_sizes=[4])[0]
    assert [(one.profile, one.model) for one in (net, vit)] == [("own", "timm:test_resnet"), ("embedded", "vit")]
    assert (net.file, vit.file) == (None, None)
    assert build.file is not None
    assert find_model("own", own).prunable == (r"2\.weight",), "neither stem nor head"
    assert find_model("own", own).input_shape == (3, 32, 32)
    assert Timings(Path("runs"), "x").path(build).name.endswith("-b4-t1.parquet")
    file.write_text(BUILD + "# another version\n")
    [again] = plan(models=[own], batch_sizes=[4])[0]
    assert (again.id != build.id, again.model) == (True, build.model)


def test_a_cell_of_a_profile_is_the_one_that_it_was() -> None:
    cell = Cell(profile="embedded", model="vit", batch=1, threads=1, engines=("eager",), sparsities=(0.5,))
    assert cell.id == "7e73cd17590c2a27"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnett18", "timm has no model 'resnett18'"),
        ("my_model.py:nothing", "nothing"),
        ("my_model.py:build", "has no pretrained_cfg that tells how images are prepared"),
        ('my_model.py:build?transform={"input_size":16}', r"takes no images \(3, 16, 16\)"),
        ('my_model.py:build?transform={"input_size":32}&layers=x', "layer pattern 'x' matches no weight"),
        ('my_model.py:words?transform={"input_size":2}', "has no Linear or Conv2d layer to prune"),
        ('my_model.py:words?transform={"input_size":2}&layers=weight', "gives a dict for an image"),
        ("timm:test_resnet?weights=net.safetensors", "weights make no difference to its speed"),
    ],
)
def test_a_model_of_ones_own_that_cannot_be_measured_is_refused(model: str, message: str, file: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(models=[model])

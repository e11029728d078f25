from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import cap
from bench.core.errors import UserError
from bench.core.subprocesses import alone
from bench.latency import measure as latency
from bench.latency import random_models as masked
from bench.latency.engines import ENGINES, Eager, Engine, Ready, Subject
from bench.models import get_model
from bench.results.timings import SCHEMA, Cell, Timings


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def cell(**values: Any) -> Cell:
    about = {"profile": "embedded", "model": "vit", "batch": 2, "threads": 1, "engines": ("eager",), "sparsities": ()}
    return Cell(**{**about, "seconds": 0.01, **values})


class Shifted(Engine):
    """Eager with other outputs."""

    name = "shifted"

    def __init__(self, by: float) -> None:
        self.by = by

    def load(self, subject: Subject) -> Ready:
        model = copy.deepcopy(subject.model)
        return Ready(lambda: model(subject.example) + self.by)


class Broken(Engine):
    name = "broken"

    def load(self, subject: Subject) -> Ready:
        raise RuntimeError("no such\n instruction")


class Clock:
    """Goes on by as many seconds as passes take; notes who ran."""

    def __init__(self) -> None:
        self.now, self.ran = 0.0, []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, *seconds: float) -> Any:
        left = iter([*seconds[:-1]])

        def one() -> None:
            self.ran.append(name)
            self.now += next(left, seconds[-1])

        return one


def test_rounds_rotate_and_short_passes_are_warm() -> None:
    clock = Clock()
    passes = {"a": clock.run("a", 0.4, 0.1), "b": clock.run("b", 0.2), "c": clock.run("c", 2.0)}
    times = latency.interleave(passes, 1.0, clock)
    assert clock.ran == [*"aabbc", *"bbcaa", *"caabb", *"aabbc", *"bbcaa"], "the long one is not run twice"
    assert times == {"a": pytest.approx([0.1] * 5), "b": pytest.approx([0.2] * 5), "c": pytest.approx([2.0] * 5)}


def test_rounds_fill_the_time_and_no_more() -> None:
    clock = Clock()
    times = latency.interleave({"a": clock.run("a", 0.25), "b": clock.run("b", 0.25)}, 10.0, clock)
    assert len(times["a"]) == len(times["b"]) == 10, "a round takes a second"
    assert clock.now == pytest.approx(10.0)
    clock = Clock()
    assert len(latency.interleave({"a": clock.run("a", 1e-4)}, 10.0, clock)["a"]) == latency.MOST


def test_an_engine_that_is_wrong_or_fails_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engines = {"eager": Eager(), "right": Shifted(0.0), "wrong": Shifted(1e-2), "nan": Shifted(float("nan"))}
    for name, engine in {**engines, "broken": Broken()}.items():
        monkeypatch.setattr(engine, "name", name)
        monkeypatch.setitem(ENGINES, name, engine)
    rows = latency.measure(cell(engines=(*engines, "broken")), tmp_path)
    found = {row["engine"]: row for row in rows}
    assert {name: row["status"] for name, row in found.items()} == {
        "eager": "timed", "right": "timed", "wrong": "wrong", "nan": "wrong", "broken": "failed",
    }  # fmt: skip
    assert [name for name, row in found.items() if "seconds" in row] == ["eager", "right"]
    assert len(found["right"]["seconds"]) >= latency.FEWEST
    assert found["broken"]["error"] == "RuntimeError: no such instruction"
    assert found["wrong"]["error"].startswith("outputs differ from eager's by 0.0")
    assert not {key for row in rows for key in row} - set(SCHEMA.names)


def test_deviation_is_relative_to_the_largest_output() -> None:
    expected = torch.tensor([[1.0, -4.0]])
    assert latency.deviation(expected.numpy() + 0.5, expected) == pytest.approx(0.125)
    assert latency.deviation(expected[0], expected) == float("inf"), "another shape"
    assert latency.deviation(torch.full((1, 2), torch.inf), expected) == float("inf")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_dense_engines_agree_with_eager(name: str, tmp_path: Path) -> None:
    if reason := ENGINES[name].missing():
        pytest.skip(reason)
    rows = latency.measure(cell(engines=("eager", name), model="xcit"), tmp_path)
    assert [(row["engine"], row["status"]) for row in rows] == [("eager", "timed"), (name, "timed")]
    assert 0 < rows[1]["deviation"] < 1e-5


def test_the_sparse_engine_runs_pruned_models_and_its_control(tmp_path: Path) -> None:
    rows = latency.measure(cell(engines=("eager", "sparse"), sparsities=(0.9,)), tmp_path)
    assert [row["status"] for row in rows] == ["timed"] * 3
    _, control, sparse = rows
    assert (control["sparsity_target"], control["sparsity_prunable"], control["layers_dense"]) == (0, 0, 0), "forced"
    assert sparse["sparsity_prunable"] == pytest.approx(0.9, abs=1e-4)
    assert control["layers_sparse"] == sparse["layers_sparse"] + sparse["layers_dense"] > 0


@pytest.mark.parametrize("name", ["vit", "convnext", "xcit"])
def test_every_layer_matters_to_the_outputs(name: str) -> None:
    """Otherwise the check against eager would let a wrong layer pass: at timm's own start some do nothing."""
    spec = get_model("embedded", name)
    (model, _) = masked.pruned_models(spec, (0.0,), seed=0)[0.0]
    images = torch.randn(2, 1, spec.input_size, spec.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
        for layer in cap.select_layers(model, spec.prunable):
            other = copy.deepcopy(model)
            other.get_parameter(layer).mul_(1.5)
            assert latency.deviation(other(images), expected) > latency.TOLERANCE, layer


def test_masks_are_real_and_attention_is_denser() -> None:
    spec = get_model("embedded", "vit")
    models = masked.pruned_models(spec, (0.0, 0.75), seed=0)
    model, sparsity = models[0.75]
    layers = cap.select_layers(model, spec.prunable)
    zeros = {name: (weight == 0).float().mean().item() for name, weight in layers.items()}
    assert sparsity == pytest.approx(0.75, abs=1e-4)
    attention = [value for name, value in zeros.items() if "attn" in name]
    assert max(attention) < min(value for name, value in zeros.items() if "mlp" in name)
    dense = dict(models[0.0][0].named_parameters())
    assert all(torch.equal(weight, dense[name] * (weight != 0)) for name, weight in layers.items())


def test_memory_is_what_the_weights_take_or_more(tmp_path: Path) -> None:
    found = alone(latency.memory, cell(model="convnext", batch=64), ("eager", 0.0), tmp_path)
    if found is None:
        pytest.skip("the peak of resident memory cannot be measured here")
    weights = sum(p.numel() * p.element_size() for p in get_model("embedded", "convnext").build().parameters())
    assert weights < found < 2**29


def test_the_work_of_others_is_seen() -> None:
    watch = latency.OtherWork()
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", busy], check=True)
    taken = time.perf_counter() - began
    assert 0.25 < watch.cores() * taken < 1.1 * taken * (os.cpu_count() or 1)
    watch, began = latency.OtherWork(), time.process_time()
    while time.process_time() < began + 0.3:
        pass
    assert watch._seconds() - watch.before < psutil.cpu_count() * (time.perf_counter() - watch.began) - 0.25, "own"


def test_a_process_that_dies_or_raises_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        alone(os._exit, 3)
    with pytest.raises(RuntimeError, match=r"FileNotFoundError: .*nowhere"):
        alone(os.listdir, "nowhere")
    assert alone(divmod, 7, 2) == (3, 1)


def plan(**values: Any) -> tuple[list[Cell], list[str]]:
    usual: dict[str, Any] = {"profile": "embedded", "models": ["vit"], "sparsities": [0.5], "batches": [1, 4]}
    usual |= {"threads": [1], "engines": ["sparse"], "seconds": 1.0, "memory_batches": [4]}
    return latency.plan(**{**usual, **values})


def test_cells_of_a_plan() -> None:
    cells, reasons = plan(models=["vit", "xcit"], sparsities=[0.9, 0.5, 0.9])
    assert [(one.model, one.batch, one.memory) for one in cells] == [
        ("vit", 1, False), ("vit", 4, True), ("xcit", 1, False), ("xcit", 4, True),
    ]  # fmt: skip
    assert cells[0].engines == ("eager", "sparse")
    assert cells[0].sparsities == (0.5, 0.9)
    assert latency.contenders(cells[0]) == [("eager", 0.0), ("sparse", 0.0), ("sparse", 0.5), ("sparse", 0.9)]
    assert not reasons


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
        ({"batches": [0], "memory_batches": []}, "batch: "),
        ({"sparsities": [0.0]}, "--sparsity 0.0 is not valid"),
        ({"memory_batches": [8]}, "--memory 8 is none of --batch 1 4"),
        ({"seconds": 0.0}, "seconds: "),
    ],
)
def test_mistakes_are_refused_before_any_work(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**values)


def test_the_command_measures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from bench import cli
    from bench.core import provenance

    monkeypatch.setattr(provenance, "commit", lambda: "c0ffee" * 6)
    monkeypatch.setattr(provenance, "dirty", lambda: False)
    monkeypatch.setattr(latency, "alone", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(latency, "memory", lambda *arguments: 2**20)
    command = ["latency", "--profile", "embedded", "--model", "vit", "--batch", "1", "--threads", "1", "--engines",
               "eager", "--seconds", "0.01", "--memory", "1", "--results", str(tmp_path)]  # fmt: skip
    cli.main(command)
    assert "1 cells, 0 measured, 1 to measure" in capsys.readouterr().out
    rows = Timings(tmp_path, "latency").read()
    assert rows["memory_bytes"].tolist() == [2**20]
    assert rows["commit"].tolist() == ["c0ffee" * 6]
    assert "timm" in json.loads(rows["versions"][0])
    cli.main(command)
    assert "1 cells, 1 measured, 0 to measure" in capsys.readouterr().out
    monkeypatch.setattr(provenance, "commit", lambda: "decaf0" * 6)
    cli.main([*command, "--dry-run"])
    assert "1 cells, 0 measured, 1 to measure\n  vit, batch 1, 1 thread\n" in capsys.readouterr().out
    [path] = (tmp_path / "latency" / "cells").iterdir()
    path.write_bytes(b"half a file")
    monkeypatch.setattr(provenance, "commit", lambda: "c0ffee" * 6)
    cli.main([*command, "--dry-run"])
    assert "0 measured" in capsys.readouterr().out


def test_reading_measurements_imports_no_torch() -> None:
    code = "import sys, bench.speedup_report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

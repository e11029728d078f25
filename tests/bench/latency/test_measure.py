from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.latency.engines import ENGINES, Eager, Engine, EngineConfig, InferenceSession, Workload
from bench.latency.measure import deviation, measure_cell, measure_in_subprocesses, measure_memory, peak_macs
from bench.latency.rounds import FEWEST
from bench.latency.subprocesses import run_in_subprocess
from bench.models import get_model
from bench.results.timings import Cell, TimingRow
from cap.runtime import cost

MakeCell = Callable[..., Cell]


class Shifted(Engine):
    """Eager with other outputs."""

    name = "shifted"

    def __init__(self, by: float) -> None:
        self.by = by

    def load(self, workload: Workload) -> InferenceSession:
        model = copy.deepcopy(workload.model)
        return InferenceSession(lambda: model(workload.example) + self.by)


class Broken(Engine):
    name = "broken"

    def load(self, workload: Workload) -> InferenceSession:
        raise RuntimeError("no such\n instruction")


def test_an_engine_that_is_wrong_or_fails_is_refused(
    cell: MakeCell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engines = {"eager": Eager(), "right": Shifted(0.0), "wrong": Shifted(1e-2), "nan": Shifted(float("nan"))}
    for name, engine in {**engines, "broken": Broken()}.items():
        monkeypatch.setattr(engine, "name", name)
        monkeypatch.setitem(ENGINES, name, engine)
    rows = measure_cell(cell(engines=(*engines, "broken")), tmp_path)
    found = {row.engine: row for row in rows}
    assert {name: row.status for name, row in found.items()} == {
        "eager": "timed", "right": "timed", "wrong": "wrong", "nan": "wrong", "broken": "failed",
    }  # fmt: skip
    assert [name for name, row in found.items() if row.seconds is not None] == ["eager", "right"]
    assert len(found["right"].seconds or ()) >= FEWEST
    assert found["broken"].error == "RuntimeError: no such instruction"
    assert str(found["wrong"].error).startswith("outputs differ from eager's by 0.0")


def test_deviation_is_relative_to_the_largest_output() -> None:
    expected = torch.tensor([[1.0, -4.0]])
    assert deviation(expected.numpy() + 0.5, expected) == pytest.approx(0.125)
    assert deviation(expected[0], expected) == float("inf"), "another shape"
    assert deviation(torch.full((1, 2), torch.inf), expected) == float("inf")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_dense_engines_agree_with_eager(cell: MakeCell, name: str, tmp_path: Path) -> None:
    if reason := ENGINES[name].missing():
        pytest.skip(reason)
    rows = measure_cell(cell(engines=("eager", name), model="xcit"), tmp_path)
    assert [(row.engine, row.status) for row in rows] == [("eager", "timed"), (name, "timed")]
    assert 0 < (rows[1].deviation or 0) < 1e-5


def test_the_sparse_engine_runs_pruned_models_and_its_control(
    cell: MakeCell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def within(model: nn.Module, x: torch.Tensor, modules: list[nn.Module]) -> list[float]:
        return [0.5 if type(module).__name__.startswith("Sparse") else 1.0 for module in modules]

    monkeypatch.setattr("bench.latency.measure.peak_macs", lambda: 1e9)
    monkeypatch.setattr(cost, "seconds_within", within)  # every sparse layer pays, whatever else the machine does
    monkeypatch.setattr("cap.runtime.compiler.MARGIN", math.inf)
    monkeypatch.setattr("cap.runtime.compiler.HOPELESS", math.inf)
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.01)
    rows = measure_cell(cell(engines=("eager", "sparse"), sparsities=(0.9,)), tmp_path)
    assert [row.status for row in rows] == ["timed"] * 3
    _, control, sparse = rows
    assert (control.sparsity_target, control.sparsity_prunable, control.layers_dense) == (0, 0, 0), "forced"
    assert sparse.sparsity_prunable == pytest.approx(0.9, abs=1e-4)
    assert {row.peak_macs for row in rows} == {1e9}
    vit = get_model("embedded", "vit").build()
    weights = sum(p.numel() for name, p in vit.named_parameters() if name.startswith("blocks") and p.ndim == 2)
    spared = 2 * vit.pos_embed.shape[1] * 0.9 * weights  # two images; a multiply-add a token
    assert (control.macs or 0) - (sparse.macs or 0) == pytest.approx(spared, rel=1e-3)
    assert control.layers_sparse == (sparse.layers_sparse or 0) + (sparse.layers_dense or 0) > 0


def test_openvino_packs_zeros_and_computes_the_same(cell: MakeCell, tmp_path: Path) -> None:
    if reason := ENGINES["openvino_sparse"].missing():
        pytest.skip(reason)
    rows = measure_cell(cell(engines=("eager", "openvino_sparse"), sparsities=(0.9,)), tmp_path)
    assert [(row.engine, row.sparsity_target, row.status) for row in rows] == [
        ("eager", 0.0, "timed"), ("openvino_sparse", 0.0, "timed"), ("openvino_sparse", 0.9, "timed"),
    ]  # fmt: skip
    assert not rows[2].dense, "it is not among the dense engines that the sparse one is compared with"
    assert (tmp_path / "0.9").is_dir(), "each sparsity has files of its own"


def test_integers_are_a_row_of_their_own_that_may_differ_by_percents(cell: MakeCell, tmp_path: Path) -> None:
    if reason := ENGINES["sparse_int8"].missing():
        pytest.skip(reason)
    _, control, sparse = measure_cell(cell(engines=("eager", "sparse_int8"), sparsities=(0.9,)), tmp_path)
    assert (control.engine, control.status, control.dense) == ("sparse_int8", "timed", False)
    assert 1e-3 < (control.deviation or 0) < 0.1, "integers are in use"
    assert sparse.status == "timed"


def test_integers_need_their_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cap.runtime.machine.has_vnni", lambda: False)
    assert ENGINES["sparse_int8"].missing() == "sparse_int8 needs a processor with AVX-512 and VNNI, on Linux"


SIGNAL_AFTER_MEASURING = """
import gc, pickle, signal, sys
from pathlib import Path
from bench.latency.measure import measure_cell

received = []
signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
measure_cell(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
gc.collect()
signal.raise_signal(signal.SIGUSR1)
print("signals received:", len(received))
"""


def test_a_process_that_ran_openvino_several_times_survives_a_signal(cell: MakeCell, tmp_path: Path) -> None:
    if reason := ENGINES["openvino_sparse"].missing():
        pytest.skip(reason)
    pickled = tmp_path / "cell.pkl"
    pickled.write_bytes(pickle.dumps(cell(engines=("eager", "openvino", "openvino_sparse"), sparsities=(0.9,))))
    command = [sys.executable, "-c", SIGNAL_AFTER_MEASURING, str(pickled), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("signals received: 1\n")


def test_peak_is_that_of_a_matrix_product() -> None:
    assert 1e8 < peak_macs() < 1e13


def test_memory_is_what_the_weights_take_or_more(cell: MakeCell, tmp_path: Path) -> None:
    found = run_in_subprocess(measure_memory, cell(model="convnext", batch=64), EngineConfig("eager"), tmp_path)
    if found is None:
        pytest.skip("the peak of resident memory cannot be measured here")
    weights = sum(p.numel() * p.element_size() for p in get_model("embedded", "convnext").build().parameters())
    assert weights < found < 2**29


def test_a_cell_is_measured_in_a_fresh_process_and_each_engines_memory_in_another(
    cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def run(function: Callable[..., object], *arguments: object) -> object:
        called.append((function, *arguments[:-1]))
        return 2**20 if function is measure_memory else [row("eager", "timed"), row("broken", "failed")]

    def row(engine: str, status: str) -> TimingRow:
        return TimingRow(
            model="vit", family="vit", timm_name="vit", batch=2, threads=1, engine=engine, dense=True,
            sparsity_target=0.0, status=status, cell="", commit=None, dirty=None, versions="{}", processor="", cores=1,
        )  # fmt: skip

    monkeypatch.setattr("bench.latency.measure.run_in_subprocess", run)
    one, other = cell(), cell(memory=True)
    assert [row.memory_bytes for row in measure_in_subprocesses(one)] == [None, None]
    assert [row.memory_bytes for row in measure_in_subprocesses(other)] == [2**20, None]
    assert called == [(measure_cell, one), (measure_cell, other), (measure_memory, other, EngineConfig("eager"))]

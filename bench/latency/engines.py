"""Inference engines behind one interface: each runs a model's forward pass on one example."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import shutil
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.packages import missing

ForwardPass = Callable[[], Any]  # one pass on the example: a tensor or an array of the model's outputs
CHOOSE_BATCH = 16  # images for which the sparse engine chooses its layers: with more, the choice only takes longer
EXTRA = "pip install 'cap-bench[engines]'"


@dataclass(frozen=True, eq=False)
class Workload:
    """A model and its input, for an engine to run.

    Attributes:
        model: The model in eval mode; engines leave it as it is.
        example: Input of every pass, (batch, channels, height, width).
        threads: Threads of one pass; PyTorch's own number has been set to the same.
        folder: Folder for files that an engine needs; of this model alone.
        control: Whether the sparse engine must use its kernels even where dense ones are faster.
    """

    model: nn.Module
    example: Tensor
    threads: int
    folder: Path
    control: bool = False

    def onnx(self) -> Path:
        """Returns the model as an ONNX file of this one input shape, exported when first asked for."""
        path = self.folder / "model.onnx"
        if not path.exists():
            with _quiet():
                torch.onnx.export(self.model, (self.example,), path, dynamo=True, verbose=False)
        return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the progress bars and hints of exporters and compilers off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@dataclass(frozen=True, eq=False)
class InferenceSession:
    """A model loaded into an engine, ready to run.

    Attributes:
        run: One forward pass.
        layers_sparse: Number of layers that run sparse; None for a dense engine.
        layers_dense: Number of layers that could and do not.
        reload: Keeps the engine on disk and loads it from there; returns the seconds of loading. None where it cannot.
    """

    run: ForwardPass
    layers_sparse: int | None = None
    layers_dense: int | None = None
    reload: Callable[[], float] | None = None


class Engine(ABC):
    """A runtime for inference.

    Attributes:
        name: Name on the command line.
        dense: Whether zeros among the weights make no difference to its speed.
        packages: Packages that it needs.
        tolerance: Largest difference of its outputs to eager's, relative to the largest of these.
    """

    name: ClassVar[str]
    dense: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[float] = 1e-3  # single precision in another order differs by about 1e-6

    def missing(self) -> str | None:
        """Returns why the engine cannot be used here, or None if it can."""
        absent = missing(self.packages)
        return f"{self.name} needs {', '.join(absent)}: {EXTRA}" if absent else None

    def export(self, workload: Workload) -> None:
        """Writes the files that the engine reads."""
        if "onnx" in self.packages:
            workload.onnx()

    def build(self, workload: Workload) -> InferenceSession:
        """Returns a session that runs the workload's model, and shares no weights with it."""
        session = self.load(workload)

        def run() -> Any:
            with torch.inference_mode():
                return session.run()

        return InferenceSession(run, session.layers_sparse, session.layers_dense, session.reload)

    @abstractmethod
    def load(self, workload: Workload) -> InferenceSession:
        """Does the work of `build`; the session's passes are run under inference mode."""


class Eager(Engine):
    """Eager PyTorch."""

    name = "eager"

    def load(self, workload: Workload) -> InferenceSession:
        """Copies the model."""
        model = copy.deepcopy(workload.model)
        return InferenceSession(lambda: model(workload.example))


class Compile(Engine):
    """`torch.compile` with inductor; the weights are frozen, so that it may fold and pack them."""

    name = "compile"

    def missing(self) -> str | None:
        """Returns a reason where there is no C++ compiler."""
        if any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
            return None
        return "compile needs a C++ compiler, and neither g++ nor clang++ is installed"

    def load(self, workload: Workload) -> InferenceSession:
        """Compiles for this one input shape."""
        model = torch.compile(copy.deepcopy(workload.model), dynamic=False, options={"freezing": True})
        with torch.inference_mode(), _quiet():
            model(workload.example)
        return InferenceSession(lambda: model(workload.example))


class OnnxRuntime(Engine):
    """onnxruntime's CPU provider on the exported model."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx", "onnxscript")

    def load(self, workload: Workload) -> InferenceSession:
        """Opens a session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = workload.threads
        # threads that spin while they wait, as its do by default, take the cores from what runs beside and after them
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = onnxruntime.InferenceSession(workload.onnx(), options, providers=["CPUExecutionProvider"])
        inputs = {model.get_inputs()[0].name: workload.example.numpy()}
        return InferenceSession(lambda: model.run(None, inputs)[0])


@cache
def openvino_core() -> Any:
    """Returns this process's one `openvino.Core`, which is never freed.

    Its CPU plug-in sets the stack that signal handlers run on. Of two plug-ins the one that is freed last puts back the
    stack of the other, which is gone, and the next signal ends the process (seen with OpenVINO 2026.4.1).
    """
    import openvino

    return openvino.Core()


class OpenVino(Engine):
    """OpenVINO's CPU plug-in on the exported model, set for latency, in single precision like the others."""

    name = "openvino"
    packages = ("openvino", "onnx", "onnxscript")
    settings: ClassVar[dict[str, float]] = {}  # beside the usual ones

    def load(self, workload: Workload) -> InferenceSession:
        """Compiles for the processor."""
        settings = {
            "INFERENCE_NUM_THREADS": workload.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            **self.settings,
        }
        compiled = openvino_core().compile_model(workload.onnx(), "CPU", settings)
        inputs = [workload.example.numpy()]
        return InferenceSession(lambda: compiled(inputs)[0])


class OpenVinoSparse(OpenVino):
    """OpenVINO with zeros packed in memory where half of a layer's weights or more are zero; it multiplies them all."""

    name = "openvino_sparse"
    dense = False
    settings: ClassVar = {"CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": 0.5}


class Sparse(Engine):
    """The runtime of `cap.runtime`; the control runs unpruned weights through the same kernels."""

    name = "sparse"
    dense = False
    packages = ("numba",)
    int8: ClassVar[bool] = False

    def load(self, workload: Workload) -> InferenceSession:
        """Compiles the pruned layers."""
        from cap.runtime import compile

        given: dict[str, Any] = {"force": workload.control, "int8": self.int8}
        model = compile(workload.model, workload.example[:CHOOSE_BATCH], **given)
        report = model.report()
        sparse = len(report.sparse_layers())
        run = partial(model, workload.example)

        def reload() -> float:
            given["cache"] = workload.folder / "kept"
            kept = partial(compile, workload.model, workload.example[:CHOOSE_BATCH], **given)
            kept()
            begin = time.perf_counter()
            kept()
            return time.perf_counter() - begin

        return InferenceSession(run, sparse, len(report.layers) - sparse, reload)


class SparseInt8(Sparse):
    """The runtime of `cap.runtime` with integers of eight bits in the sparse layers, unlike all other engines."""

    name = "sparse_int8"
    int8 = True
    tolerance = 0.1  # of random weights; what it means for the accuracy of trained ones is another matter

    def missing(self) -> str | None:
        """Returns why the engine cannot be used here."""
        if reason := super().missing():
            return reason
        from cap.runtime.machine import has_vnni

        return None if has_vnni() else f"{self.name} needs a processor with AVX-512 and VNNI, on Linux"


@dataclass(frozen=True)
class EngineConfig:
    """An engine at a sparsity of the model's weights.

    Attributes:
        engine: Name of the engine.
        sparsity: Fraction of zeros in the prunable layers; the sparse engine at 0 is the control.
    """

    engine: str
    sparsity: float = 0.0


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (Eager(), Compile(), OnnxRuntime(), OpenVino(), OpenVinoSparse(), Sparse(), SparseInt8())
}
BASELINE = Eager.name  # all outputs are checked against its outputs

"""Inference engines behind one interface: each runs a model's forward pass on one example."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.packages import missing

Pass = Callable[[], Any]  # one forward pass on the example: a tensor or an array of the model's outputs
CHOOSE_BATCH = 16  # images for which the sparse engine chooses its layers: with more, the choice only takes longer
EXTRA = "pip install 'cap-bench[engines]'"


class Subject:
    """What an engine is given: a model, its input, the number of threads.

    Args:
        model: In eval mode; engines leave it as it is.
        example: (batch, channels, height, width), the input of every pass.
        threads: Of one pass; PyTorch's own number has been set to the same.
        folder: For files that an engine needs.
        control: Whether the sparse engine must use its kernels even where dense ones are faster.
    """

    def __init__(self, model: nn.Module, example: Tensor, threads: int, folder: Path, control: bool = False) -> None:
        self.model, self.example, self.threads, self.folder, self.control = model, example, threads, folder, control

    def onnx(self) -> Path:
        """Returns the model as an ONNX file of this one input shape, exported when first asked for."""
        path = self.folder / "model.onnx"
        if not path.exists():
            with _quiet():
                torch.onnx.export(self.model, (self.example,), path, dynamo=True, verbose=False)
        return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress and advice of exporters and compilers off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@dataclass(frozen=True)
class Ready:
    """An engine that is ready to run.

    Attributes:
        run: One forward pass.
        layers_sparse: How many layers it runs sparse; None for a dense engine.
        layers_dense: How many it could and does not.
    """

    run: Pass
    layers_sparse: int | None = None
    layers_dense: int | None = None


class Engine(ABC):
    """One way to run a model.

    Attributes:
        name: As on the command line.
        dense: Whether zeros among the weights make no difference to its speed.
        packages: What must be installed.
    """

    name: ClassVar[str]
    dense: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()

    def missing(self) -> str | None:
        """Returns why the engine cannot be used here, or None if it can."""
        absent = missing(self.packages)
        return f"{self.name} needs {', '.join(absent)}: {EXTRA}" if absent else None

    def prepare(self, subject: Subject) -> None:
        """Makes the files that the engine reads."""
        if "onnx" in self.packages:
            subject.onnx()

    def build(self, subject: Subject) -> Ready:
        """Returns the engine ready to run the subject's model, whose weights it shares none of."""
        ready = self.load(subject)

        def run() -> Any:
            with torch.inference_mode():
                return ready.run()

        return Ready(run, ready.layers_sparse, ready.layers_dense)

    @abstractmethod
    def load(self, subject: Subject) -> Ready:
        """Does the work of `build`; what it returns is run under inference mode."""


class Eager(Engine):
    """PyTorch as it is."""

    name = "eager"

    def load(self, subject: Subject) -> Ready:
        """Copies the model."""
        model = copy.deepcopy(subject.model)
        return Ready(lambda: model(subject.example))


class Compile(Engine):
    """`torch.compile` with inductor; the weights are frozen, so that it may fold and pack them."""

    name = "compile"

    def missing(self) -> str | None:
        """Returns a reason where there is no C++ compiler."""
        if any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
            return None
        return "compile needs a C++ compiler, and neither g++ nor clang++ is installed"

    def load(self, subject: Subject) -> Ready:
        """Compiles for this one input shape."""
        model = torch.compile(copy.deepcopy(subject.model), dynamic=False, options={"freezing": True})
        with torch.inference_mode(), _quiet():
            model(subject.example)
        return Ready(lambda: model(subject.example))


class OnnxRuntime(Engine):
    """onnxruntime's CPU provider on the exported model."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx", "onnxscript")

    def load(self, subject: Subject) -> Ready:
        """Opens a session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = subject.threads
        # threads that spin while they wait, as its do by default, take the cores from what runs beside and after them
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(subject.onnx(), options, providers=["CPUExecutionProvider"])
        inputs = {session.get_inputs()[0].name: subject.example.numpy()}
        return Ready(lambda: session.run(None, inputs)[0])


class OpenVino(Engine):
    """OpenVINO's CPU plug-in on the exported model, set for latency, in single precision like the others."""

    name = "openvino"
    packages = ("openvino", "onnx", "onnxscript")

    def load(self, subject: Subject) -> Ready:
        """Compiles for the processor."""
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": subject.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(subject.onnx(), "CPU", settings)
        inputs = [subject.example.numpy()]
        return Ready(lambda: compiled(inputs)[0])


class Sparse(Engine):
    """The runtime of `cap.runtime`; the control runs unpruned weights through the same kernels."""

    name = "sparse"
    dense = False
    packages = ("numba",)

    def load(self, subject: Subject) -> Ready:
        """Compiles the pruned layers."""
        from cap.runtime import compile

        model = compile(subject.model, subject.example[:CHOOSE_BATCH], force=subject.control)
        report = model.report()
        sparse = 0 if report.kept_dense else sum(layer.choice == "sparse" for layer in report.layers)
        return Ready(lambda: model(subject.example), sparse, len(report.layers) - sparse)


ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (Eager(), Compile(), OnnxRuntime(), OpenVino(), Sparse())
}
BASELINE = Eager.name  # every output is checked against it

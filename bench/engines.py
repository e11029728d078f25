"""Inference engines behind one interface: each runs a model's forward pass on one example.

An engine is a class with a name, a reason where it cannot be used, and `build`. Dense engines take no account of zeros.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Pass = Callable[[], Any]  # one forward pass on the example: a tensor or an array of the model's outputs
EXTRA = "pip install 'cap-bench[engines]'"


class Subject:
    """What every engine is given: a model, its input, the number of threads.

    Args:
        model: In eval mode; engines leave it as it is.
        example: (batch, channels, height, width), the input of every pass.
        threads: Of one pass; PyTorch's own number must have been set to the same.
        folder: For files that an engine needs.
        control: Whether the sparse engine must use its sparse kernels even where dense ones would be faster.
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
    """Keeps the exporter's progress and advice off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


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
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        return f"{self.name} needs {', '.join(absent)}: {EXTRA}" if absent else None

    @abstractmethod
    def build(self, subject: Subject) -> Pass:
        """Returns a forward pass on the subject's example, of a model that shares no weights with the subject's."""


class Eager(Engine):
    """PyTorch as it is."""

    name = "eager"

    def build(self, subject: Subject) -> Pass:
        model = copy.deepcopy(subject.model)
        return lambda: model(subject.example)


class Compile(Engine):
    """`torch.compile` with inductor; weights are frozen, so that it may fold and pack them."""

    name = "compile"

    def missing(self) -> str | None:
        if any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
            return None
        return "compile needs a C++ compiler, and neither g++ nor clang++ is installed"

    def build(self, subject: Subject) -> Pass:
        model = torch.compile(copy.deepcopy(subject.model), dynamic=False, options={"freezing": True})

        def run() -> Tensor:
            with _quiet():
                return model(subject.example)

        run()
        return lambda: model(subject.example)


class OnnxRuntime(Engine):
    """onnxruntime's CPU provider on the exported model."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx", "onnxscript")

    def build(self, subject: Subject) -> Pass:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = subject.threads
        # its threads may spin within a pass, but not on into the next engine's
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(subject.onnx(), options, providers=["CPUExecutionProvider"])
        inputs = {session.get_inputs()[0].name: subject.example.numpy()}
        return lambda: session.run(None, inputs)[0]


class OpenVino(Engine):
    """OpenVINO's CPU plug-in on the exported model, set for latency, in single precision like the others."""

    name = "openvino"
    packages = ("openvino", "onnx", "onnxscript")

    def build(self, subject: Subject) -> Pass:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": subject.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(subject.onnx(), "CPU", settings)
        inputs = [subject.example.numpy()]
        return lambda: compiled(inputs)[0]


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Eager(), Compile(), OnnxRuntime(), OpenVino())}
BASELINE = Eager.name  # every output is checked against it, every ratio is to it

"""Compiler: a pruned model's layers become sparse where that is measured to pay within the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cap.runtime import candidates, cost, machine

MARGIN = 1.03  # a compiled model is at most this much slower than the dense one, or is the dense one
HOPELESS = 3.0  # a sparse layer that is expected to take so many times as long as the dense one is not tried
TOLERANCE = 1e-4  # largest difference of a sparse layer's outputs, relative to the largest of them
SECONDS = 3.0  # of each comparison of the dense model with a sparse one
_OPAQUE = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # these read their layers' weights themselves


@dataclass
class LayerReport:
    """Decision about one layer.

    Attributes:
        name: Name of the module.
        kind: Class of its sparse counterpart.
        sparsity: Fraction of zeros in its weights.
        expected_ms: Expected time of the sparse layer on the example, milliseconds.
        choice: "sparse" or "dense".
        dense_ms: Measured time of the dense layer within a pass of the dense model, milliseconds.
        sparse_ms: Measured time of the sparse layer within a pass of the model with sparse layers, milliseconds.
    """

    name: str
    kind: str
    sparsity: float
    expected_ms: float
    choice: str = "dense"
    dense_ms: float | None = None
    sparse_ms: float | None = None


@dataclass
class Report:
    """Report of one compilation.

    Attributes:
        engine: Kernels that run: "avx512", or "portable" on other processors.
        layers: Layers that could be sparse.
        dense_ms: Measured time of the dense model on the example, milliseconds.
        compiled_ms: Measured time of the model with the sparse layers, milliseconds.
        kept_dense: Whether the dense model is used since the sparse one was slower.
    """

    engine: str
    layers: list[LayerReport] = field(default_factory=list)
    dense_ms: float | None = None
    compiled_ms: float | None = None
    kept_dense: bool = False

    def __str__(self) -> str:
        lines = [f"engine: {self.engine}" + ("" if self.engine == "avx512" else " (this processor has no AVX-512)")]
        form = "{:40} {:16} {:>8} {:>11} {:>9} {:>9}  {}"
        lines.append(form.format("layer", "kind", "sparsity", "expected ms", "sparse ms", "dense ms", "choice"))
        lines += [
            form.format(
                layer.name, layer.kind, f"{layer.sparsity:.1%}",
                *map(_milliseconds, (layer.expected_ms, layer.sparse_ms, layer.dense_ms)), layer.choice,
            )
            for layer in self.layers
        ]  # fmt: skip
        if self.dense_ms is not None:
            kept = "; the dense model is kept" if self.kept_dense else ""
            lines.append(f"model: {_milliseconds(self.compiled_ms)} ms, dense {_milliseconds(self.dense_ms)} ms{kept}")
        return "\n".join(lines)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


class CompiledModel(nn.Module):
    """A model for inference in float32 on the CPU whose pruned layers are sparse.

    It is called as the model is, under `torch.inference_mode()` or `torch.no_grad()`.
    """

    def __init__(self, model: nn.Module, report: Report) -> None:
        super().__init__()
        self.model = model
        self._report = report
        self.eval()

    def report(self) -> Report:
        """Returns what was replaced and why."""
        return self._report

    def train(self, mode: bool = True) -> CompiledModel:
        """Refuses to train.

        Raises:
            RuntimeError: If `mode` is True.
        """
        if mode:
            raise RuntimeError("a compiled model is for inference only: train the pruned model, then compile it again")
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model.

        Raises:
            RuntimeError: If gradients are enabled.
            TypeError: If an input is of another type than float32 or on another device than the CPU.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("a compiled model has no gradients: call it under torch.inference_mode()")
        for tensor in (*args, *kwargs.values()):
            if isinstance(tensor, Tensor):
                _check_tensor("the input", tensor)
        return self.model(*args, **kwargs)


def compile(model: nn.Module, example_input: Tensor, force: bool = False) -> CompiledModel:
    """Compiles a pruned model for inference on the CPU, with the number of threads that torch uses.

    Args:
        model: Pruned model in evaluation mode, float32, on the CPU; it is not changed.
        example_input: Input of the model; layers are timed at its size, but any batch size will do later.
        force: Whether to use sparse layers wherever they are possible, at any cost.

    Returns:
        The compiled model; its `report()` says what was done.

    Raises:
        ValueError: If the model is in training mode.
        TypeError: If a weight or the example is of another type than float32 or on another device than the CPU.
    """
    if training := [name for name, module in model.named_modules() if module.training]:
        where = f" (its module {training[0]})" if training[0] else ""
        raise ValueError(f"the model{where} is in training mode: call its eval() before compiling it")
    for name, tensor in (*model.named_parameters(), *model.named_buffers(), ("the example input", example_input)):
        _check_tensor(name, tensor)
    with torch.inference_mode():
        return _Compilation(model, example_input, force).run()


def _check_tensor(name: str, tensor: Tensor) -> None:
    if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
        raise TypeError(
            f"the sparse runtime computes in float32 on the CPU: {name} is {tensor.dtype} on {tensor.device}"
        )


@dataclass(eq=False)
class _Slot:
    """A module of the compiled model that may be the dense one or its sparse counterpart.

    Attributes:
        parent: Module of the compiled model that contains it.
        child: Name of the module in the parent.
        dense: The dense module.
        candidate: Description of the counterpart.
        layer: Report on it.
        sparse: Sparse counterpart, once it is built.
    """

    parent: nn.Module
    child: str
    dense: nn.Module
    candidate: candidates.Candidate
    layer: LayerReport
    sparse: nn.Module | None = None

    def fill(self, module: nn.Module) -> None:
        setattr(self.parent, self.child, module)


class _Compilation:
    """The work of one call of `compile`."""

    def __init__(self, model: nn.Module, example: Tensor, force: bool) -> None:
        self.model, self.example, self.force = model, example, force
        self.root = nn.Sequential(copy.deepcopy(model))  # its only child may be replaced too
        self.report = Report(machine.engine())
        self.calibration = cost.calibration()
        self.inputs = self._input_shapes()

    def run(self) -> CompiledModel:
        """Takes the largest modules that can be sparse, and of those that do not pay the parts."""
        slots = list(self._slots("", self.root))
        while slots:
            self.report.layers += [slot.layer for slot in slots]
            tried = self._build(slots)
            if tried and not self.force:
                self._choose(tried)
            refused = [slot for slot in slots if slot.layer.choice != "sparse" and slot.layer.sparsity]
            slots = [part for slot in refused for part in self._slots(slot.layer.name, slot.dense)]
        compiled = self.root[0]
        if any(layer.choice == "sparse" for layer in self.report.layers) and not self.force:
            calls = [lambda: self.model(self.example), lambda: self.root(self.example)]
            dense, sparse = cost.median_seconds(calls, SECONDS)
            self.report.dense_ms, self.report.compiled_ms = 1000 * dense, 1000 * sparse
            if sparse > MARGIN * dense:
                self.report.kept_dense = True
                compiled = copy.deepcopy(self.model)
        return CompiledModel(compiled, self.report)

    def _input_shapes(self) -> dict[nn.Module, tuple[int, ...]]:
        """Returns the shapes of the inputs of all modules that are called with one tensor and no option."""
        shapes: dict[nn.Module, tuple[int, ...]] = {}

        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            plain = all(value is None or value is False for value in kwargs.values())
            if len(args) == 1 and plain and isinstance(args[0], Tensor):
                shapes[module] = tuple(args[0].shape)

        hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in self.root[0].modules()]
        try:
            self.root(self.example)
        finally:
            for hook in hooks:
                hook.remove()
        return shapes

    def _slots(self, prefix: str, parent: nn.Module) -> Iterator[_Slot]:
        """Yields the outermost modules below another one that have a sparse counterpart."""
        for child, module in parent.named_children():
            name = "" if parent is self.root else f"{prefix}.{child}".removeprefix(".")
            if isinstance(module, _OPAQUE):
                continue
            shape = self.inputs.get(module)
            candidate = None if shape is None else candidates.find(module, shape)
            if candidate is None:
                yield from self._slots(name, module)
                continue
            weights = [p for p in module.parameters() if p.ndim > 1]
            sparsity = 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(w.numel() for w in weights)
            expected = 1000 * self.calibration.seconds(candidate.work)
            yield _Slot(parent, child, module, candidate, LayerReport(name, candidate.kind, sparsity, expected))

    def _build(self, slots: list[_Slot]) -> list[_Slot]:
        """Puts the sparse counterparts into the model that may pay; returns the slots."""
        if not self.force:
            slots = [slot for slot in slots if slot.layer.sparsity]
            if not slots:
                return []
            (times,) = cost.interleave([self._dense_pass(slots)], SECONDS / 4)
            for slot, seconds in zip(slots, times, strict=True):
                slot.layer.dense_ms = 1000 * seconds
            slots = [slot for slot in slots if slot.layer.expected_ms <= HOPELESS * (slot.layer.dense_ms or 0)]
        built: dict[nn.Module, nn.Module] = {}  # one module may be in two slots
        tried = []
        for slot in slots:
            if slot.dense not in built:
                built[slot.dense] = slot.candidate.build(machine.has_avx512())
            slot.sparse = built[slot.dense]
            x = torch.randn(1, *slot.candidate.shape[1:], generator=torch.Generator().manual_seed(0))
            if _same(slot.dense(x), slot.sparse(x)):
                slot.layer.choice = "sparse"
                slot.fill(slot.sparse)
                tried.append(slot)
            else:
                slot.layer.choice = "dense, as its outputs are not those of its parts"
        return tried

    def _choose(self, slots: list[_Slot]) -> None:
        """Times the sparse layers where they are, and puts the dense ones back that are faster."""
        modules = [slot.sparse for slot in slots if slot.sparse]
        passes = [self._dense_pass(slots), lambda: cost.seconds_within(self.root, self.example, modules)]
        for slot, dense, sparse in zip(slots, *cost.interleave(passes, SECONDS), strict=True):
            slot.layer.dense_ms, slot.layer.sparse_ms = 1000 * dense, 1000 * sparse
            if sparse >= dense:
                slot.layer.choice = "dense"
                slot.fill(slot.dense)

    def _dense_pass(self, slots: list[_Slot]) -> Callable[[], list[float]]:
        """Returns a call that runs the model as it was and returns the seconds of the modules in the slots."""
        modules = [self.model.get_submodule(slot.layer.name) for slot in slots]
        return lambda: cost.seconds_within(self.model, self.example, modules)


def _same(result: Tensor, expected: Tensor) -> bool:
    """Returns whether two results differ by no more than rounding."""
    scale = float(expected.abs().amax()) if expected.numel() else 0.0
    return result.shape == expected.shape and torch.allclose(result, expected, rtol=0, atol=TOLERANCE * scale)

"""Replaces the layers of a pruned model by sparse ones, each where it is measured to pay."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cap.runtime import candidates, cost, machine

MARGIN = 1.03  # a compiled model is at most this much slower than the dense one, or is the dense one
LAYER_SECONDS = 0.4  # of timing one layer
HOPELESS = 3.0  # a sparse layer that is expected to take so many times as long as the dense one is not tried
ALIKE = 0.02  # layers of the same shape are measured once if their sparsities differ by less
TOLERANCE = 1e-4  # largest difference of a sparse layer's outputs, relative to the largest of them
MODEL_SECONDS = 3.0
_OPAQUE = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # these read their layers' weights themselves


@dataclass
class LayerReport:
    """What was decided about one layer.

    Attributes:
        name: The module's name.
        kind: Its sparse counterpart.
        sparsity: Fraction of zeros in its weights.
        expected_ms: Milliseconds that the sparse layer should take on the example.
        choice: "sparse" or "dense".
        dense_ms: Measured milliseconds of the dense layer, or of one like it.
        sparse_ms: Of the sparse one.
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
    """What `compile` did.

    Attributes:
        engine: "avx512", or "portable" on other processors.
        layers: The layers that could be sparse.
        dense_ms: Measured milliseconds of the model as it was, on the example.
        compiled_ms: Of the model with the sparse layers.
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
        model: In evaluation mode, float32, on the CPU; it is not changed.
        example_input: What the model is called with; layers are timed at its size, but any batch size will do later.
        force: Whether to use sparse layers wherever they are possible, whatever they cost.

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


class _Compilation:
    """The work of one call of `compile`."""

    def __init__(self, model: nn.Module, example: Tensor, force: bool) -> None:
        self.model, self.example, self.force = model, example, force
        self.copy = copy.deepcopy(model)
        self.report = Report(machine.engine())
        self.calibration = cost.calibration()
        self.inputs: dict[nn.Module, tuple[int, ...]] = {}
        self.measured: dict[tuple[Any, ...], tuple[float, float]] = {}

    def run(self) -> CompiledModel:
        self._record_inputs()
        if (sparse_model := self._replacement("", self.copy)) is not None:
            self.copy = sparse_model
        else:
            self._visit("", self.copy)
        compiled = self.copy
        if any(layer.choice == "sparse" for layer in self.report.layers) and not self.force:
            calls = [lambda: self.model(self.example), lambda: self.copy(self.example)]
            dense, sparse = cost.interleaved(calls, MODEL_SECONDS)
            self.report.dense_ms, self.report.compiled_ms = 1000 * dense, 1000 * sparse
            if sparse > MARGIN * dense:
                self.report.kept_dense = True
                compiled = copy.deepcopy(self.model)
        return CompiledModel(compiled, self.report)

    def _record_inputs(self) -> None:
        """Finds the sizes of the inputs of all modules that are called with one tensor and no option."""

        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            plain = all(value is None or value is False for value in kwargs.values())
            if len(args) == 1 and plain and isinstance(args[0], Tensor):
                self.inputs[module] = tuple(args[0].shape)

        hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in self.copy.modules()]
        try:
            self.copy(self.example)
        finally:
            for hook in hooks:
                hook.remove()

    def _visit(self, prefix: str, parent: nn.Module) -> None:
        for child_name, child in list(parent.named_children()):
            name = f"{prefix}{child_name}"
            if isinstance(child, _OPAQUE):
                continue
            if (sparse := self._replacement(name, child)) is not None:
                setattr(parent, child_name, sparse)
            else:
                self._visit(f"{name}.", child)

    def _replacement(self, name: str, module: nn.Module) -> nn.Module | None:
        """Returns the sparse counterpart of a module, or None if there is none or it does not pay."""
        shape = self.inputs.get(module)
        candidate = None if shape is None else candidates.find(module, shape)
        if candidate is None:
            return None
        weights = [p for p in module.parameters() if p.ndim > 1]
        sparsity = 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(w.numel() for w in weights)
        layer = LayerReport(name, candidate.kind, sparsity, 1000 * self.calibration.seconds(candidate.work))
        self.report.layers.append(layer)
        if not self.force and not sparsity:
            return None
        x = torch.randn(candidate.shape, generator=torch.Generator().manual_seed(0))
        alike = (candidate.kind, candidate.shape, *(weight.shape for weight in weights), round(sparsity / ALIKE))
        if alike not in self.measured and not self.force:
            (dense,) = cost.interleaved([lambda: module(x)], LAYER_SECONDS / 4)
            if layer.expected_ms > HOPELESS * 1000 * dense:
                layer.dense_ms = 1000 * dense
                return None
        sparse = candidate.build(machine.has_avx512())
        if not _same(module(x[:1]), sparse(x[:1])):
            layer.choice = "dense, as its outputs are not those of its parts"
            return None
        if not self.force:
            if alike not in self.measured:
                dense, ours = cost.interleaved([lambda: module(x), lambda: sparse(x)], LAYER_SECONDS)
                self.measured[alike] = dense, ours
            layer.dense_ms, layer.sparse_ms = (1000 * seconds for seconds in self.measured[alike])
            if layer.sparse_ms >= layer.dense_ms:
                return None
        layer.choice = "sparse"
        return sparse


def _same(result: Tensor, expected: Tensor) -> bool:
    """Returns whether two results differ by no more than rounding."""
    scale = float(expected.abs().amax()) if expected.numel() else 0.0
    return result.shape == expected.shape and torch.allclose(result, expected, rtol=0, atol=TOLERANCE * scale)

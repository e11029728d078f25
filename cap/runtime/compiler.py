"""Compiler: a pruned model's layers become sparse where that is measured to pay within the model."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cap.runtime import candidates, cost, folding, machine
from cap.runtime.cache import Cache, cache_key
from cap.runtime.codegen import Assembler
from cap.runtime.compiled import CompiledModel, check_tensor
from cap.runtime.finding import find_block
from cap.runtime.report import DENSE, SPARSE, LayerReport, Report

MARGIN = 1.03  # a compiled model is at most this much slower than the dense one, or is the dense one
HOPELESS = 3.0  # a sparse layer that is expected to take so many times as long as the dense one is not tried
TOLERANCE = 1e-4  # largest difference of a sparse layer's outputs, relative to the largest of them
INT8_TOLERANCE = 0.1  # of one with integers: another computation differs by more
SECONDS = 0.9  # of each comparison of the dense model with a sparse one
PASS = 0.1  # seconds that a dense pass should take which is timed: of a larger example the first images do
_OPAQUE = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # these read their layers' weights themselves


def compile(
    model: nn.Module,
    example_input: Tensor,
    force: bool = False,
    cache: str | os.PathLike[str] | None = None,
    int8: bool = False,
) -> CompiledModel:
    """Compiles a pruned model for inference on the CPU, with the number of threads that torch uses.

    Args:
        model: Pruned model in evaluation mode, float32, on the CPU; it is not changed.
        example_input: Input of the model; layers are timed at its size, but any batch size will do later.
        force: Whether to use sparse layers wherever they are possible, at any cost.
        cache: Folder in which the result is kept for the next time: for the same weights, example size, threads,
            processor and versions it is read from there. It holds machine code that is run: only you should be able to
            write to it.
        int8: Whether sparse layers multiply integers of eight bits: weights quantized for each output, activations for
            each token as they come. Outputs then differ from the dense model's by a few percent: measure the accuracy.

    Returns:
        The compiled model; its `report()` says what was done.

    Raises:
        ValueError: If the model is in training mode, the cache is no folder, or the processor cannot do `int8`.
        TypeError: If a weight or the example is of another type than float32 or on another device than the CPU.
    """
    if training := [name for name, module in model.named_modules() if module.training]:
        where = f" (its module {training[0]})" if training[0] else ""
        raise ValueError(f"the model{where} is in training mode: call its eval() before compiling it")
    for name, tensor in (*model.named_parameters(), *model.named_buffers(), ("the example input", example_input)):
        check_tensor(name, tensor)
    if int8 and not machine.has_vnni():
        raise ValueError("int8=True needs a processor with AVX-512 and VNNI, on Linux: leave it out here")
    store = None if cache is None else Cache(Path(cache))
    with torch.inference_mode():
        if store is None:
            return _Compilation(model, example_input, force, int8).run()
        key = cache_key(model, example_input, force, int8)
        compiled = store.read(key, model)
        if compiled is None:
            compiled = _Compilation(model, example_input, force, int8).run()
            store.write(key, compiled)
        return compiled


@dataclass(frozen=True)
class _Input:
    """Shape of a module's input, and numbers that it is called with after it."""

    shape: tuple[int, ...]
    numbers: tuple[int, ...]


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

    def __init__(self, model: nn.Module, example: Tensor, force: bool, int8: bool) -> None:
        self.model, self.force = model, force
        self.example = example[:1] if force and example.ndim > 1 else _few_images(model, example)
        self.report = Report(machine.engine(int8))
        self.root = self._folded()  # its only child may be replaced too
        self.dense = copy.deepcopy(self.root, {id(tensor): tensor for tensor in _tensors(self.root)})[0]
        self.calibration = cost.calibration()
        self.inputs = _inputs_of(self.root, self.example)

    def run(self) -> CompiledModel:
        """Takes the largest modules that can be sparse, and of those that do not pay the parts."""
        slots = list(self._slots("", self.root))
        while slots:
            self.report.layers += [slot.layer for slot in slots]
            tried = self._build(slots)
            if tried and not self.force:
                self._choose(tried)
            refused = [slot for slot in slots if slot.layer.choice != SPARSE]
            slots = [part for slot in refused for part in self._slots(slot.layer.name, slot.dense)]
        return CompiledModel(self.root[0] if self.force else self._fastest(), self.report)

    def _fastest(self) -> nn.Module:
        """Returns the compiled model, or a dense one if that is faster."""
        models = [self.model, self.dense, self.root[0]]
        before, dense, sparse = cost.median_seconds([partial(model, self.example) for model in models], SECONDS)
        best = min(before, dense)
        self.report.dense_ms, self.report.compiled_ms = 1000 * best, 1000 * sparse
        if sparse <= MARGIN * best:
            return models[2]
        self.report.kept_dense = True
        if dense < before:
            return self.dense
        self.report.folds = []
        return copy.deepcopy(self.model)

    def _folded(self) -> nn.Sequential:
        """Returns a copy of the model with its convolutions folded, if that computes the same."""
        root = nn.Sequential(copy.deepcopy(self.model))
        given = _inputs_of(root, self.example)
        blocks = [
            f"{name}."
            for name, module in root.named_modules()
            if module in given and find_block(module, given[module].shape, given[module].numbers)
        ]
        folds = [
            found
            for found in folding.find_folds(nn.Sequential(self.model), self.example)
            if not found.convolution.startswith(tuple(blocks))
        ]
        folding.fold(root, folds)
        expected, result = self.model(self.example), root(self.example)
        if folds and not (isinstance(expected, Tensor) and _same(result, expected)):
            return nn.Sequential(copy.deepcopy(self.model))
        self.report.folds = folds
        return root

    def _slots(self, prefix: str, parent: nn.Module) -> Iterator[_Slot]:
        """Yields the outermost modules below another one that have a sparse counterpart."""
        for child, module in parent.named_children():
            name = "" if parent is self.root else f"{prefix}.{child}".removeprefix(".")
            if isinstance(module, _OPAQUE):
                continue
            given = self.inputs.get(module)
            candidate = None if given is None else candidates.find(module, given.shape, given.numbers)
            if candidate is None:
                yield from self._slots(name, module)
                continue
            weights = [p for p in module.parameters() if p.ndim > 1]
            sparsity = 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(w.numel() for w in weights)
            expected = 1000 * self.calibration.seconds(candidate.work)
            yield _Slot(
                parent,
                child,
                module,
                candidate,
                LayerReport(name, candidate.kind, candidate.shape, candidate.arguments, sparsity, expected),
            )

    def _build(self, slots: list[_Slot]) -> list[_Slot]:
        """Puts the sparse counterparts into the model that may pay; returns the slots."""
        if not self.force:
            if not slots:
                return []
            (times,) = cost.interleave([self._dense_pass(slots)], 0.0, least=1)
            for slot, seconds in zip(slots, times, strict=True):
                slot.layer.dense_ms = 1000 * seconds
            slots = [slot for slot in slots if slot.layer.expected_ms <= HOPELESS * (slot.layer.dense_ms or 0)]
        built: dict[nn.Module, nn.Module] = {}  # one module may be in two slots
        tried = []
        for slot in slots:
            if slot.dense not in built:
                built[slot.dense] = slot.candidate.build(Assembler(machine.has_avx512(), self.report.int8))
            slot.sparse = built[slot.dense]
            x = torch.randn(1, *slot.candidate.shape[1:], generator=torch.Generator().manual_seed(0))
            outputs = slot.dense(x, *slot.candidate.arguments), slot.sparse(x, *slot.candidate.arguments)
            if _same(*outputs, INT8_TOLERANCE if self.report.int8 else TOLERANCE):
                slot.layer.choice = SPARSE
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
                slot.layer.choice = DENSE
                slot.fill(slot.dense)

    def _dense_pass(self, slots: list[_Slot]) -> Callable[[], list[float]]:
        """Returns a call that runs the model as it was and returns the seconds of the modules in the slots."""
        modules = [self.dense.get_submodule(slot.layer.name) for slot in slots]
        return lambda: cost.seconds_within(self.dense, self.example, modules)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _same(result: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Returns whether two results differ by no more than rounding, or than a tolerance relative to the largest."""
    scale = float(expected.abs().amax()) if expected.numel() else 0.0
    return result.shape == expected.shape and torch.allclose(result, expected, rtol=0, atol=tolerance * scale)


def _inputs_of(root: nn.Sequential, example: Tensor) -> dict[nn.Module, _Input]:
    """Returns what all modules are called with that take one tensor, perhaps numbers, and no option."""
    inputs: dict[nn.Module, _Input] = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        plain = all(value is None or value is False for value in kwargs.values())
        numbers = args[1:]
        if plain and args and isinstance(args[0], Tensor) and all(isinstance(number, int) for number in numbers):
            inputs[module] = _Input(tuple(args[0].shape), numbers)

    hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in root[0].modules()]
    try:
        root(example)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _few_images(model: nn.Module, example: Tensor) -> Tensor:
    """Returns as many images of an example as a pass of `PASS` seconds takes, at least one."""
    if example.ndim < 2:
        return example  # no images
    model(example[:1])
    start = time.perf_counter()
    model(example[:1])
    return example[: max(1, int(PASS / (time.perf_counter() - start)))]

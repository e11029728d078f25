"""What every pruner is, the registry that finds it by name, and what it returns."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.fisher.planning import MemoryPlan
from cap.patterns import Blocks, Pattern
from cap.selection import select

ENTRY_POINTS = "cap.pruners"


@dataclass(frozen=True)
class PrunedWeights:
    """Pruned weights and their masks.

    Attributes:
        weights: {name: weight}, zero wherever the mask is False.
        masks: {name: keep-mask}, boolean, True where the weight is kept.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]

    @property
    def sparsity(self) -> float:
        """Fraction of masked weights over all layers."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return 1 - kept / sum(mask.numel() for mask in self.masks.values())

    @torch.no_grad()
    def apply_to(self, model: nn.Module) -> None:
        """Writes the weights into a model of the same architecture."""
        for name, weight in self.weights.items():
            model.get_parameter(name).copy_(weight)


class Pruner(ABC):
    """Base class: fitted once to a dense model, read off at any sparsity.

    A subclass is a class with keyword options that have defaults, and one method, `scores`. If removing weights should
    also move the others it overrides `update` too, and if it does not reach every pattern, `supports`.

    Attributes:
        weights: {name: weight}, copies of the dense weights that `fit` saw.
        importance: {name: score per weight}, as `scores` returned them.
        monotone: Whether a weight that is removed at one sparsity is removed at every higher one.
        memory_budget: Bytes that `scores` may take beyond what is in use, as given to `fit`; None for what is free.
        refit_seconds: Part of the last `prune` that was spent on fitting anew.
    """

    weights: dict[str, Tensor]
    importance: dict[str, Tensor]
    monotone: bool = True
    memory_budget: int | None = None
    refit_seconds: float = 0.0

    @abstractmethod
    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Scores every weight; the lowest are removed first.

        Args:
            model: The dense model; leave it as it is.
            layers: {name: weight} to prune, detached copies (the same as `self.weights`).
            calibration: The only data that may be used.

        Returns:
            {name: scores} in each weight's own shape, comparable across layers.
        """

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights that go with the masks; by default the dense ones with zeros."""
        return {name: self.weights[name] * mask for name, mask in masks.items()}

    def supports(self, pattern: Pattern) -> str | None:
        """Returns why the pruner cannot produce a pattern, or None if it can."""
        return None

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Returns the keep-masks that follow the pattern and the scores; weights that are zero already go first."""
        if isinstance(pattern, Blocks):
            return select(self.importance, pattern)
        scores = {
            n: score.double().masked_fill(self.weights[n] == 0, -torch.inf) for n, score in self.importance.items()
        }
        return select(scores, pattern)

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern that the pruner supports."""
        masks = self.select(pattern)
        return PrunedWeights(self.update(masks), masks)

    def predicted_loss(self, pruned: PrunedWeights) -> float | None:
        """Returns by how much pruning raises the calibration loss in the pruner's own model of it, None if it has none.

        Args:
            pruned: What `prune` returned.
        """
        return None

    def plan(
        self,
        model: nn.Module,
        layers: Mapping[str, Tensor],
        calibration: Calibration,
        memory_budget: int | None = None,
    ) -> MemoryPlan | None:
        """Returns how `fit` would go about its work within a memory budget; None if it takes next to none.

        Raises:
            ValueError: If the budget is too small, with what is needed and what to change.
        """
        return None

    def fit(
        self,
        model: nn.Module,
        layers: Mapping[str, Tensor],
        calibration: Calibration,
        memory_budget: int | None = None,
    ) -> Pruner:
        """Learns all that is needed to prune to any sparsity; the model is left untouched.

        Args:
            model: The dense model.
            layers: {name: weight}, as `select_layers` returns them.
            calibration: The only data that may be used.
            memory_budget: Bytes that the fit may take beyond what is in use on the model's device; by default what is
                free less a margin. The result does not depend on it.

        Raises:
            ValueError: If there are no layers, or the memory budget is too small.
        """
        if not layers:
            raise ValueError("there are no layers to prune: choose some with cap.select_layers")
        self.memory_budget = memory_budget
        self.weights = {name: weight.detach().clone() for name, weight in layers.items()}
        self.importance = self.scores(model, self.weights, calibration)
        return self

    def prune(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern; may be called any number of times after one `fit`.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If the pruner does not support the pattern.
        """
        self.check(pattern)
        return self.weights_at(pattern)

    def check(self, pattern: Pattern) -> None:
        """Refuses what `prune` cannot do.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If the pruner does not support the pattern.
        """
        if not hasattr(self, "weights"):
            raise RuntimeError("the pruner has not been fitted: call fit(model, layers, calibration) first")
        if reason := self.supports(pattern):
            raise ValueError(reason)


_REGISTRY: dict[str, type[Pruner]] = {}
PrunerClass = TypeVar("PrunerClass", bound=type[Pruner])


def register(name: str) -> Callable[[PrunerClass], PrunerClass]:
    """Class decorator that makes a pruner available to `create` under a name.

    Raises:
        ValueError: If another class has the name already.
    """

    def add(cls: PrunerClass) -> PrunerClass:
        known = _REGISTRY.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"pruner name {name!r} is taken by {known.__module__}.{known.__qualname__}")
        _REGISTRY[name] = cls
        return cls

    return add


def available() -> list[str]:
    """Returns the names of all pruners, those of installed third-party packages included."""
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return sorted({*_REGISTRY, *(point.name for point in points)})


def _find(name: str) -> type[Pruner]:
    """Looks a pruner up by registered name, entry point or `path/to/file.py:ClassName`."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _load_file(Path(path), class_name)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        return point.load()
    raise ValueError(
        f"unknown pruner {name!r}: choose from {', '.join(available())}, or give a file as path/to/file.py:ClassName"
    )


def import_file(path: Path) -> ModuleType:
    """Imports a Python file that is in no package; once for each version of the file."""
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as any import does; dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_file(path: Path, class_name: str) -> type[Pruner]:
    if not path.is_file():
        raise ValueError(f"pruner file {path} does not exist")
    module = import_file(path)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Pruner)):
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Pruner) and v != Pruner]
        raise ValueError(f"{path} has no pruner class {class_name!r}; it has {', '.join(classes) or 'none'}")
    return found


def default_options(name: str) -> dict[str, Any]:
    """Returns a pruner's options and their default values.

    Raises:
        ValueError: If there is no such pruner.
    """
    return {key: parameter.default for key, parameter in inspect.signature(_find(name)).parameters.items()}


def source_file(name: str) -> Path | None:
    """Returns the file that defines a pruner, None for those of this package.

    Raises:
        ValueError: If there is no such pruner.
    """
    found = _find(name)
    return None if found.__module__.startswith("cap.") else Path(inspect.getfile(found))


def create(name: str, **options: Any) -> Pruner:
    """Makes a pruner.

    Args:
        name: A name of `available()`, or `path/to/file.py:ClassName`.
        **options: The pruner's own options.

    Raises:
        ValueError: If the pruner, or one of the options, is unknown; the message lists the valid ones.
    """
    valid = default_options(name)
    if unknown := sorted(set(options) - set(valid)):
        listed = ", ".join(f"{key}={value!r}" for key, value in valid.items()) or "none"
        raise ValueError(f"pruner {name!r} has no option {', '.join(unknown)}: its options are {listed}")
    return _find(name)(**options)

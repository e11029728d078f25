"""CAP and its rivals: pruners that are fitted once and read off at any sparsity.

Names are imported when they are first used: `import cap.patterns` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cap import pruners
    from cap.calibration import Calibration
    from cap.cost import FitBytes, FitSize, FitWork
    from cap.device_memory import default_budget
    from cap.elimination import Elimination, compensate, eliminate
    from cap.fisher.blocks import BlockFisher
    from cap.fisher.planning import MemoryPlan
    from cap.inputs import StreamedInputs
    from cap.layers import select_layers
    from cap.patterns import NM, Allocated, Blocks, Pattern, Units, UnitsThen, Unstructured, parse_pattern
    from cap.pruned_weights import PrunedWeights
    from cap.pruner import Pruner, ScorePruner
    from cap.registry import available, create, default_options, register
    from cap.selection import count_violations, shape_mismatch
    from cap.sequential import SequentialLayer
    from cap.training.masks import Masks
    from cap.training.schedules import Ramp
    from cap.training.trainer import Distillation, Training

_MODULES = {
    "Allocated": "cap.patterns",
    "BlockFisher": "cap.fisher.blocks",
    "Blocks": "cap.patterns",
    "Calibration": "cap.calibration",
    "Distillation": "cap.training.trainer",
    "Elimination": "cap.elimination",
    "Masks": "cap.training.masks",
    "FitBytes": "cap.cost",
    "FitSize": "cap.cost",
    "FitWork": "cap.cost",
    "MemoryPlan": "cap.fisher.planning",
    "NM": "cap.patterns",
    "Pattern": "cap.patterns",
    "PrunedWeights": "cap.pruned_weights",
    "Pruner": "cap.pruner",
    "Ramp": "cap.training.schedules",
    "ScorePruner": "cap.pruner",
    "SequentialLayer": "cap.sequential",
    "StreamedInputs": "cap.inputs",
    "Training": "cap.training.trainer",
    "Units": "cap.patterns",
    "UnitsThen": "cap.patterns",
    "Unstructured": "cap.patterns",
    "available": "cap.registry",
    "compensate": "cap.elimination",
    "count_violations": "cap.selection",
    "create": "cap.registry",
    "default_budget": "cap.device_memory",
    "default_options": "cap.registry",
    "eliminate": "cap.elimination",
    "parse_pattern": "cap.patterns",
    "register": "cap.registry",
    "select_layers": "cap.layers",
    "shape_mismatch": "cap.selection",
}

__all__ = [
    "NM",
    "Allocated",
    "BlockFisher",
    "Blocks",
    "Calibration",
    "Distillation",
    "Elimination",
    "FitBytes",
    "FitSize",
    "FitWork",
    "Masks",
    "MemoryPlan",
    "Pattern",
    "PrunedWeights",
    "Pruner",
    "Ramp",
    "ScorePruner",
    "SequentialLayer",
    "StreamedInputs",
    "Training",
    "Units",
    "UnitsThen",
    "Unstructured",
    "available",
    "compensate",
    "count_violations",
    "create",
    "default_budget",
    "default_options",
    "eliminate",
    "parse_pattern",
    "pruners",
    "register",
    "select_layers",
    "shape_mismatch",
]


def __getattr__(name: str) -> Any:
    if name == "pruners":
        return importlib.import_module("cap.pruners")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

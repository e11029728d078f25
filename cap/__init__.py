"""CAP and its rivals: pruners that are fitted once and read off at any sparsity."""

from cap import pruners as pruners
from cap.calibration import Calibration
from cap.elimination import Elimination, compensate, eliminate
from cap.fisher.blocks import BlockFisher
from cap.fisher.planning import MemoryPlan, default_budget
from cap.layers import select_layers
from cap.patterns import NM, Blocks, Pattern, Unstructured, parse_pattern
from cap.pruner import PrunedWeights, Pruner, available, create, default_options, register
from cap.selection import count_violations, shape_mismatch
from cap.training.masks import Masks
from cap.training.schedules import Ramp
from cap.training.trainer import Distillation, Training

__all__ = [
    "NM",
    "BlockFisher",
    "Blocks",
    "Calibration",
    "Distillation",
    "Elimination",
    "Masks",
    "MemoryPlan",
    "Pattern",
    "PrunedWeights",
    "Pruner",
    "Ramp",
    "Training",
    "Unstructured",
    "available",
    "compensate",
    "count_violations",
    "create",
    "default_budget",
    "default_options",
    "eliminate",
    "parse_pattern",
    "register",
    "select_layers",
    "shape_mismatch",
]

"""Sparse inference runtime for the CPU: `compile` makes a pruned model fast without any compiler but numba's."""

from cap.runtime.compiled import CompiledModel
from cap.runtime.compiler import compile
from cap.runtime.file import load, save
from cap.runtime.report import LayerReport, Report

__all__ = ["CompiledModel", "LayerReport", "Report", "compile", "load", "save"]

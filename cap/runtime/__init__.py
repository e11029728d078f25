"""Sparse inference runtime for the CPU: `compile` makes a pruned model fast without any compiler but numba's."""

from cap.runtime.compiler import CompiledModel, LayerReport, Report, compile

__all__ = ["CompiledModel", "LayerReport", "Report", "compile"]

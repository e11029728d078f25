"""Execution of trials: in this process, or in several that share the processor."""

"""Runs the benchmark: from a sweep definition to tables and figures."""

"""Errors, files, locks, processes, seeds and clocks: what every room may use."""

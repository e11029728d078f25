"""Specifications of trials, sweeps, profiles, recipes and comparisons."""

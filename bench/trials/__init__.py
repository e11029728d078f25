"""Trials: one pruner on one model with one seed, from start to rows."""

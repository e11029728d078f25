"""Definitions of sweeps: one file per table or figure, each with a `SWEEP`."""

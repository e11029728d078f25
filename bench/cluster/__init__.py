"""Execution of sweeps as jobs of SLURM, or of this machine."""

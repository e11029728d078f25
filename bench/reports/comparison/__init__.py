"""Reports on a new pruner against others."""

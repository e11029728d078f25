"""Export of pruned models as files that others read."""

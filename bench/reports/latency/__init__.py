"""Reports on measured times of inference."""

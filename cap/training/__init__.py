"""Training with masks held, and schedules of learning rate and sparsity."""

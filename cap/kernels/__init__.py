"""Implementations of the greedy elimination, all with the signature of `cap.kernels.reference.eliminate_blocks`."""

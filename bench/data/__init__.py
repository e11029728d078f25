"""Data sets, their images as model inputs, and augmented training batches."""

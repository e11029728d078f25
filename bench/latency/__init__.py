"""Measurements of inference time: dense and sparse engines on models with random weights and real masks."""

"""Evaluation of a model: accuracy, loss, multiply-adds."""

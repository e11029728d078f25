"""Relative drops of accuracy with their errors, over dense seeds and test images. Reads parquet alone."""

from __future__ import annotations

import pandas as pd

from bench.results.predictions import Predictions
from bench.statistics.bootstrap import draw_resampling, relative_drop, two_level
from bench.statistics.estimate import Estimate, mean_of_units


def estimate_drop(rows: pd.DataFrame, predictions: Predictions) -> Estimate:
    """Returns the loss of top-1 in percent of the dense models', with its error.

    By the two-level bootstrap where the predicted classes are stored for all of them, else by Student's t over the
    dense seeds.

    Args:
        rows: Rows of finished models of one cell, one a dense seed.
        predictions: Predicted classes; may have none.
    """
    trials = list(rows["trial_id"])
    pruned = predictions.stacked(list(zip(trials, rows["pattern"], rows["phase"], strict=True)))
    dense = predictions.stacked([(trial, None, "dense") for trial in trials])
    if pruned is None or dense is None or pruned.shape != dense.shape:
        return mean_of_units(rows["top1_rel_drop"].to_numpy())
    return two_level(relative_drop, (pruned, dense), draw_resampling(*pruned.shape))

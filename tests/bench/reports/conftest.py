from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.results.predictions import PredictionRow, Predictions, encode

ARCHITECTURES = {"vit": "vit", "convnext": "convnext", "xcit": "hybrid"}  # of models


@pytest.fixture
def seeded(make: Any) -> Callable[..., list[dict[str, Any]]]:
    """Makes the rows of one pruner at one pattern as `make` does, each seed with a dense model of its own."""

    def rows(*arguments: Any, **values: Any) -> list[dict[str, Any]]:
        return [{**row, "dense_seed": row["seed"]} for row in make(*arguments, **values)]

    return rows


@pytest.fixture
def everywhere(seeded: Any) -> Callable[..., list[dict[str, Any]]]:
    """Makes the rows of one pruner at one pattern on all three supervised architectures."""

    def rows(*arguments: Any, **values: Any) -> list[dict[str, Any]]:
        return [
            row
            for model, family in ARCHITECTURES.items()
            for row in seeded(*arguments, model=model, family=family, **values)
        ]

    return rows


@pytest.fixture
def predicted() -> Callable[..., Predictions]:
    """Makes predictions of rows and of their dense models: of 1,000 images the first are right, as the top-1 says."""

    def of(rows: pd.DataFrame, images: int = 1000) -> Predictions:
        states = [
            (row.trial_id, pattern, phase, top1)
            for row in rows.itertuples()
            for pattern, phase, top1 in ((None, "dense", row.top1_dense), (row.pattern, row.phase, row.top1))
        ]
        return Predictions({
            (trial, pattern, phase): PredictionRow(
                trial, pattern, phase, images,
                encode((np.arange(images) >= round(images * top1 / 100)).astype(int)), encode(np.zeros(images, int)),
            )
            for trial, pattern, phase, top1 in states
        })  # fmt: skip

    return of

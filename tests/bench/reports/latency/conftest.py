from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.results.timings import SCHEMA


@pytest.fixture
def drops() -> pd.DataFrame:
    """Losses of accuracy of one embedded model."""
    return pd.DataFrame(
        {"family": "vit", "model": "small", "sparsity": [0.5, 0.75, 0.9], "one_shot": [0.1, 0.5, 4.0],
         "finetuned": [1.8, 0.4, np.nan], "seeded": False}
    )  # fmt: skip


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    """Makes the rows of a cell of four engines: openvino is the best dense one, one fails."""

    def make(model: str = "deit", batch: int = 1, scale: float = 1.0, **values: Any) -> list[dict[str, Any]]:
        about = {"model": model, "family": "vit", "timm_name": model, "batch": batch, "threads": 2, "cell": "x",
                 "commit": "c0ffee" * 6, "dirty": False, "versions": '{"torch": "2.0", "numba": "0.6"}',
                 "processor": "a processor", "cores": 4, "others": 0.031, "status": "timed", "deviation": 0.0,
                 **values}  # fmt: skip
        times = {
            ("eager", 0.0): [0.30, 0.40, 0.50], ("openvino", 0.0): [0.20, 0.20, 0.50],
            ("sparse", 0.0): [0.50, 0.50, 0.50], ("sparse", 0.5): [0.20, 0.25, 0.20],
            ("sparse", 0.75): [0.10, 0.10, 0.10],
        }  # fmt: skip
        found: list[dict[str, Any]] = [
            {**about, "engine": engine, "dense": engine != "sparse", "sparsity_target": sparsity,
             "seconds": [scale * value for value in seconds] if engine == "sparse" else seconds}
            for (engine, sparsity), seconds in times.items()
        ]  # fmt: skip
        broken = {
            "engine": "compile",
            "dense": True,
            "sparsity_target": 0.0,
            "status": "failed",
            "error": "RuntimeError: x",
        }
        return [*found, {**about, **broken}]

    return make


@pytest.fixture
def timings() -> Callable[..., pd.DataFrame]:
    """Joins rows into a table of measured times."""
    return lambda *parts: pd.DataFrame([row for part in parts for row in part], columns=SCHEMA.names)

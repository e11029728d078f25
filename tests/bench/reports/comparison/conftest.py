from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import pytest

from bench.results.schema import SCHEMA

MakeRows = Callable[..., pd.DataFrame]


@pytest.fixture
def make_rows() -> MakeRows:
    """Makes rows of pruners by label, in one cell, with {seed: top-1}."""

    def make(top1: dict, phase: str = "one_shot", model: str = "vit", pattern: str = "0.75") -> pd.DataFrame:
        rows = [
            {
                "family": model, "model": model, "pruner": label, "pruner_options": "{}", "pattern": pattern,
                "sparsity_target": float(pattern[:4]), "phase": phase, "seed": seed, "top1": value, "status": "done",
                "top1_dense": 90.0, "fit_seconds": 2.0 + seed, "peak_memory_bytes": (1 + seed) << 20,
                "trial_id": f"{label}{model}{seed}", "commit": "c0ffee" * 6, "dirty": False, "device": "cpu",
                "calibration_images": 1024, "n_images": 10_000,
            }
            for label, values in top1.items()
            for seed, value in values.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=SCHEMA.names)

    return make


@pytest.fixture
def without_result(make_rows: MakeRows) -> MakeRows:
    """Makes the row of a pruner that was skipped or failed."""

    def make(label: str, status: str, pattern: str | None, error: str) -> pd.DataFrame:
        [row] = make_rows({label: {0: 0.0}}).to_dict("records")
        phase = "one_shot" if pattern else None
        row |= {"status": status, "pattern": pattern, "error": error, "top1": math.nan, "phase": phase}
        row["sparsity_target"] = float(pattern[:4]) if pattern else math.nan
        return pd.DataFrame([row], columns=SCHEMA.names)

    return make

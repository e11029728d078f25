from __future__ import annotations

import json
from typing import Any, Protocol

import pandas as pd
import pytest

from bench.results.schema import SCHEMA
from cap.patterns import parse_pattern

DENSE = 90.0


class Make(Protocol):
    def __call__(self, pruner: str, pattern: str, top1: list[float], **values: Any) -> list[dict[str, Any]]: ...


@pytest.fixture
def make() -> Make:
    """Makes the rows of one pruner at one pattern, a seed for each value of top-1; `options`, `recipe` are dicts."""

    def rows(pruner: str, pattern: str, top1: list[float], **values: Any) -> list[dict[str, Any]]:
        values = {"model": "vit", "phase": "one_shot", "regime": "one_shot", "options": {}, "recipe": None, **values}
        values.setdefault("family", values["model"])
        options, recipe = values.pop("options"), values.pop("recipe")
        identity = json.dumps([pruner, values["model"], options, recipe, values["regime"]])
        return [
            {
                "status": "done", "pruner": pruner, "pruner_options": json.dumps(options), "seed": seed,
                "recipe": json.dumps(recipe) if recipe else None, "trial_id": f"{identity}{seed}", "pattern": pattern,
                "sparsity_target": parse_pattern(pattern).sparsity, "top1": value, "top1_dense": DENSE,
                "top1_drop": DENSE - value, "top1_rel_drop": 100 * (DENSE - value) / DENSE, "n_images": 10_000,
                "commit": "c0ffee" * 6, "dirty": False, "device": "cpu", **values,
            }
            for seed, value in enumerate(top1)
        ]  # fmt: skip

    return rows


@pytest.fixture
def frame() -> Any:
    """Joins rows into a table of the store's columns."""
    return lambda *parts: pd.DataFrame([row for part in parts for row in part], columns=SCHEMA.names)

from __future__ import annotations

from typing import Any, Protocol

import pandas as pd
import pytest

from bench.results.schema import SCHEMA

Top1 = dict[tuple[str, float], tuple[list[float], list[float] | None]]


class MakeRows(Protocol):
    def __call__(self, top1: Top1 | None = None) -> pd.DataFrame: ...


TOP1: Top1 = {
    # (pruner, sparsity): one-shot, fine-tuned, by seed
    ("magnitude", 0.75): ([60.0, 61.0, 62.0], [85.0, 86.0, 87.0]),
    ("cap", 0.75): ([80.0, 82.0, 87.0], [89.2, 89.4, 89.6]),
    ("magnitude", 0.95): ([10.0, 10.0, 10.0], None),
    ("cap", 0.95): ([40.0, 41.0, 42.0], None),
}


@pytest.fixture
def table_rows() -> MakeRows:
    """Makes rows of one model: {(pruner, sparsity): (top-1 one-shot, top-1 fine-tuned), by seed}, or TOP1."""

    def make_rows(top1: Top1 | None = None) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for (pruner, sparsity), phases in (top1 or TOP1).items():
            for phase, values in zip(("one_shot", "finetuned"), phases, strict=True):
                for seed, value in enumerate(values or ()):
                    rows.append({
                        "model": "vit", "family": "vit", "pruner": pruner, "sparsity_target": sparsity, "phase": phase,
                        "pattern": str(sparsity), "pruner_options": "{}",
                        "seed": seed, "top1": value, "top1_dense": 90.0, "top1_drop": 90 - value, "n_images": 10_000,
                        "top1_rel_drop": (90 - value) / 0.9, "status": "done", "trial_id": f"{pruner}{seed}",
                        "commit": "c0ffee" * 6, "dirty": False, "device": "cpu",
                    })  # fmt: skip
        return pd.DataFrame(rows, columns=SCHEMA.names)

    return make_rows

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.predictions import PREDICTION_SCHEMA
from bench.results.schema import ADDED_COLUMNS, LAYER_SCHEMA, SCHEMA, arrow_schema

COMMITTED = sorted((Path(__file__).parents[3] / "results" / "embedded").glob("*.parquet"))


@dataclass
class Row:
    name: str
    count: int | None
    share: float | None = None
    whole: bool = True
    at: datetime | None = None
    times: list[float] | None = None


def test_the_schema_of_a_dataclass() -> None:
    assert arrow_schema(Row) == pa.schema(
        [
            ("name", pa.string()),
            ("count", pa.int64()),
            ("share", pa.float64()),
            ("whole", pa.bool_()),
            ("at", pa.timestamp("us", tz="UTC")),
            ("times", pa.list_(pa.float64())),
        ]
    )


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_schema_is_that_of_committed_results(path: Path) -> None:
    kind = path.stem.partition(".")[2]
    schema = {"": SCHEMA, "layers": LAYER_SCHEMA, "predictions": PREDICTION_SCHEMA}[kind]
    found = pq.read_schema(path)
    assert [name for name in schema.names if name in found.names] == found.names
    assert set(schema.names) - set(found.names) <= set(ADDED_COLUMNS)
    for name in found.names:
        assert schema.field(name).equals(found.field(name)), name

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.results.predictions import PredictionRow, Predictions, decode, encode
from bench.results.schema import ResultRow
from bench.results.store import DAMAGED, Store

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 10, 10_000)


def predicted(accuracy: float, labels: np.ndarray = LABELS) -> np.ndarray:
    wrong = GENERATOR.random(len(labels)) > accuracy
    return np.where(wrong, (labels + GENERATOR.integers(1, 10, len(labels))) % 10, labels)


def row(
    classes: np.ndarray, trial_id: str = "a", pattern: str | None = "0.5", phase: str = "one_shot"
) -> PredictionRow:
    return PredictionRow(trial_id, pattern, phase, len(classes), encode(classes), encode(LABELS[: len(classes)]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "embedded", "sweep")


@pytest.mark.parametrize(("most", "size"), [(255, 100), (256, 200), (999, 200)])
def test_a_class_takes_a_byte_or_two(most: int, size: int) -> None:
    classes = np.arange(100) % 256
    classes[7] = most
    assert len(encode(classes)) == size
    assert decode(encode(classes), 100).tolist() == classes.tolist()
    assert encode(np.array([1, 256])) == b"\x01\x00\x00\x01"


def test_what_was_written_is_read(store: Store) -> None:
    dense, pruned = predicted(0.9), predicted(0.8)
    rows = [row(dense, pattern=None, phase="dense"), row(pruned)]
    store.write("a", [ResultRow(trial_id="a", status="done", phase="one_shot")], [], rows)
    store.write("b", [ResultRow(trial_id="b", status="done", phase="one_shot")], [])
    assert store.status("a") == store.status("b") == "done"
    store.collect(["a", "b"])
    found = store.predictions()
    assert (found.classes("a", None, "dense") == dense).all()
    assert (found.correct("a", "0.5", "one_shot") == (pruned == LABELS)).all()
    assert found.classes("b", "0.5", "one_shot") is None, "its trial was run before they were stored"
    assert found.correct("a", "0.75", "one_shot") is None
    store.collect(["a"], {"a": ["0.75"]})
    assert set(store.predictions().rows) == {("a", None, "dense")}, "those of patterns that are left out are, too"


def test_results_without_predictions_are_read_as_before(store: Store) -> None:
    store.write("a", [ResultRow(trial_id="a", status="done", phase="one_shot")], [], [row(LABELS)])
    store.collect(["a"])
    store.write("a", [ResultRow(trial_id="a", status="done", phase="one_shot")], [])
    store.collect(["a"])
    assert not store.collected_predictions.exists()
    assert store.predictions() == Predictions({})


def test_a_file_that_is_cut_off_is_found(store: Store) -> None:
    store.write("a", [ResultRow(trial_id="a", status="done")], [], [row(LABELS)])
    path = store.folder / "a.predictions.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    assert store.status("a") == DAMAGED


def test_a_file_is_small(store: Store) -> None:
    """Half a byte an image even where errors are independent; labels and equal states are stored once."""
    path = store.folder / "a.predictions.parquet"

    def size(*states: np.ndarray) -> int:
        rows = [row(classes, pattern=f"0.{number}") for number, classes in enumerate(states, 1)]
        store.write("a", [ResultRow(trial_id="a", status="done")], [], rows)
        assert pq.read_metadata(path).num_rows == len(states)
        return path.stat().st_size

    assert size(*(predicted(0.88) for _ in range(8))) < 8 * 5000
    dense = predicted(0.88)
    assert size(*[dense] * 8) < 1.2 * size(dense)

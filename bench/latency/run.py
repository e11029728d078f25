"""Measurements of many cells: those that are missing at this commit, one after another, into the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.files import check_writable
from bench.latency.engines import ENGINES
from bench.latency.measure import measure_in_subprocesses
from bench.latency.plan import plan_cells
from bench.results.folders import WORKING, check_working
from bench.results.timings import Cell, TimingRow, Timings

MODELS = (
    "deit_tiny", "deit_small", "convnext_tiny", "xcit_small", "resnet50d", "pretrained_imagenet/efficientnet_lite0",
)  # fmt: skip
BATCH_SIZES = (1, 16, 64)


@dataclass(frozen=True)
class MeasuredCell:
    """Outcome of one cell.

    Attributes:
        cell: The cell.
        rows: A row for each engine and sparsity; none if it could not be measured.
        error: Reason why it could not be measured, else None.
    """

    cell: Cell
    rows: tuple[TimingRow, ...] = ()
    error: str | None = None


class LatencyRun:
    """Cells to measure. Iterating measures those that are missing, and writes each as soon as it is measured.

    Args:
        cells: All cells.
        left_out: Reasons why engines that were asked for cannot be used here.
        timings: Measurements on disk.

    Attributes:
        missing: The cells that were not measured with this very code on such a processor yet.
    """

    def __init__(self, cells: Sequence[Cell], left_out: Sequence[str], timings: Timings) -> None:
        self.cells, self.left_out, self.timings = tuple(cells), tuple(left_out), timings
        self.missing = tuple(cell for cell in self.cells if not timings.is_measured(cell))

    def __iter__(self) -> Iterator[MeasuredCell]:
        return self.measure()

    def measure(self, begin: Callable[[Cell], object] = lambda cell: None) -> Iterator[MeasuredCell]:
        """Measures the missing cells and yields each as it is done; then joins all of this name into one file.

        Args:
            begin: Function called with each cell before it is measured.

        Raises:
            UserError: If the results cannot be written, or nothing at all was measured.
        """
        check_working(self.timings.results)
        check_writable(self.timings.folder)
        for cell in self.missing:
            begin(cell)
            try:
                rows = measure_in_subprocesses(cell)
            except RuntimeError as error:
                yield MeasuredCell(cell, error=str(error))
                continue
            self.timings.write(cell, rows)
            yield MeasuredCell(cell, tuple(rows))
        self.timings.collect()


def measure_latency(
    models: Sequence[str] = MODELS,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: Sequence[int] = (),
    engines: Sequence[str] = tuple(ENGINES),
    seconds: float = 20.0,
    memory_batch_sizes: Sequence[int] = (),
    profile: str = "imagenet",
    name: str = "latency",
    results: Path = WORKING,
) -> LatencyRun:
    """Measures how fast engines run models, dense and pruned, cell by cell as the result is iterated over.

    Weights are random, with real masks: the time depends on these alone. Nothing runs before the iteration.

    Args:
        models: Names of models in the profile, PROFILE/NAME for one of another profile, or texts of your own, as
            `bench.model_text` writes them.
        sparsities: Sparsities of the sparse engine, above 0 and below 1; its control with unpruned weights is always
            measured, too.
        batch_sizes: Images in a pass.
        threads: Threads of a pass; none for one for each core.
        engines: Names of engines; those that are not installed are left out, and eager is always measured.
        seconds: Time to measure each model, batch size and number of threads, after its engines are built, seconds.
        memory_batch_sizes: Those of the batch sizes at which each engine's memory is measured, too.
        profile: Name of the profile.
        name: Name of the measurements: they go to `results`/`name`.
        results: Folder of all results.

    Returns:
        The cells, of which iterating measures those that are missing.

    Raises:
        UserError: If a value is unknown or not valid.
    """
    cells, left_out = plan_cells(
        profile, models, sparsities, batch_sizes, threads, engines, seconds, memory_batch_sizes
    )
    return LatencyRun(cells, left_out, Timings(results, name))

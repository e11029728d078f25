"""Grid of labels, Fisher-based pruners and dampenings on one model, one-shot.

It says which dampening serves a network (`docs/real_networks.md`), and holds optimisers of one objective side by side
(`docs/pruners/chita.md`): besides the top-1 every row has the value of the pruner's own objective, `1/2 d^T F d` with d
the change of the weights, which compares between pruners of the same block size, gradients, labels and dampening.

    python -m bench.scripts.fisher_grid --model vit --damp absolute:1e-8 relative:0.1 --output runs/grid.csv

Statistics of batch normalisation can be estimated anew after pruning, too. A model and data of one's own are named as
in `capbench compare`. The gradients are taken once for all pruners of a kind of labels. What the output file has
already is not done again.
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

import cap
from bench.core.errors import UserError
from bench.core.random_state import derive_seed
from bench.data.inputs import Inputs, TensorInputs, stack_batches
from bench.evaluation.accuracy import evaluate
from bench.models import ModelSpec
from bench.specs.profiles import get_profile
from cap.batch_norm import reestimate_batch_norm

CHOICE = "validation"  # split that settings are chosen on


@dataclass(frozen=True)
class Cell:
    """One setting of a pruner on one model.

    Attributes:
        model: Name of the model, with the seed of its weights where one was asked for.
        labels: `given` or `drawn`, see `cap.Calibration`.
        gradients: m, number of gradients.
        pruner: Registered name.
        block_size: B.
        scale: Unit of the dampening.
        damp: Dampening.
        options: JSON of the pruner's other options that were given; empty for none.
        pattern: Pattern to prune to.
        batch_norm: Statistics of batch normalisation after pruning, `kept` or `reestimated`.
        split: Split that is evaluated.
        images: Number of its images.
        dense: Top-1 of the dense model, percent.
        top1: Top-1 of the pruned model, percent; None before it is measured.
        objective: Value of the pruner's objective, nats; None for a pruner without one.
    """

    model: str
    labels: str
    gradients: int
    pruner: str
    block_size: int
    scale: str
    damp: float
    options: str
    pattern: str
    batch_norm: str
    split: str
    images: int
    dense: float
    top1: float | None = None
    objective: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """All that tells the cell from others, as a file has it."""
        return tuple(str(value) for name, value in asdict(self).items() if name not in ("dense", "top1", "objective"))


class Grid:
    """All cells of one model.

    Args:
        spec: The model.
        images: Images that are evaluated.
        arguments: Options of the command.
    """

    def __init__(self, spec: ModelSpec, images: Inputs, arguments: argparse.Namespace) -> None:
        self.spec, self.images, self.arguments = spec, images, arguments
        self.name = spec.name if arguments.dense_seed is None else f"{spec.name}-{arguments.dense_seed}"
        self.model = spec.load()
        self.dense = evaluate(self.model, images).top1

    def cells(self) -> Iterator[Cell]:
        """Yields the cells, not measured, in the order in which they share most."""
        given = self.arguments
        for labels in given.labels:
            for pruner in given.pruners:
                known = cap.default_options(pruner)
                options = {"block_size": given.block_size, **given.options}
                block = options["block_size"] if "block_size" in known else 0
                own = {key: value for key, value in given.options.items() if key in known and key != "block_size"}
                other = json.dumps(own, sort_keys=True) if own else ""
                scales = given.damp if "damp_scale" in known else [("absolute", known.get("damp", 0.0))]
                for scale, damp in scales:
                    for pattern, batch_norm in itertools.product(given.patterns, given.batch_norm):
                        yield Cell(self.name, labels, given.gradients, pruner, block, scale, damp, other, pattern,
                                   batch_norm, given.split, len(self.images), round(self.dense, 3))  # fmt: skip

    def measured(self, done: set[tuple[str, ...]]) -> Iterator[Cell]:
        """Yields the cells that are not done, measured."""
        calibrations: dict[str, cap.Calibration] = {}
        fitted: tuple[Any, cap.Pruner] | None = None
        pruned: tuple[Any, cap.PrunedWeights] | None = None
        for cell in self.cells():
            if cell.key in done:
                continue
            if cell.labels not in calibrations:
                calibrations.clear()  # frees the gradients of other labels
                calibrations[cell.labels] = self.calibration(cell.labels)
            setting, reached = replace(cell, pattern="", batch_norm="").key, replace(cell, batch_norm="").key
            if fitted is None or fitted[0] != setting:
                fitted = None
                fitted = setting, self.fit(cell, calibrations[cell.labels])
            if pruned is None or pruned[0] != reached:
                pruned = reached, fitted[1].prune(cap.parse_pattern(cell.pattern))
            yield self.measure(cell, fitted[1], pruned[1], calibrations[cell.labels])

    def calibration(self, labels: str) -> cap.Calibration:
        """Returns the calibration images with one kind of labels."""
        count = self.arguments.calibration_images or self.arguments.gradients
        images, targets = stack_batches(self.spec.calibration_inputs(count, self.arguments.seed))
        seed = derive_seed(self.arguments.seed, "calibration order")
        return cap.Calibration(images, targets, batch_size=32, seed=seed, share=True, label_source=labels)  # type: ignore[arg-type]

    def fit(self, cell: Cell, calibration: cap.Calibration) -> cap.Pruner:
        """Returns a cell's pruner, fitted."""
        known = cap.default_options(cell.pruner)
        wanted = {"block_size": cell.block_size, "num_gradients": cell.gradients, **self.arguments.options}
        if "damp_scale" in known:
            wanted |= {"damp": cell.damp, "damp_scale": cell.scale}
        pruner = cap.create(cell.pruner, **{key: value for key, value in wanted.items() if key in known})
        return pruner.fit(self.model, cap.select_layers(self.model, self.spec.prunable), calibration)

    def measure(self, cell: Cell, pruner: cap.Pruner, pruned: cap.PrunedWeights, calibration: cap.Calibration) -> Cell:
        """Returns a cell with its results."""
        model: nn.Module = copy.deepcopy(self.model)
        pruned.apply_to(model)
        if cell.batch_norm != "kept":
            reestimate_batch_norm(model, calibration)
        return replace(cell, top1=round(evaluate(model, self.images).top1, 3), objective=pruner.predicted_loss(pruned))


def evaluated(spec: ModelSpec, split: str, count: int | None) -> TensorInputs:
    """Returns images of a split, decoded once.

    Args:
        spec: The model.
        split: Name of the split.
        count: Number of images; None for all.
    """
    return TensorInputs(*stack_batches(spec.evaluation_inputs(count, split)))


def read_cells(path: Path) -> list[Cell]:
    """Returns the cells of a file; none if there is no file."""
    if not path.is_file():
        return []
    types = {"gradients": int, "block_size": int, "images": int, "damp": float, "dense": float}
    with path.open() as file:
        rows: Iterable[Mapping[str, str]] = list(csv.DictReader(file))
    return [Cell(**{key: _value(types.get(key), key, text) for key, text in row.items()}) for row in rows]


def _value(kind: Any, key: str, text: str) -> Any:
    if key in ("top1", "objective"):
        return float(text) if text else None
    return kind(text) if kind is not None else text


def table(cells: Iterable[Cell], objective: bool) -> Iterator[str]:
    """Yields the lines of a Markdown table: a row a setting, a column a pattern.

    Args:
        cells: Cells of one model, measured.
        objective: Whether a cell also has the value of the objective.
    """
    cells = list(cells)
    patterns = list(dict.fromkeys(cell.pattern for cell in cells))
    yield f"| labels | pruner | dampening | {' | '.join(patterns)} |"
    yield f"|---|---|---|{'---|' * len(patterns)}"
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in cells:
        said = [f"`{cell.pruner}`", cell.options, "batch norm anew" if cell.batch_norm != "kept" else ""]
        key = (cell.labels, " ".join(filter(None, said)), f"{cell.scale} {cell.damp:g}")
        value = f", {cell.objective:.2g}" if objective and cell.objective is not None else ""
        rows.setdefault(key, {})[cell.pattern] = f"{cell.top1:.1f}{value}"
    for key, found in rows.items():
        yield f"| {' | '.join([*key, *(found.get(pattern, '') for pattern in patterns)])} |"


def dampening(text: str) -> tuple[str, float]:
    """Reads a dampening, `SCALE:VALUE`."""
    scale, _, value = text.partition(":")
    return scale, float(value)


def option(text: str) -> tuple[str, Any]:
    """Reads an option of all pruners that have it, `key=value`: JSON if it can be read so, else text."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def main() -> None:
    """Runs what is missing, then prints the table of all that the file has of the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="embedded", help="profile, or the text of data of your own")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dense-seed", type=int, help="seed that the model's weights were trained with")
    parser.add_argument("--pruners", nargs="+", default=["cap", "woodfisher", "obert", "chita"])
    parser.add_argument("--labels", nargs="+", choices=["given", "drawn"], default=["given"])
    parser.add_argument("--damp", nargs="+", type=dampening, required=True, help="SCALE:VALUE")
    parser.add_argument("--patterns", nargs="+", default=["0.5", "0.75", "0.9"])
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--gradients", type=int, default=1024)
    parser.add_argument("--options", nargs="*", type=option, default=[], help="KEY=VALUE, of pruners that have it")
    parser.add_argument("--batch-norm", nargs="+", choices=["kept", "reestimated"], default=["kept"])
    parser.add_argument("--calibration-images", type=int, help="by default as many as gradients; more for fresh ones")
    parser.add_argument("--split", default=CHOICE)
    parser.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objective", action="store_true", help="values of the objective in the table")
    parser.add_argument("--output", type=Path, required=True, help="CSV file, which grows")
    arguments = parser.parse_args()
    arguments.options = dict(arguments.options)
    try:
        spec = get_profile(arguments.profile).model(arguments.model)
        spec = spec if arguments.dense_seed is None else spec.with_seed(arguments.dense_seed)
        spec.check()
    except UserError as error:
        sys.exit(str(error))
    grid = Grid(spec, evaluated(spec, arguments.split, arguments.images), arguments)
    run(grid, arguments.output)
    for line in table((one for one in read_cells(arguments.output) if one.model == grid.name), arguments.objective):
        print(line)


def run(grid: Grid, output: Path) -> None:
    """Appends the cells that a file lacks to it."""
    done = {cell.key for cell in read_cells(output)}
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cell)])
        if not done and not file.tell():
            writer.writeheader()
        for cell in grid.measured(done):
            writer.writerow(asdict(cell))
            file.flush()
            print(f"{cell.labels} {cell.pruner} {cell.scale}:{cell.damp:g} {cell.pattern}: {cell.top1:.2f}, objective "
                  f"{cell.objective if cell.objective is None else f'{cell.objective:.4g}'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

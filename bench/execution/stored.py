"""Stored trials by id: where their rows lie, and all values that they were made with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.core.errors import UserError
from bench.results.folders import WORKING, pilot_of, published
from bench.results.parquet import DamagedError, read_rows
from bench.results.schema import SCHEMA
from bench.results.store import TRIAL_ID
from bench.specs.discovery import load_sweep, sweep_modules
from bench.specs.profiles import get_profile
from bench.specs.sweep import COMPARE
from bench.specs.trial import Trial
from cap.registry import source_file

PROVENANCE = ("commit", "dirty", "versions", "device", "threads", "processes", "host", "job", "started_at")
SHOWN = ("top1", "loss", "sparsity_prunable", "violations", "fit_seconds", "prune_seconds")  # of every row
SIMILAR = 8  # ids that a message lists


@dataclass(frozen=True)
class StoredTrial:
    """A trial that has rows.

    Attributes:
        trial_id: Identity of the trial.
        path: File with its rows: its own, or the collected one.
        rows: Its rows, {column: value}, see `bench.results.schema.ResultRow`.
        results: Folder of all results.
    """

    trial_id: str
    path: Path
    rows: tuple[Mapping[str, Any], ...]
    results: Path

    @cached_property
    def trial(self) -> Trial:
        """The trial itself, from its sweep or from the values in its rows; the id says that it is the same.

        Raises:
            UserError: If these values no longer give the id: a file, the data or a default has changed.
        """
        first = self.rows[0]
        made: list[Trial] = []
        if first["sweep"] in sweep_modules():
            made += load_sweep(first["sweep"]).profiles.get(first["profile"], ())
        try:
            made.append(Trial(**_values(self.rows)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
            reason = " ".join(str(error).split())
        else:
            reason = f"its values give {made[-1].id} today"
        for trial in made:
            if trial.id == self.trial_id:
                return trial
        raise UserError(
            f"{self.trial_id} cannot be made again: the pruner's file, data or weights are not what they were, or its "
            f"rows do not tell all of its values ({reason})"
        )

    def command(self) -> str:
        """Returns the command that made the rows, or makes them if they are missing."""
        first = self.rows[0]
        common = {"profile": (first["profile"], "embedded"), "results": (str(self.results), str(WORKING))}
        rest = "".join(f" --{key} {shlex.quote(value)}" for key, (value, usual) in common.items() if value != usual)
        model, pruner, seed = shlex.quote(first["model"]), shlex.quote(first["pruner"]), first["seed"]
        if first["sweep"] != COMPARE:
            only = f"--only model={model} --only pruner={pruner} --seeds {seed}"
            name, images = pilot_of(first["sweep"]) or (first["sweep"], None)
            pilot = f" --images {images}" if images is not None else ""
            return f"capbench run {shlex.quote(name)} {only}{pilot}{rest}"
        options = [f"{key}={json.dumps(value)}" for key, value in json.loads(first["pruner_options"]).items()]
        given = "".join(f" --option {shlex.quote(option)}" for option in options)
        tuned = " --finetune" if any(row["phase"] == "finetuned" for row in self.rows) else ""
        other = "cap" if first["pruner"] == "magnitude" else "magnitude"
        return (
            f"capbench compare --pruner {pruner}{given} --against {other} --model {model} "
            f"--sparsity {' '.join(_patterns(self.rows))} --seeds {seed}{tuned}{rest}"
        )

    def lines(self) -> Iterator[str]:
        """Yields all that identifies the rows, a value a line, then a line for every row."""
        first = self.rows[0]
        yield from (f"{name:20} {value}" for name, value in self._identity().items())
        yield from (f"{name:20} {first[name]}" for name in PROVENANCE if first[name] is not None)
        yield f"{'file':20} {self.path}"
        yield f"{'command':20} {self.command()}"
        for row in self.rows:
            state = " ".join(str(row[name]) for name in ("pattern", "phase", "status") if row[name] is not None)
            numbers = ", ".join(f"{name} {row[name]:.6g}" for name in SHOWN if row[name] is not None)
            yield f"{'row':20} {'; '.join(filter(None, (state, numbers, row['error'])))}"

    def _identity(self) -> dict[str, Any]:
        """Returns the values that the id is the hash of, as far as they can be told."""
        first = self.rows[0]
        found = {"trial": self.trial_id}
        try:
            files = json.loads(self.trial.identity_text())["files"]
            values = {**self.trial.model_dump(mode="json"), "files": files}
        except UserError as error:
            found["not the same today"] = str(error)
            values = {**_values(self.rows), "timm_name": first["timm_name"], "dataset": first["dataset"]}
        else:
            path = source_file(self.trial.pruner)
            found["pruner's file"] = str(path) if path is not None else "of this package"
        return found | {
            name: json.dumps(value, sort_keys=True) if isinstance(value, dict | list | tuple) else value
            for name, value in values.items()
        }


def find_trial(start: str, results: Path = WORKING) -> StoredTrial:
    """Finds the rows of a trial: in the file of its own, else in a collected one; for `WORKING` also in published ones.

    Args:
        start: Its id, or the first characters of it.
        results: Folder of all results.

    Raises:
        UserError: If no trial, or several, begin so.
    """
    if not re.fullmatch("[0-9a-f]{1,16}", start):
        raise UserError(f"{start!r} is no id of a trial: give some of its 16 characters 0-9 and a-f, from the first on")
    found: dict[str, Path] = {}
    folders = [results, *filter(None, [published()] if results == WORKING else [])]
    files = [
        path for folder in folders for depth in ("*/*", "*/*/*") for path in sorted(folder.glob(f"{depth}.parquet"))
    ]
    own = [path for path in files if TRIAL_ID.fullmatch(path.stem)]
    for path in own:
        if path.stem.startswith(start):
            found[path.stem] = path
    for path in files:
        if path not in own and not path.stem.endswith((".layers", ".predictions")):
            found = {trial_id: path for trial_id in _ids(path) if trial_id.startswith(start)} | found
    if not found:
        raise UserError(f"no trial in {' or '.join(map(str, folders))} has an id that begins with {start}")
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:SIMILAR]) + (", ..." if len(found) > SIMILAR else "")
        raise UserError(f"{len(found)} trials have an id that begins with {start}: {listed}")
    ((trial_id, path),) = found.items()
    rows = tuple(row for row in read_rows(path, SCHEMA).to_pylist() if row["trial_id"] == trial_id)
    return StoredTrial(trial_id, path, rows, results)


def _ids(path: Path) -> set[str]:
    """Returns the ids of the trials in a collected file; none for a file of something else."""
    try:
        if not {"trial_id", "pattern"} <= set(pq.read_schema(path).names):
            return set()
        return set(read_rows(path, SCHEMA)["trial_id"].to_pylist())
    except (OSError, ValueError, DamagedError):
        return set()


def _patterns(rows: tuple[Mapping[str, Any], ...]) -> list[str]:
    return list(dict.fromkeys(row["pattern"] for row in rows if row["pattern"] is not None))


def _values(rows: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Returns the values of a trial as its rows tell them."""
    first = rows[0]
    recipe = json.loads(first["recipe"] or "{}")
    quantization, patterns = recipe.pop("quantization", None), _patterns(rows)
    images = next((row["n_images"] for row in rows if row["n_images"] is not None), None)
    split = first["split"] or "test"
    every = get_profile(first["profile"]).splits.get(split)
    tuned = [row["pattern"] for row in rows if row["phase"] == "finetuned"]
    one_shot = first["regime"] == "one_shot"
    return {
        **{name: first[name] for name in ("sweep", "profile", "model", "pruner", "seed")},
        "pruner_options": json.loads(first["pruner_options"]),
        "patterns": patterns,
        "finetune_at": tuned if one_shot else [],
        "finetune": recipe or None if one_shot else None,
        "training": None if one_shot else recipe,
        "quantization": quantization,
        "calibration": {
            "images": first["calibration_images"],
            "batch_size": first["calibration_batch_size"],
            "gradient": first["gradient"],
            "label_source": first["label_source"] or "given",
            "augmentation": first["calibration_augmentation"],
        },
        "evaluation_images": None if images == every else images,
        "evaluation_split": split,
        "dense_seed": first["dense_seed"],
        "batch_norm": first["batch_norm"] or "kept",
        "setting": first["setting"],
        "pilot_images": first["pilot_images"],
    }

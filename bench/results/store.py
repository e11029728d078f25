"""Results of a sweep on disk: one parquet file per trial, and their collection into one table."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from bench.core import files
from bench.core.errors import UserError
from bench.results import folders
from bench.results.parquet import DamagedError, check_whole, read_rows, write_rows, write_table
from bench.results.predictions import PREDICTION_SCHEMA, PredictionRow, Predictions
from bench.results.schema import LAYER_SCHEMA, SCHEMA, LayerRow, ResultRow
from bench.results.validity import INVALID, mark_invalid

STATUSES = ("done", "skipped", INVALID, "failed", "timeout", "preempted")
FINISHED = ("done", "skipped", INVALID)  # nothing is left to run
DAMAGED = "damaged"  # status of a trial whose files cannot be read
TRIAL_ID = re.compile(r"[0-9a-f]{16}")
PREDICTION_LEVEL = 9  # of the compression, a tenth smaller than the usual one
SWEEP_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def name_mistake(name: str) -> str | None:
    """Returns why a sweep cannot have a name, which is that of its files too; None if it can."""
    if SWEEP_NAME.fullmatch(name):
        return None
    return f"{name!r} is no name of a sweep: write letters, digits, _ and -, at most 64 of them"


@dataclass(frozen=True)
class TrialFailure:
    """Failure of a trial, as its rows tell it.

    Attributes:
        error: Error in one line; None where nothing failed.
        host: Name of the machine.
        job: SLURM's id of the job, with its array task; None outside SLURM.
    """

    error: str | None = None
    host: str | None = None
    job: str | None = None


@dataclass(frozen=True)
class FinishedRows:
    """A finished trial, as its rows tell it.

    Attributes:
        trial_id: Identity of the trial.
        model: Name of the model.
        pruner: Name of the pruner.
        pruner_options: JSON of all options.
        seed: Seed of the trial.
        patterns: Patterns, in the order of the rows.
    """

    trial_id: str
    model: str
    pruner: str
    pruner_options: str
    seed: int
    patterns: tuple[str, ...]


class Store:
    """The results of one sweep in one profile.

    Args:
        root: Folder of all results.
        profile: Name of the profile.
        sweep: Name of the sweep.
        part: Name of the part of the sweep's trials that is collected by itself, in the folder of the trials; all of
            them by default.
        source: What stands for the sweep on the command line, its name or its file; None if nothing does.
        pilot_images: Images of a pilot, which the command line gives beside the source; None for no pilot.
    """

    def __init__(
        self,
        root: Path,
        profile: str,
        sweep: str,
        part: str | None = None,
        source: str | None = None,
        pilot_images: int | None = None,
    ) -> None:
        self.results, self.profile, self.sweep, self.source = root, profile, sweep, source
        self.pilot_images = pilot_images
        self.folder = root / folders.profile_folder(profile) / sweep  # a file per trial
        stem = self.folder / part if part else self.folder
        self.collected = stem.with_name(f"{stem.name}.parquet")
        self.collected_layers = stem.with_name(f"{stem.name}.layers.parquet")
        self.collected_predictions = stem.with_name(f"{stem.name}.predictions.parquet")

    def command(self, name: str) -> str | None:
        """Returns a command of the command line for this sweep, None if nothing stands for the sweep there."""
        if self.source is None:
            return None
        options = {"profile": (self.profile, "embedded"), "results": (str(self.results), str(folders.WORKING))}
        given = [f" --{key} {shlex.quote(value)}" for key, (value, default) in options.items() if value != default]
        given += [f" --images {self.pilot_images}"] if self.pilot_images is not None else []
        return f"capbench {name} {shlex.quote(self.source)}{''.join(given)}"

    def check_writable(self) -> None:
        """Makes sure that results can be written, before any work is done.

        Raises:
            UserError: If the folder cannot be made or written to, or is the published one.
        """
        folders.check_working(self.results)
        files.check_writable(self.folder)

    def path(self, trial_id: str) -> Path:
        """Returns where a trial's rows are."""
        return self.folder / f"{trial_id}.parquet"

    def write(
        self,
        trial_id: str,
        rows: Iterable[ResultRow],
        layer_rows: Iterable[LayerRow],
        predictions: Sequence[PredictionRow] = (),
    ) -> None:
        """Writes a trial: its rows last, so that a trial whose rows are there is whole."""
        path = self._predictions(trial_id)
        path.unlink(missing_ok=True)
        if predictions:
            write_rows(predictions, PREDICTION_SCHEMA, path, PREDICTION_LEVEL)
        write_rows(layer_rows, LAYER_SCHEMA, self._layers(trial_id))
        write_rows(rows, SCHEMA, self.path(trial_id))

    def log(self, trial_id: str) -> Path:
        """Returns where the traceback of a failed trial is."""
        return self.folder / f"{trial_id}.log"

    def discard_unfinished(self, pid: int) -> None:
        """Removes what a process of this machine that was ended had half written."""
        files.discard_unfinished(self.folder, pid)

    @contextlib.contextmanager
    def lock(self, trial_id: str) -> Iterator[None]:
        """Waits until no other process works on the trial; a process that ends, however it does, lets go of it."""
        with files.lock(self._lock(trial_id)):
            yield

    def is_locked(self, trial_id: str) -> bool:
        """Returns whether a process works on the trial; one on another machine is seen if the file system tells."""
        return files.is_locked(self._lock(trial_id))

    def _lock(self, trial_id: str) -> Path:
        return self.folder / f"{trial_id}.lock"

    def _layers(self, trial_id: str) -> Path:
        return self.folder / f"{trial_id}.layers.parquet"

    def _predictions(self, trial_id: str) -> Path:
        return self.folder / f"{trial_id}.predictions.parquet"

    def _tables(self, trial_id: str) -> tuple[pa.Table, pa.Table]:
        """Reads the rows of a trial and of its layers.

        Raises:
            DamagedError: If one of the two files is.
            UserError: If one is of another schema.
        """
        return read_rows(self.path(trial_id), SCHEMA), read_rows(self._layers(trial_id), LAYER_SCHEMA)

    def status(self, trial_id: str) -> str | None:
        """Returns the worst status of a trial's rows (the later of STATUSES), DAMAGED, or None if it has none.

        Raises:
            UserError: If the file is of another schema.
        """
        if not self.path(trial_id).exists():
            return None
        try:
            rows, _ = self._tables(trial_id)
            check_whole(self._predictions(trial_id))
        except DamagedError:
            return DAMAGED
        return max(set(rows["status"].to_pylist()), key=STATUSES.index)

    def failure(self, trial_id: str) -> TrialFailure:
        """Returns what the first row with an error says, of a trial that is not damaged."""
        rows = read_rows(self.path(trial_id), SCHEMA).select(["error", "host", "job"]).to_pylist()
        return next((TrialFailure(**row) for row in rows if row["error"]), TrialFailure())

    def given_up(self, trial_id: str, job: str) -> bool:
        """Returns whether the trial ended without a result in this very job, which will not try it again."""
        return self.status(trial_id) in ("failed", "timeout") and self.failure(trial_id).job == job

    def is_finished(self, trial_id: str) -> bool:
        """Returns whether there is nothing left to run."""
        return self.status(trial_id) in FINISHED

    def finished_trials(self, but: Collection[str] = ()) -> Iterator[FinishedRows]:
        """Yields the finished trials that are in the folder, in the order of their ids.

        Args:
            but: Ids of trials that are left out.
        """
        for path in sorted(self.folder.glob("*.parquet")):
            if TRIAL_ID.fullmatch(path.stem) and path.stem not in but and self.is_finished(path.stem):
                rows = read_rows(path, SCHEMA).to_pylist()
                patterns = tuple(dict.fromkeys(row["pattern"] for row in rows if row["pattern"] is not None))
                common = {name: rows[0][name] for name in ("model", "pruner", "pruner_options", "seed")}
                yield FinishedRows(path.stem, **common, patterns=patterns)

    def join(self, trial_id: str, recipe: str | None, owners: Mapping[str, str]) -> None:
        """Writes the rows of trials that are parts of one as rows of this one.

        Args:
            trial_id: Identity of the whole trial.
            recipe: The whole trial's column `recipe`.
            owners: {pattern: id of the finished trial whose rows at it are taken}, in order.
        """
        parts: list[list[pa.Table]] = [[], [], []]  # rows, layers, predictions
        first, *_ = owners.values()
        for pattern, owner in [(None, first), *owners.items()]:  # without a pattern: the dense model
            tables = (*self._tables(owner), self._prediction_table(self._predictions(owner)))
            for kept, table in zip(parts, tables, strict=True):
                found = [one == pattern for one in table["pattern"].to_pylist()]
                kept.append(table.filter(pa.array(found, pa.bool_())))
        rows, layers, predictions = (_with_value(pa.concat_tables(kept), "trial_id", trial_id) for kept in parts)
        if len(predictions):
            write_table(predictions, self._predictions(trial_id), PREDICTION_LEVEL)
        write_table(layers, self._layers(trial_id))
        write_table(_with_value(rows, "recipe", recipe), self.path(trial_id))

    def collect(self, trial_ids: Iterable[str], patterns: Mapping[str, Collection[str]] | None = None) -> pd.DataFrame:
        """Joins the given trials' files, in this order, into one table on disk and returns it.

        Those that have none, or a damaged one, are left out.

        Args:
            trial_ids: Identities of the trials.
            patterns: {trial id: patterns whose rows are taken}; a trial that is not in it gives all.

        Raises:
            UserError: If none of the trials has run, a file is of another schema, or the folder is the published one.
        """
        folders.check_working(self.results)
        tables = []
        for trial_id in trial_ids:
            if self.path(trial_id).exists():
                wanted = None if patterns is None else patterns.get(trial_id)
                with contextlib.suppress(DamagedError):
                    every = (*self._tables(trial_id), self._prediction_table(self._predictions(trial_id)))
                    tables.append(tuple(_at(table, wanted) for table in every))
        if not tables:
            run = self.command("run")
            raise UserError(f"no trial of {self.sweep} ({self.profile}) has run yet" + (f": {run}" if run else ""))
        rows, layers, predictions = (pa.concat_tables(parts) for parts in zip(*tables, strict=True))
        self.collected_predictions.unlink(missing_ok=True)
        if len(predictions):
            write_table(predictions, self.collected_predictions, PREDICTION_LEVEL)
        write_table(layers, self.collected_layers)
        write_table(rows, self.collected)
        return mark_invalid(rows.to_pandas())

    def predictions(self) -> Predictions:
        """Returns the predicted classes of the collected trials; none of trials that were run before they were stored.

        Raises:
            DamagedError: If the file is cut off or corrupted.
        """
        return Predictions.of(self._prediction_table(self.collected_predictions))

    @staticmethod
    def _prediction_table(path: Path) -> pa.Table:
        """Reads predicted classes; a file that is not there has none."""
        return read_rows(path, PREDICTION_SCHEMA) if path.exists() else PREDICTION_SCHEMA.empty_table()

    def read(self) -> pd.DataFrame:
        """Returns the collected table.

        Raises:
            UserError: If there is none, no trial in it finished, or it is damaged or of another schema.
        """
        if not self.collected.exists():
            run = self.command("run")
            raise UserError(f"{self.collected} does not exist: run the sweep first" + (f" with {run}" if run else ""))
        rows = mark_invalid(read_rows(self.collected, SCHEMA).to_pandas())
        if not ((rows["status"] == "done") & (rows["phase"] != "dense")).any():
            status = self.command("status")
            raise UserError(f"{self.collected} has no finished trial" + (f": see {status}" if status else ""))
        return rows


def _at(table: pa.Table, patterns: Collection[str] | None) -> pa.Table:
    """Returns the rows at some patterns, and those without one; all by default."""
    if patterns is None:
        return table
    kept = [pattern is None or pattern in patterns for pattern in table["pattern"].to_pylist()]
    return table.filter(pa.array(kept, pa.bool_()))


def _with_value(table: pa.Table, column: str, value: str | None) -> pa.Table:
    """Returns a table with the same text in all rows of a column."""
    texts = pa.array([value] * len(table), pa.string())
    return table.set_column(table.column_names.index(column), column, texts)

"""Submissions to the leaderboard as files: settings, rows, the pruner's own file, and what was verified of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError, model_validator

from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake
from bench.core.files import sha256
from bench.results import folders
from bench.results.labels import control_rows
from bench.results.parquet import DamagedError, read_rows
from bench.results.predictions import PREDICTION_SCHEMA, Predictions
from bench.results.schema import SCHEMA
from bench.results.validity import mark_invalid

FOLDER = Path("submissions")  # of the folder where a command is called, or of the checkout
SETTINGS, ROWS, PREDICTIONS, VERIFIED = "submission.json", "rows.parquet", "predictions.parquet", "verified.json"
PROTOCOL = 2  # version of docs/protocol.md: higher with a change that makes results incomparable
METHOD = re.compile(r"^[a-z0-9][a-z0-9_-]{0,39}$")


class SubmittedPruner(Spec):
    """A pruner of a submission.

    Attributes:
        label: Name in tables, different from that of all others.
        pruner: Name in the rows: a registered one, or `path/to/file.py:ClassName`.
        options: All options.
    """

    label: str
    pruner: str
    options: dict[str, Any]

    @property
    def options_text(self) -> str:
        """Options as JSON, as the rows have them."""
        return json.dumps(self.options, sort_keys=True)


class Settings(Spec):
    """Settings of a submission, as its `submission.json` has them.

    Attributes:
        method: Name of the method, that of its folder.
        authors: Names of the submitters.
        source: Paper or page that describes the method.
        protocol: Version of the protocol.
        suite: Version of this package.
        profile: Name of the profile.
        pruners: The submitted pruner, then those that it was compared with.
        file: Name of the submitted pruner's file in the folder; None for a pruner of this package.
        models: Names of the models.
        patterns: Sparsity patterns.
        seeds: Seeds.
        finetune: Whether models were also fine-tuned.
        configurations: Settings of the pruner that were tried for each model.
        chosen_on: Split that the settings were chosen on; `none` where one was tried.
        sha256: Checksums of the other files, {name: SHA-256}.
    """

    method: str = Field(pattern=METHOD.pattern)
    authors: str = ""
    source: str = ""
    protocol: int
    suite: str
    profile: str
    pruners: tuple[SubmittedPruner, ...] = Field(min_length=2)
    file: str | None = Field(None, pattern=r"^[\w-]+\.py$")
    models: tuple[str, ...] = Field(min_length=1)
    patterns: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    finetune: bool
    configurations: int = Field(ge=1)
    chosen_on: Literal["none", "validation", "test"]
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _with_checksums(self) -> Settings:
        if lacking := {ROWS, self.file} - {None, *self.sha256}:
            raise ValueError(f"sha256 lacks {', '.join(sorted(map(str, lacking)))}")
        return self


class RerunCell(Spec):
    """A cell that was run again.

    Attributes:
        label: Name of the pruner.
        model: Name of the model.
        pattern: Sparsity pattern.
        seed: Seed.
        agreement: `exact` or `within tolerance`.
    """

    label: str
    model: str
    pattern: str
    seed: int
    agreement: str


class Verification(Spec):
    """What was verified of a submission.

    Attributes:
        settings_sha256: Checksum of the settings, which have those of all other files.
        suite: Version of this package.
        commit: Commit of the code; None outside a checkout.
        date: Day, UTC.
        cells: Cells that were run again.
    """

    settings_sha256: str
    suite: str
    commit: str | None
    date: str
    cells: tuple[RerunCell, ...]


@dataclass(frozen=True)
class Submission:
    """A submission in its folder.

    Attributes:
        folder: The folder.
        settings: Its settings.
    """

    folder: Path
    settings: Settings

    @classmethod
    def read(cls, folder: Path) -> Submission:
        """Reads the settings of a folder.

        Raises:
            UserError: If it has none, or they are not valid.
        """
        path = folder / SETTINGS
        try:
            settings = Settings.model_validate_json(path.read_bytes())
        except OSError:
            raise UserError(f"{folder} is no submission: it has no {SETTINGS}; capbench submit makes one") from None
        except ValidationError as error:
            raise UserError(f"{path}: {first_mistake(error)}") from None
        return cls(folder, settings)

    @property
    def pruner(self) -> str:
        """Name of the submitted pruner: that of its file in the folder, or the registered one."""
        new = self.settings.pruners[0].pruner
        file = self.settings.file
        return new if file is None else f"{self.folder / file}:{new.rpartition(':')[2]}"

    @property
    def code(self) -> str:
        """Text of the pruner's file; empty where there is none."""
        file = self.settings.file
        return "" if file is None else (self.folder / file).read_text(encoding="utf-8")

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Result rows of the pruners, as `bench.results.schema.ResultRow` describes them: without the controls.

        Raises:
            UserError: If they are missing or damaged.
        """
        try:
            rows = mark_invalid(read_rows(self.folder / ROWS, SCHEMA).to_pandas())
        except (OSError, DamagedError) as error:
            raise UserError(f"{self.folder / ROWS} cannot be read: {error}") from None
        return rows[~control_rows(rows)]

    def predictions(self) -> Predictions:
        """Returns the predicted classes of the rows; none where they were not submitted."""
        path = self.folder / PREDICTIONS
        stored = PREDICTIONS in self.settings.sha256
        return Predictions.of(read_rows(path, PREDICTION_SCHEMA) if stored else PREDICTION_SCHEMA.empty_table())

    def changed_files(self) -> list[str]:
        """Returns the files that are missing, or not those that were submitted."""
        return [
            name
            for name, recorded in self.settings.sha256.items()
            if not (self.folder / name).is_file() or sha256(self.folder / name) != recorded
        ]

    def verification(self) -> Verification | None:
        """Returns what was verified of these very files; None where nothing was, or they have changed since."""
        try:
            found = Verification.model_validate_json((self.folder / VERIFIED).read_bytes())
        except (OSError, ValidationError):
            return None
        same = found.settings_sha256 == sha256(self.folder / SETTINGS) and not self.changed_files()
        return found if same else None


def find_submissions(folder: Path | None = None) -> Iterator[Submission]:
    """Yields the submissions of a folder, by name.

    Args:
        folder: Folder of all submissions; by default `submissions` where the command is called, else the checkout's.

    Raises:
        UserError: If the settings of one are not valid.
    """
    places = (FOLDER, folders.CHECKOUT / FOLDER) if folder is None else (folder,)
    place = next((one for one in places if one.is_dir()), None)
    for path in sorted(place.glob(f"*/{SETTINGS}")) if place is not None else ():
        yield Submission.read(path.parent)

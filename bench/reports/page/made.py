"""How single numbers of the page were made: code, machine, and the filters of the command that makes them alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.reports.common.origin import NO_CHECKOUT


@dataclass(frozen=True)
class Made:
    """How the rows of a cell were made.

    Attributes:
        commits: Commits of the code, 12 digits, or the version of an installed one; one with changes says so.
        devices: Names of processors or cards.
        threads: Threads of a process.
        only: The narrowest filters of `capbench run` that leave the cell, beside those for model and pruner.
    """

    commits: tuple[str, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    only: str


class MadeTable:
    """How cells were made, each way once."""

    def __init__(self) -> None:
        self._places: dict[Made, int] = {}

    def place(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Returns the place of how the rows of a cell were made, which is added where it is new."""
        first = rows[0]
        filters = {"setting": first["setting"], "sparsity": _sparsity(first)}
        filters |= {"phase": "one_shot"} if first["phase"] == "one_shot" and first["regime"] == "one_shot" else {}
        made = Made(
            commits=tuple(sorted({_code(row) for row in rows})),
            devices=tuple(sorted({str(row["device"]) for row in rows if isinstance(row["device"], str)})),
            threads=tuple(sorted({int(row["threads"]) for row in rows if not pd.isna(row["threads"])})),
            only=" ".join(f"--only {key}={value}" for key, value in filters.items() if isinstance(value, str)),
        )
        return self._places.setdefault(made, len(self._places))

    @property
    def all(self) -> tuple[Made, ...]:
        """All of them, by place."""
        return tuple(self._places)


def _sparsity(row: Mapping[str, Any]) -> str | None:
    value = row.get("sparsity", row.get("sparsity_target"))
    return None if value is None or pd.isna(value) else f"{value:g}"


def _code(row: Mapping[str, Any]) -> str:
    """Returns the code that made a row."""
    changed = " with changes" if row["dirty"] is True or row["dirty"] == 1 else ""
    if isinstance(row["commit"], str):
        return row["commit"][:12] + changed
    versions = json.loads(row["versions"]) if isinstance(row["versions"], str) else {}
    return f"{NO_CHECKOUT} {versions.get('cap-bench', 'unknown')}"

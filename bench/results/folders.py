"""Folders of results: the one that runs write to, and the published one, which git keeps."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pyarrow.parquet as pq

from bench.core.errors import UserError

WORKING = Path("runs")  # of the folder where a command is called
CHECKOUT = Path(__file__).parents[2]
PUBLISHED = "results"
TUNING = "tuning"  # sweep that settings are chosen by


def profile_folder(profile: str) -> str:
    """Returns the name of the folder of a profile's results: its own, or for a user's file or data one of its text.

    >>> profile_folder("embedded"), profile_folder("imagefolder:data/photos")
    ('embedded', 'imagefolder-data-photos-4a77b2f9')
    """
    if re.fullmatch(r"\w+", profile):
        return profile
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", profile).strip("-")[-40:].lstrip("-")
    return f"{readable}-{hashlib.sha256(profile.encode()).hexdigest()[:8]}"


def pilot_name(sweep: str, images: int) -> str:
    """Returns the name of the pilot of a sweep on so many images."""
    return f"{sweep}_pilot{images}"


def pilot_of(name: str) -> tuple[str, int] | None:
    """Returns the sweep and the images of a pilot by its name; None for what is no name of a pilot.

    >>> pilot_of("table1_pilot500"), pilot_of("table1")
    (('table1', 500), None)
    """
    found = re.fullmatch(r"(.+)_pilot([0-9]+)", name)
    return (found[1], int(found[2])) if found else None


def published() -> Path | None:
    """Returns the folder of the checkout's published results; None where this is no checkout."""
    folder = CHECKOUT / PUBLISHED
    return folder if folder.is_dir() and (CHECKOUT / "pyproject.toml").is_file() else None


def is_published(folder: Path) -> bool:
    """Returns whether a folder of results is the published one."""
    found = published()
    return found is not None and folder.resolve() == found.resolve()


def source(file: str | Path, results: Path) -> Path:
    """Returns the folder to read a file from: for `WORKING`, where it is not there, the published one that has it.

    Args:
        file: Path within a folder of results.
        results: Folder of all results that the user names.
    """
    found = published()
    if results == WORKING and not (results / file).exists() and found is not None and (found / file).exists():
        return found
    return results


def collected_sweeps(profile: str, results: Path) -> list[str]:
    """Returns the names of all sweeps with collected results; for `WORKING` those that are published count, too.

    The one that settings are chosen by is left out, and so are pilots: their rows are no results.

    Args:
        profile: Name of the profile.
        results: Folder of all results that the user names.
    """
    found = published()
    roots = [results, *([found] if results == WORKING and found is not None else [])]
    paths = [path for root in roots for path in sorted((root / profile).glob("*.parquet"))]
    names = dict.fromkeys(path.stem for path in paths if "." not in path.stem)  # those of rows alone
    return [name for name in names if name != TUNING and pilot_of(name) is None]


def reports(results: Path) -> Path:
    """Returns the folder to write reports to: that of the results, but for published ones the working folder."""
    return WORKING if is_published(results) else results


def check_working(folder: Path) -> None:
    """Refuses the published folder as the place of a run's results.

    Raises:
        UserError: If it is that folder.
    """
    if is_published(folder):
        raise UserError(
            f"{folder} has the published results, which `capbench publish` alone changes: give another --results"
        )


def paper_values(results: Path) -> Path:
    """Returns the file with the paper's own values, that of the checkout where a folder of results has none."""
    own, found = results / "paper_values.csv", published()
    return own if own.exists() or found is None else found / own.name


def shown(path: Path) -> Path:
    """Returns a path as it is shown: relative to the current folder where it is within."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def describe_source(folder: Path, file: str, column: str, unit: str) -> str:
    """Returns which rows are shown and how many; for working ones also how many are published, in one line.

    Args:
        folder: Folder of results that they are read from.
        file: Parquet file within it.
        column: Name of the column that tells one unit from another.
        unit: Name of a unit: trial, cell.
    """

    def content(path: Path) -> str:
        names = pq.read_table(path, columns=[column])[column].to_pylist()
        count = len(set(names))
        return f"{count} {unit}{'' if count == 1 else 's'}, {len(names)} rows"

    found = published()
    if is_published(folder):
        return f"published {shown(folder / file)}: {content(folder / file)}"
    beside = found is not None and folder == WORKING and (found / file).exists()
    other = f"; published in {shown(found / file)}: {content(found / file)}" if beside and found is not None else ""
    return f"{shown(folder / file)}: {content(folder / file)}{other}"

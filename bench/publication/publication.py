"""Set of files that replaces the published one as a whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError
from bench.results.folders import PUBLISHED, shown


@dataclass(frozen=True)
class Publication:
    """Results that may be published, and what that changes.

    Attributes:
        root: Top folder of the checkout.
        folder: Folder of the set, within that of the published results.
        names: Names of the files that belong to the set.
        changes: Lines that say what changes.
        render: Function that writes the set to a folder of results, and its table to a document or None.
    """

    root: Path
    folder: str
    names: re.Pattern[str]
    changes: tuple[str, ...]
    render: Callable[[Path, Path | None], object]

    def write(self, into: Path | None = None) -> list[Path]:
        """Publishes: all files are made elsewhere first, and put into their places at the end, together.

        Args:
            into: Markdown document of the checkout whose marked place receives the compact table.

        Returns:
            The files that were written or removed.

        Raises:
            UserError: If the document has no such place, or files cannot be written; nothing has changed then.
        """
        target = self.root / PUBLISHED / self.folder
        try:
            with _staging(self.root) as staging:
                made = staging / PUBLISHED / self.folder
                made.mkdir(parents=True)
                document = self._copy(into, staging) if into is not None else None
                self.render(staging / PUBLISHED, document)
                files = {target / path.name: path for path in sorted(made.iterdir()) if self._belongs(path)}
                if into is not None and document is not None:
                    files[into] = document
                target.mkdir(parents=True, exist_ok=True)
                obsolete = [path for path in sorted(target.iterdir()) if self._belongs(path) and path not in files]
                _replace_together(files, obsolete, staging)
        except OSError as error:
            raise UserError(f"cannot publish to {target}: {error.strerror or error}; nothing has changed") from None
        return [shown(path) for path in (*files, *obsolete)]

    def _belongs(self, path: Path) -> bool:
        return path.is_file() and self.names.fullmatch(path.name) is not None

    def _copy(self, document: Path, staging: Path) -> Path:
        """Copies a document to the same place in the staged tree, so that its links are the same."""
        if not document.is_file():
            raise UserError(f"{document} does not exist")
        if not document.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{document} is not in the checkout {self.root}: give --into one of its documents")
        copy = staging / document.resolve().relative_to(self.root.resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(document, copy)
        return copy


@contextlib.contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """Yields a folder on the same file system, which is removed at the end."""
    folder = root / f".publish.{os.getpid()}"
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_together(files: Mapping[Path, Path], obsolete: Sequence[Path], staging: Path) -> None:
    """Renames files to their places and removes obsolete ones; undoes it all if one of these fails.

    Args:
        files: {place: new file on the same file system}.
        obsolete: Files to remove.
        staging: Folder for copies of the old files.
    """
    places = (*files, *obsolete)
    copies = {place: staging / f"old.{number}" for number, place in enumerate(places) if place.exists()}
    for place, copy in copies.items():
        shutil.copy2(place, copy)
    try:
        for place, new in files.items():
            os.replace(new, place)
        for place in obsolete:
            place.unlink()
    except BaseException:
        for place in places:
            with contextlib.suppress(OSError):
                if place in copies:
                    os.replace(copies[place], place)
                else:
                    place.unlink(missing_ok=True)
        raise

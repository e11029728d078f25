"""Packages that only some of the suite needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UserError

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"  # in a checkout


def missing(packages: Sequence[str]) -> list[str]:
    """Returns the packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def require(packages: Sequence[str], extra: str, purpose: str) -> None:
    """Makes sure that packages are installed.

    Args:
        packages: Names that are imported.
        extra: Name of this project's optional dependencies that bring them.
        purpose: Beginning of the sentence that says what needs them.

    Raises:
        UserError: If one is missing.
    """
    if absent := missing(packages):
        project = f"-c constraints.txt -e '.[{extra}]'" if CONSTRAINTS.is_file() else f"'cap-bench[{extra}]'"
        raise UserError(f"{purpose} needs {', '.join(absent)}: pip install {project}")

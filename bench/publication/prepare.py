"""Publication of a sweep or of measurements, by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.core.errors import UserError
from bench.publication.checkout import Checkout
from bench.publication.measurements import (
    BENCHMARKS,
    MEASUREMENTS,
    SPEEDUP,
    benchmarks_publication,
    speedup_publication,
)
from bench.publication.publication import Publication
from bench.publication.sweeps import redrawn_publication, sweep_publication
from bench.publication.tuning import tuning_publication
from bench.results import folders
from bench.specs.discovery import sweep_modules
from bench.specs.sweep import Sweep


def prepare_publication(
    sweep: Sweep | str, profile: str = "embedded", results: Path = folders.WORKING, redraw: bool = False
) -> Publication:
    """Makes sure that results may be published in this checkout, and returns what that changes.

    Args:
        sweep: The sweep, its name, or `speedup` or `benchmarks` for what was measured.
        profile: Name of the profile of a sweep.
        results: Working folder.
        redraw: Whether the rows of the sweep are those that are published, with new tables and figures.

    Raises:
        UserError: If results are missing, failed, break their pattern, or are not of this checkout's code as
            committed.
    """
    if not (folders.CHECKOUT / "pyproject.toml").is_file():
        raise UserError("results are published in a checkout of the repository; this is an installed package")
    checkout, name = Checkout(folders.CHECKOUT), sweep if isinstance(sweep, str) else sweep.name
    if redraw and name in (*MEASUREMENTS, folders.TUNING):
        raise UserError(f"{name} cannot be drawn anew: --redraw is for the sweeps of pruned models")
    if sweep == SPEEDUP:
        return speedup_publication(results, checkout)
    if sweep == BENCHMARKS:
        return benchmarks_publication(results, replace(checkout, code=(*checkout.code, "tests/benchmarks")))
    if name == folders.TUNING:
        return tuning_publication(profile, results, checkout, sweep if isinstance(sweep, Sweep) else None)
    if isinstance(sweep, str) and sweep not in sweep_modules():
        known = ", ".join((*sweep_modules(), *MEASUREMENTS))
        raise UserError(f"cannot publish {sweep!r}, which is not of this checkout: choose from {known}")
    if redraw:
        return redrawn_publication(name, profile, checkout)
    return sweep_publication(sweep, profile, results, checkout)

"""Cells to measure: models, batch sizes and numbers of threads, each with the engines that can be used here."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

from pydantic import ValidationError

from bench.core.errors import UserError, first_mistake
from bench.latency.engines import BASELINE, ENGINES, EngineConfig
from bench.latency.models import OWN, find_model
from bench.models.own_shapes import file_checksum, is_own
from bench.results.timings import Cell


def plan_cells(
    profile: str,
    models: Sequence[str],
    sparsities: Sequence[float],
    batch_sizes: Sequence[int],
    threads: Sequence[int],
    engines: Sequence[str],
    seconds: float,
    memory_batch_sizes: Sequence[int],
) -> tuple[list[Cell], list[str]]:
    """Returns the cells to measure, and why engines that were asked for are left out.

    Args:
        profile: Name of the profile.
        models: Names of models in the profile, PROFILE/NAME for one of another, or texts of a user's own.
        sparsities: Sparsities of the sparse engine, above 0 and below 1.
        batch_sizes: Images in a pass.
        threads: Threads of a pass; none for one for each core.
        engines: Names of `bench.latency.engines.ENGINES`; eager is always measured.
        seconds: Time that the rounds of a cell should take, seconds.
        memory_batch_sizes: Those of the batch sizes at which memory is measured, too.

    Raises:
        UserError: If a value is unknown or not valid.
    """
    cores = len(os.sched_getaffinity(0))
    threads = threads or (cores,)
    places = list(dict.fromkeys(_profile_and_name(name, profile) for name in models))
    for place in places:
        find_model(*place)
    if unknown := [name for name in engines if name not in ENGINES]:
        raise UserError(f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    if too_many := [number for number in threads if number > cores]:
        raise UserError(f"--threads {too_many[0]} is more than the {cores} cores that this process may use")
    if outside := [sparsity for sparsity in sparsities if not 0 < sparsity < 1]:
        raise UserError(f"--sparsity {outside[0]} is not valid: give numbers above 0 and below 1; 0 is always measured")
    if stray := sorted(set(memory_batch_sizes) - set(batch_sizes)):
        raise UserError(f"--memory {stray[0]} is none of --batch {' '.join(map(str, batch_sizes))}")
    reasons = {name: ENGINES[name].missing() for name in ENGINES if name in {BASELINE, *engines}}
    usable = tuple(name for name, reason in reasons.items() if reason is None)
    try:
        cells = [
            Cell(
                profile=place[0], model=place[1], file=file_checksum(place[1]), batch=batch,
                threads=number, engines=usable,
                sparsities=tuple(sorted(set(sparsities))), seconds=seconds, memory=batch in memory_batch_sizes,
            )
            for place, number, batch in itertools.product(places, dict.fromkeys(threads), dict.fromkeys(batch_sizes))
        ]  # fmt: skip
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None
    return cells, [reason for reason in reasons.values() if reason is not None]


def _profile_and_name(model: str, profile: str) -> tuple[str, str]:
    """Returns the profile and the name of a model that may have its profile before it, or be a user's own."""
    if is_own(model):
        return OWN, model
    place, separator, name = model.rpartition("/")
    return (place, name) if separator else (profile, model)


def engine_configs(cell: Cell) -> list[EngineConfig]:
    """Returns what a cell compares: the dense engines, the sparse one's control, the sparse one at each sparsity."""
    dense = [EngineConfig(name) for name in cell.engines if ENGINES[name].dense]
    sparse = [name for name in cell.engines if not ENGINES[name].dense]
    return [*dense, *(EngineConfig(name, sparsity) for name in sparse for sparsity in (0.0, *cell.sparsities))]

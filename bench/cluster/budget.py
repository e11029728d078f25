"""Choice of the trials that a number of hours is best spent on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cluster import estimate
from bench.cluster.config import ClusterConfig
from bench.cluster.rates import Rates
from bench.core.errors import UserError
from bench.core.files import atomic_write
from bench.execution.executor import group_by_calibration
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial

TEMPLATE = '''"""{title}.

Written by `capbench plan {source} --budget {hours:g}h`.
"""

import json

from bench import Sweep, Trial

TRIALS = [Trial(**json.loads(line)) for line in (
{lines}
)]
SWEEP = Sweep(name={name!r}, title={title!r}, profiles={{{profile!r}: tuple(TRIALS)}})
'''


@dataclass(frozen=True)
class Cell:
    """Trials of one model that belong together: all pruners and seeds, or nothing could be compared.

    Attributes:
        label: Model, and what is done with it.
        trials: The trials.
        hours: Time that they take on one device.
    """

    label: str
    trials: tuple[Trial, ...]
    hours: float


def choose_cells(
    trials: Sequence[Trial], hours: float, config: ClusterConfig, rates: Rates
) -> tuple[list[Cell], list[Cell]]:
    """Returns the cells that fit into a number of hours, and those that do not.

    One-shot pruning of all models comes before any training, small models before large ones. A cell with training has
    its one-shot rows too, and takes the place of that of one-shot pruning alone.

    Args:
        trials: Trials of one sweep.
        hours: Hours of one device.
        config: Settings of each job.
        rates: Rates of the device.
    """
    models = list(dict.fromkeys(trial.model for trial in trials))
    whole = [_cell(model, [t for t in trials if t.model == model], config, rates) for model in models]
    short = [_cell(f"{cell.trials[0].model} one-shot", _one_shot(cell.trials), config, rates) for cell in whole]
    chosen: dict[str, Cell] = {}
    spent, left = 0.0, []
    for cells in (short, whole):
        for cell in sorted((one for one in cells if one.trials), key=lambda one: one.hours):
            model = cell.trials[0].model
            cost = cell.hours - (chosen[model].hours if model in chosen else 0.0)
            if model in chosen and cost <= 0:  # nothing is trained
                continue
            if spent + cost <= hours:
                spent, chosen[model] = spent + cost, cell
            else:
                left.append(cell)
    return list(chosen.values()), left


def _cell(label: str, trials: Sequence[Trial], config: ClusterConfig, rates: Rates) -> Cell:
    groups = group_by_calibration(trials)
    seconds = sum(sum(estimate.group_seconds(group, rates, config.cpus_per_task)) for group in groups)
    return Cell(label, tuple(trials), (seconds + estimate.START * len(groups)) / 3600)


def _one_shot(trials: Sequence[Trial]) -> list[Trial]:
    """Returns trials without their fine-tunes; none of those that are pruned during training."""
    return [
        trial.model_copy(update={"finetune_at": (), "finetune": None}) for trial in trials if trial.training is None
    ]


def write_budget(
    trials: Sequence[Trial], hours: float, config: ClusterConfig, rates: Rates, folder: Path = Path()
) -> Iterator[str]:
    """Writes the trials that fit into a number of hours as a sweep, and yields what it has, line by line.

    Args:
        trials: Trials of one sweep and profile.
        hours: Hours of one device.
        config: Settings of each job.
        rates: Rates of the device.
        folder: Folder of the file.

    Raises:
        UserError: If nothing fits.
    """
    chosen, left = choose_cells(trials, hours, config, rates)
    if not chosen:
        least = min(left, key=lambda cell: cell.hours)
        raise UserError(f"nothing fits into {hours:g} h: {least.label} alone takes {least.hours:.2g} h")
    first = trials[0]
    name = f"{first.sweep}_{hours:g}h".replace(".", "-")
    title = f"What {hours:g} hours are best spent on of {first.sweep}"
    named = [trial.model_copy(update={"sweep": name}) for cell in chosen for trial in cell.trials]
    sweep = Sweep(name=name, title=title, profiles={first.profile: tuple(named)})
    lines = "\n".join(f"    {json.dumps(trial.model_dump_json())}," for trial in named)
    path = folder / f"{sweep.name}.py"
    with atomic_write(path) as temporary:
        temporary.write_text(
            TEMPLATE.format(title=title, source=first.sweep, hours=hours, lines=lines, name=name, profile=first.profile)
        )
    for cell in chosen:
        yield f"budget    {cell.hours:8,.1f} h  {cell.label}, {len(cell.trials)} trials"
    spent = sum(cell.hours for cell in chosen)
    yield f"          {spent:,.1f} of {hours:g} h; {len(left)} cells do not fit; written: {path}"


def read_hours(text: str) -> float:
    """Returns the hours of a budget such as `100h`.

    Raises:
        UserError: If it is none.
    """
    try:
        hours = float(text.removesuffix("h"))
    except ValueError:
        hours = 0.0
    if not 0 < hours < float("inf"):
        raise UserError(f"--budget {text} is not valid: give hours of one device, such as 100h")
    return hours

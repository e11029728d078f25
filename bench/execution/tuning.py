"""Choice of settings by the trials of the sweep `tuning`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.execution.executor import Executor
from bench.execution.selection import TrialSelection, select_trials
from bench.execution.sweeps import run_missing
from bench.results.folders import TUNING, WORKING
from bench.results.store import Store
from bench.results.tuned import (
    CONFIGURATIONS,
    TriedSettings,
    TunedPruner,
    TunedRate,
    TunedSettings,
    mean_of,
    read_file,
    tuned_file,
)
from bench.specs.discovery import load_sweep, sweep_modules
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial
from bench.specs.tuning import TUNING_SEED, tuning_sweep

CHOSEN = {"settings": "one_shot", "rates": "finetuned"}  # phase of the rows that decide


def select_tuning(
    profile: str = "embedded",
    pruners: Sequence[str] = (),
    models: Sequence[str] = (),
    results: Path = WORKING,
    sweep: Sweep | None = None,
) -> TrialSelection:
    """Returns the trials that settings are chosen by, with the place of their results.

    Args:
        profile: Name of the profile.
        pruners: Names of the pruners, or `path/to/file.py:ClassName`; none for all of this package, and the fine-tune.
        models: Names of models; none for all of the profile.
        results: Folder of all results.
        sweep: The sweep, see `bench.specs.tuning.tuning_sweep`; by default that of the other arguments.

    Raises:
        UserError: If a pruner, a model or a search space is not valid, or the profile has no validation images.
    """
    whole = sweep is None and not (pruners or models)
    if whole and TUNING in sweep_modules() and profile in load_sweep(TUNING).profiles:
        return select_trials(TUNING, profile, results=results)
    made = sweep or tuning_sweep(profile, pruners, models)
    trials = made.trials(profile)
    trials[0].resolve()  # refuses a profile without validation images
    digest = hashlib.sha256(json.dumps([trial.id for trial in trials]).encode()).hexdigest()[:8]
    store = Store(results, profile, TUNING, f"part-{digest}")
    return TrialSelection(f"{TUNING} ({profile})", results, store, trials, trials)


def tune(
    profile: str = "embedded",
    pruners: Sequence[str] = (),
    models: Sequence[str] = (),
    results: Path = WORKING,
    executor: Executor | None = None,
) -> TunedSettings:
    """Runs what is missing of the tuning, chooses the settings and writes them into the folder of results.

    Args:
        profile: Name of the profile.
        pruners: Names of the pruners, or `path/to/file.py:ClassName`; none for all of this package, and the fine-tune.
        models: Names of models; none for all of the profile.
        results: Folder of all results.
        executor: Place where the trials run; by default processes of this machine, one for each core.

    Returns:
        What was chosen now.

    Raises:
        UserError: If an argument is not valid, a trial cannot run, or a pruner has no result.
    """
    selection = select_tuning(profile, pruners, models, results)
    with closing(run_missing(selection, executor)) as finished:
        for _ in finished:
            pass
    return store_choices(selection)


def store_choices(selection: TrialSelection) -> TunedSettings:
    """Chooses the settings by the results of all trials of a selection, and writes them beside earlier choices.

    Returns:
        What was chosen now.

    Raises:
        UserError: If a trial has no result yet, or a pruner none at all.
    """
    found = choose(selection.trials, selection.collect().rows)
    path = tuned_file(selection.store.profile, selection.results)
    before = read_file(path)
    (before.joined(found) if before is not None else found).write(path)
    return found


def choose(trials: Sequence[Trial], rows: pd.DataFrame) -> TunedSettings:
    """Returns the settings with the highest mean top-1 over the patterns, and the rates with the highest over pruners.

    Args:
        trials: Trials as `bench.specs.tuning.tuning_sweep` orders them.
        rows: Result rows of all of them, as `bench.results.schema.ResultRow` describes them.

    Raises:
        UserError: If a trial has no rows, or no settings of a pruner have a valid result at every pattern.
    """
    top1 = _top1(rows)
    if missing := [trial.label for trial in trials if trial.id not in set(rows["trial_id"])]:
        raise UserError(f"{len(missing)} of {len(trials)} trials of tuning have not run: {missing[0]}")
    pruners = tuple(_settings(trials, top1))
    commits = set(rows["commit"])
    clean = len(commits) == 1 and not rows["dirty"].fillna(True).any()
    first = trials[0]
    return TunedSettings(
        profile=first.profile,
        split=first.evaluation_split,
        evaluation_images=first.evaluation_images,
        dense_seed=first.dense_seed,
        tuning_seed=TUNING_SEED,
        configurations=CONFIGURATIONS,
        commit=commits.pop() if clean else None,
        pruners=pruners,
        rates=tuple(_rates(trials, top1)),
    )


TopOne = dict[tuple[str, str, str], float]


def _top1(rows: pd.DataFrame) -> TopOne:
    """Returns the top-1 of valid rows, {(trial, pattern, phase): percent}."""
    done = rows[(rows["status"] == "done") & rows["pattern"].notna()]
    keys = zip(done["trial_id"], done["pattern"], done["phase"], strict=True)
    return dict(zip(keys, done["top1"].astype(float), strict=True))


def _settings(trials: Sequence[Trial], top1: TopOne) -> Iterator[TunedPruner]:
    """Yields the choice of settings of each pruner on each model."""
    plain = [trial for trial in trials if trial.finetune is None]
    for (model, pruner), part in groupby(plain, lambda trial: (trial.model, trial.pruner)):
        tried = tuple(
            TriedSettings(
                pruner_options=trial.pruner_options,
                calibration=trial.calibration.model_dump(mode="json"),
                trial_id=trial.id,
                top1={pattern: top1.get((trial.id, pattern, CHOSEN["settings"])) for pattern in trial.patterns},
            )
            for trial in part
        )
        means = [one.mean for one in tried]
        best = max((mean for mean in means if mean is not None), default=None)
        if best is None:
            raise UserError(f"no settings of {pruner} on {model} have a valid result at {', '.join(tried[0].top1)}: "
                            f"capbench status {TUNING} says why")  # fmt: skip
        yield TunedPruner(model=model, pruner=pruner, tried=tried, chosen=means.index(best))


def _rates(trials: Sequence[Trial], top1: TopOne) -> Iterator[TunedRate]:
    """Yields the choice of the learning rate on each model, from the mean of the pruners, all of equal weight."""
    trained = [(trial, trial.finetune) for trial in trials if trial.finetune is not None]
    for model, part in groupby(trained, lambda pair: pair[0].model):
        tried = list(part)
        rates = tuple(dict.fromkeys(recipe.lr for _, recipe in tried))
        found = {
            (trial.pruner, recipe.lr): top1.get((trial.id, trial.finetune_at[0], CHOSEN["rates"]))
            for trial, recipe in tried
        }
        pruners = tuple(dict.fromkeys(trial.pruner for trial, _ in tried))
        by_pruner = {pruner: tuple(found[pruner, rate] for rate in rates) for pruner in pruners}
        means = [mean_of([by_pruner[pruner][place] for pruner in pruners]) for place in range(len(rates))]
        best = max((mean for mean in means if mean is not None), default=None)
        if best is None:
            raise UserError(f"no learning rate on {model} has results of all pruners: capbench status {TUNING}")
        ids = tuple(trial.id for trial, _ in tried)
        yield TunedRate(model=model, rates=rates, top1=by_pruner, chosen=means.index(best), trials=ids)

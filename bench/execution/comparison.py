"""Comparison of a new pruner with others: from the trials to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.execution.contract import check_contract
from bench.execution.executor import Executor
from bench.execution.reuse import sources
from bench.execution.selection import TrialSelection
from bench.execution.sweeps import run_missing
from bench.reports.comparison.report import ComparisonReport
from bench.results.folders import WORKING
from bench.results.store import Store
from bench.specs.comparison import Comparison, plan
from bench.specs.sweep import COMPARE

AGAINST = ("cap", "woodfisher", "magnitude")
SPARSITIES = ("0.5", "0.75", "0.9")
SEEDS = (0, 1, 2)


def select_comparison(comparison: Comparison, results: Path = WORKING) -> TrialSelection:
    """Returns the trials of a comparison with the place of their results; what has run is reused pattern by pattern."""
    profile = comparison.profile.name
    others = ", ".join(other.label for other in comparison.against)
    decided = [profile, *([comparison.split] if comparison.split != "test" else []), comparison.setting]
    decided += ["batch normalisation estimated anew"] if comparison.batch_norm != "kept" else []
    title = f"{comparison.new.label} against {others} ({', '.join(filter(None, decided))})"
    store = Store(results, profile, COMPARE, comparison.name)
    found = tuple(sources(store, comparison.trials))
    trials = tuple(source.trial for source in found)
    return TrialSelection(title, results, store, trials, trials, {one.trial.id: one.patterns for one in found})


def compare(
    pruner: str,
    options: Mapping[str, Any] | None = None,
    against: Sequence[str] = AGAINST,
    models: Sequence[str] = (),
    sparsities: Sequence[str] = SPARSITIES,
    seeds: Sequence[int] = SEEDS,
    finetune: bool = False,
    profile: str = "embedded",
    results: Path = WORKING,
    executor: Executor | None = None,
    check: bool = True,
    split: str = "test",
    setting: str | None = None,
    batch_norm: str = "kept",
) -> ComparisonReport:
    """Compares a new pruner with others on the same images, seeds and budget; only what is not done yet runs.

    Args:
        pruner: The new pruner: `path/to/file.py:ClassName`, or a registered name.
        options: Options of the new pruner, {name: value}.
        against: Names of the pruners to compare it with.
        models: Names of models; none for those of the profile with several dense models, or where none has for all.
        sparsities: Sparsities or other patterns: 0.75, 0.75@layer, 0.75@blocks4, 2:4.
        seeds: Seeds; each is another dense model where there are several, and draws other calibration images.
        finetune: Whether models are also fine-tuned after every pattern, and the dense ones, by the protocol's recipe.
        profile: Name of the profile.
        results: Folder of all results.
        executor: Place where the trials run; by default processes of this machine, one for each core.
        check: Whether the new pruner must keep the contract of `cap.testing` before anything runs.
        split: Split that is evaluated: `test` or `validation`.
        setting: Whose settings all pruners have: `authors`, or `tuned`; None for those of the profile.
        batch_norm: Statistics of batch normalisation after every pruning: `kept` from the dense model, or `reestimated`
            on the calibration images, for all pruners and counted in their cost.

    Returns:
        The report, with its cells, verdicts and files to write.

    Raises:
        UserError: If an argument is not valid, a trial cannot run, or the new pruner breaks the contract or has no
            result.
    """
    comparison = plan(
        pruner,
        options or {},
        against,
        models,
        sparsities,
        seeds,
        finetune,
        profile,
        split,
        setting,
        results,
        batch_norm,
    )
    selection = select_comparison(comparison, results)
    if check:
        check_contract(comparison, selection.missing())
    with closing(run_missing(selection, executor)) as finished:
        for _ in finished:
            pass
    rows = selection.collect().rows
    return ComparisonReport(rows, comparison.entries(), selection.title, selection.store.predictions())

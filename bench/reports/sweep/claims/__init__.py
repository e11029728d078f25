"""The paper's claims by a sweep's results, as findings with the numbers in them; a claim a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bench.reports.sweep.claims.ablation import option_effects
from bench.reports.sweep.claims.accuracy_at_75 import keeps_accuracy_at_75
from bench.reports.sweep.claims.attribution import gain_of_layer_sparsities, shares_of_mask_and_update
from bench.reports.sweep.claims.fastcap import fastcap_against_cap
from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.claims.gradual import one_run_gives_all_sparsities
from bench.reports.sweep.claims.int8 import keeps_accuracy_in_int8
from bench.reports.sweep.claims.n_m import follows_n_m_patterns
from bench.reports.sweep.claims.one_shot_lead import leads_one_shot
from bench.reports.sweep.claims.per_layer import per_layer_ranking
from bench.reports.sweep.claims.recipe import recipe_beats_usual
from bench.reports.sweep.claims.self_supervised import large_models_keep_accuracy, small_models_keep_features
from bench.reports.sweep.claims.structured import prunes_structures
from bench.reports.sweep.summary import SweepResults, pruned
from bench.results.labels import PHASES, pattern_in_words
from bench.results.predictions import Predictions

Claim = Callable[[SweepResults], list[Finding]]
CLAIMS: tuple[Claim, ...] = (  # in the order in which they are reported
    keeps_accuracy_at_75,
    leads_one_shot,
    recipe_beats_usual,
    follows_n_m_patterns,
    prunes_structures,
    keeps_accuracy_in_int8,
    large_models_keep_accuracy,
    small_models_keep_features,
    one_run_gives_all_sparsities,
    option_effects,
    fastcap_against_cap,
    per_layer_ranking,
    shares_of_mask_and_update,
    gain_of_layer_sparsities,
)


@dataclass(frozen=True)
class CheckedFinding:
    """A finding with the check that it comes from.

    Attributes:
        check: Function that decides the claim.
        finding: What it found.
    """

    check: Claim
    finding: Finding


def findings(results: SweepResults) -> list[CheckedFinding]:
    """Returns what the results of a sweep say on the claims that they can decide."""
    if results.done.empty:
        return []
    return [CheckedFinding(claim, found) for claim in CLAIMS for found in claim(results)]


def claims(rows: pd.DataFrame, predictions: Predictions | None = None) -> list[str]:
    """Returns what rows say on the claims that they can decide, a sentence or a few each.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        predictions: Predicted classes of the rows, where they are stored.
    """
    return claim_sentences(SweepResults.of(rows, predictions))


def claim_sentences(results: SweepResults) -> list[str]:
    """Returns what the results of a sweep say on the claims that they can decide, a sentence or a few each."""
    return [found.finding.sentence for found in findings(results)] + left_out(results.rows)


def left_out(rows: pd.DataFrame) -> list[str]:
    """Returns a sentence on the cells that no claim uses; none where all rows are valid."""
    every = pruned(rows)
    cells = every.loc[every["invalid"], ["name", "pattern", "model", "phase"]].drop_duplicates()
    if cells.empty:
        return []
    listed = "; ".join(
        f"{name} {pattern_in_words(pattern)} {PHASES[phase]} ({', '.join(part['model'])})"
        for (name, pattern, phase), part in cells.groupby(["name", "pattern", "phase"], sort=False)
    )
    return [f"No claim uses what is invalid: {listed}."]

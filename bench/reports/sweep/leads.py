"""CAP's lead over the best of all its rivals at the same sparsity, whatever way they spread it over the layers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.reports.common.text import joined
from bench.reports.sweep.estimates import Accuracy, lead_over_best
from bench.reports.sweep.summary import SweepResults, judged_rows, plain, series
from bench.results.labels import CAP, FASTCAP, GLOBAL, LAYER, percent
from bench.statistics.estimate import Estimate

MEAN = "mean"  # over models
SCOPES = (GLOBAL, LAYER, "erk")  # kinds of patterns that are a sparsity of single weights


@dataclass(frozen=True)
class Lead:
    """Lead of CAP over the best of its rivals at one sparsity.

    Attributes:
        model: Name of the model, or MEAN.
        sparsity: Fraction of zeros.
        rivals: Names of the rivals, those of all models.
        best: Name of the best of them by mean top-1; of each model where it is the mean.
        estimate: Lead, points.
    """

    model: str
    sparsity: float
    rivals: tuple[str, ...]
    best: tuple[str, ...]
    estimate: Estimate

    def __str__(self) -> str:
        low, high = self.estimate.interval()
        interval = f" ({low:+.2f} to {high:+.2f})" if self.estimate.units > 1 else ""
        return f"{self.estimate.value:+.2f}{interval} over {joined(dict.fromkeys(self.best))}"


@dataclass(frozen=True)
class _Contenders:
    """CAP and its rivals on one model at one sparsity: rows by name, CAP's first."""

    model: str
    rows: dict[str, pd.DataFrame]

    @property
    def best(self) -> str:
        rivals = list(self.rows)[1:]
        return max(rivals, key=lambda name: self.rows[name]["top1"].mean())


def leads_over_best(
    results: SweepResults, sparsities: Iterable[float], families: Collection[str] | None = None
) -> list[Lead]:
    """Returns CAP's leads one-shot on each model, and on the mean of models where there are several.

    The best rival is found anew in every resample. FastCAP is no rival; one that lacks a dense seed of CAP does not
    count.

    Args:
        results: Results with dense seeds.
        sparsities: Fractions of zeros.
        families: Families of the models; all by default.
    """
    rows = judged_rows(results.done)
    rows = rows[(rows["phase"] == "one_shot") & (rows["regime"] == "one_shot") & rows["kind"].isin(SCOPES)]
    rows = rows[rows["family"].isin(families)] if families is not None else rows
    found = []
    for sparsity in sparsities:
        parts = rows[rows["sparsity"] == sparsity].groupby("model", sort=False)
        fields = [one for model, part in parts if (one := _contenders(str(model), part)) is not None]
        found += [_lead(field.model, sparsity, [field], results) for field in fields]
        found += [_lead(MEAN, sparsity, fields, results)] if len(fields) > 1 else []
    return found


def _contenders(model: str, rows: pd.DataFrame) -> _Contenders | None:
    """Returns CAP and its rivals; None where CAP is missing, is there in several variants, or has no rival."""
    own = rows[plain(rows) & (rows["method"] == CAP)]
    seeds = set(own["dense_seed"])
    others = rows[~rows["method"].isin((CAP, FASTCAP))]
    rivals = {str(name): part for name, part in others.groupby(series(others), sort=False)
              if seeds <= set(part["dense_seed"])}  # fmt: skip
    return _Contenders(model, {CAP: own, **rivals}) if own["variant"].nunique() == 1 and rivals else None


def _lead(model: str, sparsity: float, fields: Sequence[_Contenders], results: SweepResults) -> Lead:
    accuracies = [Accuracy.of(part) for field in fields for part in field.rows.values()]
    estimate = results.estimator.estimate(lead_over_best([len(field.rows) for field in fields]), accuracies)
    assert estimate is not None
    rivals = tuple(dict.fromkeys(name for field in fields for name in list(field.rows)[1:]))
    return Lead(model, sparsity, rivals, tuple(field.best for field in fields), estimate)


def lead_sentence(leads: Sequence[Lead]) -> list[str]:
    """Returns a sentence on the leads on the mean of models, or on the only one; none where there is no lead."""
    shown = [lead for lead in leads if lead.model == MEAN] or list(leads)
    if not shown:
        return []
    rivals = list(dict.fromkeys(name for lead in shown for name in lead.rivals))
    numbers = "; ".join(f"{percent(lead.sparsity)} {lead}" for lead in shown)
    return [f"Lead in points over the best of all {len(rivals)} rivals, {joined(rivals)}, on each model: {numbers}."]


def lead_table(leads: Sequence[Lead]) -> pd.DataFrame:
    """Returns the leads as text, one row a model and one column a sparsity."""
    lines: dict[str, dict[str, str]] = {}
    for lead in leads:
        lines.setdefault(lead.model, {"model": lead.model})[percent(lead.sparsity)] = str(lead)
    return pd.DataFrame(sorted(lines.values(), key=lambda line: line["model"] == MEAN)).fillna("")

"""Verdicts by docs/protocol.md: which rows they rest on, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from bench.reports.common.text import joined
from bench.reports.sweep.claims.finding import PERCENT, Finding, JudgedCell, ProtocolRow
from bench.results.labels import CAP
from bench.statistics.estimate import Estimate
from bench.statistics.outcomes import CellTest, Outcome, judge, overall

ARCHITECTURES = {"ViT": ("vit",), "ConvNeXt": ("convnext", "cnn"), "hybrid": ("hybrid",)}  # families of the supervised
SUPERVISED = tuple(family for families in ARCHITECTURES.values() for family in families)
COLLAPSED = 0.5  # of the dense top-1


def supervised_cap(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of CAP on the supervised architectures."""
    return rows[(rows["method"] == CAP) & rows["family"].isin(SUPERVISED)]


def absent_architectures(families: Iterable[str]) -> list[str]:
    """Returns the architectures that none of these families of models is of."""
    known = set(families)
    return [name for name, members in ARCHITECTURES.items() if not known & set(members)]


def by_model(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns the rows of each model with a variant, in their order, by their names."""
    groups = rows.groupby(["model", "variant"], sort=False)
    return {f"{model} {variant}".strip(): part for (model, variant), part in groups}


def has_collapsed(parts: Iterable[pd.DataFrame]) -> bool:
    """Returns whether all compared models lost over half of the dense top-1: such a cell decides nothing."""
    return all(part["top1"].mean() < COLLAPSED * part["top1_dense"].mean() for part in parts)


def limit_verdict(
    row: ProtocolRow, drops: Mapping[str, Estimate], families: Iterable[str], quantity: str, notes: Sequence[str] = ()
) -> Finding:
    """Returns the verdict on a claim that a loss is below 1 % on each architecture.

    Args:
        row: Row of the protocol.
        drops: Loss of each cell, percent.
        families: Families of the models that the cells are of.
        quantity: What the numbers are.
        notes: Further sentences.
    """
    tests = judge(list(drops.values()))
    outcome = overall([test.outcome for test in tests])
    absent = absent_architectures(families)
    if absent and outcome is Outcome.HOLDS:
        outcome = Outcome.UNDECIDED
    lacking = [f"There is no result on {joined(absent)}."] if absent else []
    return verdict(row, outcome, quantity, judged_cells(drops, tests, PERCENT), [*lacking, *notes])


def judged_cells(
    estimates: Mapping[str, Estimate],
    tests: Sequence[CellTest],
    unit: str,
    words: tuple[str, str, str] = ("holds", "fails", "undecided"),
) -> tuple[JudgedCell, ...]:
    """Returns cells with their tests.

    Args:
        estimates: Estimate of each cell.
        tests: Test of each.
        unit: Unit of the estimates.
        words: What is said for each of the three outcomes.
    """
    said = dict(zip(Outcome, words, strict=True))
    return tuple(
        JudgedCell(name, estimate, unit, test.p_value, said[test.outcome])
        for (name, estimate), test in zip(estimates.items(), tests, strict=True)
    )


def verdict(
    row: ProtocolRow,
    outcome: Outcome,
    quantity: str,
    cells: Sequence[JudgedCell],
    notes: Sequence[str] = (),
    subject: str = "",
    corrected: int | None = None,
) -> Finding:
    """Returns a verdict that quotes the row of its claim.

    Args:
        row: Row of the protocol.
        outcome: Outcome of the claim.
        quantity: What the estimates are.
        cells: Cells, those without a verdict last.
        notes: Further sentences.
        subject: What of the claim it is about, where the row has several.
        corrected: Number of tests that p-values are corrected for; those of these cells by default.
    """
    return Finding(
        claim=row.claim,
        statement=f"{row.statement}; {subject}" if subject else row.statement,
        outcome=outcome.value,
        text=" ".join(notes),
        rule=row,
        cells=tuple(cells),
        quantity=quantity,
        corrected=corrected if corrected is not None else sum(cell.p_value is not None for cell in cells),
    )

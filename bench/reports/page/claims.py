"""The claims of all sweeps, with outcome, numbers and the check behind them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pandas as pd

from bench.reports.latency.analysis import analyse
from bench.reports.latency.claim import speedup_claim
from bench.reports.page.claim_data import ClaimCell, ClaimLine
from bench.reports.page.protocol import interval_of
from bench.reports.sweep.claims import findings
from bench.reports.sweep.claims.finding import Finding, JudgedCell
from bench.reports.sweep.summary import SweepResults
from bench.results.timings import Timings


def claim_lines(sweep: str, results: SweepResults, command: str) -> list[ClaimLine]:
    """Returns what the results of a sweep say on claims.

    Args:
        sweep: Name of the sweep.
        results: Its results.
        command: Command that prints it.
    """
    return [_line(sweep, found.finding, found.check, command) for found in findings(results)]


def speedup_line(timings: Timings, accuracies: pd.DataFrame) -> list[ClaimLine]:
    """Returns what measured times say on the claim on speed; nothing where they say none.

    Args:
        timings: Measurements that are there.
        accuracies: What the embedded models keep, as `bench.reports.latency.analysis.accuracy` returns it.
    """
    finding = speedup_claim(analyse(timings.read()), accuracies)
    return [_line(timings.name, finding, speedup_claim, "capbench speedup")] if finding is not None else []


def _line(sweep: str, finding: Finding, check: Callable[..., object], command: str) -> ClaimLine:
    """Returns a finding as the page shows it."""
    doc = (inspect.getdoc(check) or "").split("\n\n")[0].replace("\n", " ")
    return ClaimLine(
        sweep=sweep,
        name=finding.claim,
        statement=finding.statement,
        outcome=finding.outcome,
        rule=finding.rule_text,
        quantity=finding.quantity,
        corrected=finding.corrected,
        cells=tuple(map(_cell, finding.cells)),
        text=finding.text[:1].upper() + finding.text[1:],
        test=doc.removeprefix("Returns "),
        code=f"{check.__module__.replace('.', '/')}.py: {check.__name__}",
        command=command,
    )


def _cell(cell: JudgedCell) -> ClaimCell:
    value, low, high = interval_of(cell.estimate)
    return ClaimCell(
        name=cell.name,
        value=value,
        low=low,
        high=high,
        unit=cell.unit,
        seeds=cell.estimate.units,
        p_value=cell.p_value,
        outcome=cell.outcome,
    )

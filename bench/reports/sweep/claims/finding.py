"""What rows say on a claim, in parts from which sentences and pages are made."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from bench.statistics.estimate import Estimate

PERCENT, POINTS = "%", "points"
FEW_CELLS = 6  # that a document shows one by one


@dataclass(frozen=True)
class ProtocolRow:
    """Row of a claim in the table of docs/protocol.md, word for word.

    Attributes:
        claim: Number of the claim, `C1`.
        statement: The claim.
        cells: What is tested.
        confirmed: When the claim is confirmed.
        refuted: When it is refuted.
        undecided: When neither.
    """

    claim: str
    statement: str
    cells: str
    confirmed: str
    refuted: str
    undecided: str = "else"


@dataclass(frozen=True)
class JudgedCell:
    """A quantity that a claim is judged by, or that is shown beside it.

    Attributes:
        name: What it is of.
        estimate: Its estimate.
        unit: PERCENT of a model's top-1, or POINTS of top-1.
        p_value: p-value after Holm's correction; None where the cell carries no verdict.
        outcome: What the test shows, in words; empty where the cell carries no verdict.
    """

    name: str
    estimate: Estimate
    unit: str = PERCENT
    p_value: float | None = None
    outcome: str = ""

    def __str__(self) -> str:
        sign = "" if self.unit == PERCENT else "+"
        number = f"{format(self.estimate.value, f'{sign}.2f')} {self.unit}"
        if math.isnan(self.estimate.error):
            interval = "one dense seed, no interval"
        else:
            low, high = (format(end, f"{sign}.2f") for end in self.estimate.interval())
            interval = f"{low} to {high}, {self.estimate.units} dense seeds"
        p_value = "" if self.p_value is None else ", p < 0.001" if self.p_value < 1e-3 else f", p = {self.p_value:.3f}"
        return f"{self.name} {number} ({interval}{p_value}){f': {self.outcome}' if self.outcome else ''}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the rows of a sweep say on a claim, or beside the claims.

    Attributes:
        claim: Number of the claim, `C1`; empty for what is no claim of the paper.
        statement: The claim in words, or what the numbers are.
        outcome: Whether it holds; empty where there is no verdict.
        text: The numbers that are in no cell, and notes, in a sentence or more.
        joint: What joins the outcome and the text in a sentence.
        rule: Row of the protocol that it is judged by; None where it is not.
        cells: Quantities that it is judged by, and after them those that are shown beside; none where it is told by
            means alone.
        quantity: What the estimates of the cells are.
        corrected: Number of cells that the p-values are corrected for.
    """

    claim: str = ""
    statement: str
    outcome: str = ""
    text: str = ""
    joint: str = ". "
    rule: ProtocolRow | None = None
    cells: tuple[JudgedCell, ...] = ()
    quantity: str = ""
    corrected: int = 0

    @property
    def head(self) -> str:
        """The claim or what is told, before the colon."""
        return f"{self.claim} ({self.statement})" if self.claim else self.statement

    @property
    def rule_text(self) -> str:
        """What the protocol decides by; empty without a verdict by it."""
        if self.rule is None:
            return ""
        return f"Confirmed: {self.rule.confirmed}; refuted: {self.rule.refuted}; undecided: {self.rule.undecided}."

    @property
    def cell_text(self) -> str:
        """The cells in sentences; empty where there are none."""
        tested = [str(cell) for cell in self.cells if cell.p_value is not None]
        beside = [str(cell) for cell in self.cells if cell.p_value is None]
        told = [f"{self.quantity}, 95 % intervals, p-values corrected for {self.corrected}: {'; '.join(tested)}."]
        return " ".join((told if tested else []) + ([f"Without a verdict: {'; '.join(beside)}."] if beside else []))

    @property
    def sentence(self) -> str:
        """The finding as it is printed."""
        return self._told(self.cell_text)

    @property
    def short(self) -> str:
        """The finding for a document: as it is printed, or where its cells are many, how often each outcome came."""
        tested = [cell.outcome for cell in self.cells if cell.p_value is not None]
        if len(tested) <= FEW_CELLS:
            return self.sentence
        counts = ", ".join(f"{outcome} in {count}" for outcome, count in Counter(tested).items())
        return self._told(f"Of {len(tested)} cells: {counts}.")

    def _told(self, cells: str) -> str:
        """Returns the finding with a text on its cells."""
        told = " ".join(filter(None, (self.rule_text, cells, self.text)))
        return f"{self.head}: {self.outcome}{self.joint if self.outcome else ''}{told}"

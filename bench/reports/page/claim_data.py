"""Claims as typed rows, which the page's script reads as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClaimCell:
    """A quantity that a claim is judged by, or that is shown beside it.

    Attributes:
        name: What it is of.
        value: Estimate.
        low: Lower end of its 95 % interval; None with one dense seed.
        high: Upper end, likewise.
        unit: Unit of the estimate.
        seeds: Number of dense seeds.
        p_value: p-value after Holm's correction; None where the cell carries no verdict.
        outcome: What the test shows; empty where the cell carries no verdict.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    seeds: int
    p_value: float | None
    outcome: str


@dataclass(frozen=True)
class ClaimLine:
    """What the rows of a sweep say on a claim.

    Attributes:
        sweep: Name of the sweep.
        name: `C1`, ...; empty for a finding that is no claim of the paper.
        statement: The claim in words.
        outcome: Outcome in words, such as `holds in part` or `undecided`; empty where the finding has no verdict.
        rule: What docs/protocol.md decides by; empty where it is not judged by it.
        quantity: What the estimates of the cells are.
        corrected: Number of cells that the p-values are corrected for.
        cells: Quantities that it is judged by.
        text: The numbers that are in no cell.
        test: What is checked, in a sentence.
        code: File and function of the check.
        command: Command that prints it.
    """

    sweep: str
    name: str
    statement: str
    outcome: str
    rule: str
    quantity: str
    corrected: int
    cells: tuple[ClaimCell, ...]
    text: str
    test: str
    code: str
    command: str

"""Submissions as typed rows, which the page's script reads as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SubmittedResult:
    """A cell of the submitted pruner beside that of another.

    Attributes:
        model: Name of the model.
        target: Pattern in words.
        phase: Name of the phase for readers.
        status: Status of the submitted pruner's cell.
        top1: Its top-1, percent, mean over seeds.
        seeds: Number of seeds.
        against: Label of the other pruner.
        difference: Top-1 less the other's, paired by seed, points; None where it was not measured.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: Whether the submitted pruner is better.
    """

    model: str
    target: str
    phase: str
    status: str
    top1: float | None
    seeds: int
    against: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class SubmissionFacts:
    """A submission.

    Attributes:
        method: Name of the method.
        authors: Names of the submitters.
        source: Paper or page that describes it.
        verified: Whether these very files were verified.
        note: What was verified, in words.
        protocol: Version of the protocol.
        configurations: Settings that were tried for each model.
        options: Place of the options among those of the page.
        file: Name of the pruner's file, or of the registered pruner.
        code: Text of the file; empty where there is none.
        results: Cells beside those of others.
    """

    method: str
    authors: str
    source: str
    verified: bool
    note: str
    protocol: int
    configurations: int
    options: int
    file: str
    code: str
    results: tuple[SubmittedResult, ...]

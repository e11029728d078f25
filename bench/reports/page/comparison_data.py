"""A comparison of a new pruner as typed rows of the page's data."""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[float, float | None, float | None]  # mean, and the ends of its 95 % interval where there are seeds


@dataclass(frozen=True)
class ComparedPruner:
    """One pruner of a comparison.

    Attributes:
        label: Name in the comparison, different from that of all others.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        options: Place of the options on each model among those of the page.
        source: Name of the pruner's file, or the class where it is of this package.
        sha256: Checksum of the file; empty where there is none.
        code: Text of the file; empty where there is none.
    """

    label: str
    pruner: str
    options: dict[str, int]
    source: str
    sha256: str
    code: str


@dataclass(frozen=True)
class PairedDifference:
    """Top-1 of the new pruner less another's, paired by seed.

    Attributes:
        model: Name of the model.
        target: Pattern in words.
        sparsity: Fraction of zeros asked for.
        phase: Name of the phase for readers.
        against: Label of the other pruner.
        pairs: Number of seeds that both have.
        difference: Difference, points; None where it was not measured.
        verdict: Whether the new pruner is better.
        needed: Seeds that would show the difference found, in words; empty where it is decided or not measured.
    """

    model: str
    target: str
    sparsity: float
    phase: str
    against: str
    pairs: int
    difference: Interval | None
    verdict: str
    needed: str


@dataclass(frozen=True)
class ComparisonFacts:
    """A comparison of a new pruner with others.

    Attributes:
        title: Heading.
        verdicts: A line for each of the others.
        pruners: Pruners, the new one first.
        differences: Paired differences.
        command: Command that makes the comparison.
        bibtex: Entries of the papers.
        appendix: Paragraph and table in LaTeX.
    """

    title: str
    verdicts: tuple[str, ...]
    pruners: tuple[ComparedPruner, ...]
    differences: tuple[PairedDifference, ...]
    command: str
    bibtex: str
    appendix: str

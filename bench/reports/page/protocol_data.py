"""What docs/protocol.md reports of several dense models, as typed rows, which the page's script reads as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from bench.reports.page.comparison_data import Interval


@dataclass(frozen=True)
class HeadlineNumber:
    """Sparsity at 1 % relative drop of one pruner on one model.

    Attributes:
        sweep: Name of the sweep.
        method: Name of the method.
        name: The same with its scope and variant.
        model: Name of the model.
        phase: Name of the phase for readers.
        at: Fraction of zeros.
        low: Lower end of its 95 % interval.
        high: Upper end.
        beyond: Whether no measured sparsity costs as much; `at` is then the largest measured.
        high_beyond: The same of the upper end.
        text: All of it in words.
    """

    sweep: str
    method: str
    name: str
    model: str
    phase: str
    at: float
    low: float
    high: float
    beyond: bool
    high_beyond: bool
    text: str


@dataclass(frozen=True)
class LeadNumber:
    """Lead of CAP over the best of all rivals at one sparsity, one-shot.

    Attributes:
        sweep: Name of the sweep.
        model: Name of the model, or `mean`, over models.
        sparsity: Fraction of zeros.
        lead: Lead in top-1, points.
        best: Names of the best rivals, of each model where it is the mean.
        rivals: Number of rivals.
    """

    sweep: str
    model: str
    sparsity: float
    lead: Interval
    best: str
    rivals: int


@dataclass(frozen=True)
class RankedPruner:
    """Mean rank of one pruner.

    Attributes:
        method: Name of the method.
        name: The same with its scope and variant.
        rank: Mean rank, 1 for the best.
    """

    method: str
    name: str
    rank: float


@dataclass(frozen=True)
class RankTable:
    """Mean ranks of all pruners that share cells.

    Attributes:
        sweep: Name of the sweep.
        title: What was ranked.
        pruners: Pruners, the best first.
        groups: First and last place of pruners that are not told apart.
        critical: Critical difference of mean ranks.
        sentence: All of it in words.
    """

    sweep: str
    title: str
    pruners: tuple[RankedPruner, ...]
    groups: tuple[tuple[int, int], ...]
    critical: float
    sentence: str


@dataclass(frozen=True)
class ProtocolFacts:
    """Headline numbers, leads and ranks; nothing of rows without dense seeds.

    Attributes:
        headlines: Sparsities at 1 % relative drop.
        leads: Leads over the best rival.
        ranks: Rankings.
    """

    headlines: tuple[HeadlineNumber, ...] = ()
    leads: tuple[LeadNumber, ...] = ()
    ranks: tuple[RankTable, ...] = ()

    def __add__(self, other: ProtocolFacts) -> ProtocolFacts:
        """Returns the facts of both."""
        return ProtocolFacts(self.headlines + other.headlines, self.leads + other.leads, self.ranks + other.ranks)

"""Headline numbers, leads and ranks of results with several dense models."""

from __future__ import annotations

from bench.reports.common.text import joined
from bench.reports.page.comparison_data import Interval
from bench.reports.page.protocol_data import HeadlineNumber, LeadNumber, ProtocolFacts, RankedPruner, RankTable
from bench.reports.sweep.headline import headlines
from bench.reports.sweep.leads import leads_over_best
from bench.reports.sweep.ranks import PrunerRanking, rankings
from bench.reports.sweep.summary import SweepResults, seeded_rows
from bench.results.labels import PHASES
from bench.statistics.estimate import Estimate


def interval_of(estimate: Estimate) -> Interval:
    """Returns an estimate with the ends of its 95 % interval, None with one unit."""
    low, high = estimate.interval() if estimate.units > 1 else (None, None)
    return estimate.value, low, high


def protocol_facts(sweep: str, results: SweepResults) -> ProtocolFacts:
    """Returns what docs/protocol.md reports beside the claims.

    Args:
        sweep: Name of the sweep.
        results: Its results.
    """
    if not results.seeded:
        return ProtocolFacts()
    sparsities = sorted(one for one in seeded_rows(results.done)["sparsity"].unique() if one > 0)
    return ProtocolFacts(
        headlines=tuple(
            HeadlineNumber(
                sweep, one.method, one.name, one.model, PHASES[one.phase], one.headline.at.sparsity,
                one.headline.low.sparsity, one.headline.high.sparsity, one.headline.at.beyond,
                one.headline.high.beyond, str(one.headline),
            )
            for one in headlines(results)
        ),
        leads=tuple(
            LeadNumber(sweep, one.model, one.sparsity, interval_of(one.estimate), joined(dict.fromkeys(one.best)),
                       len(one.rivals))
            for one in leads_over_best(results, sparsities)
        ),
        ranks=tuple(_ranks(sweep, one) for one in rankings(results)),
    )  # fmt: skip


def _ranks(sweep: str, ranking: PrunerRanking) -> RankTable:
    means = ranking.ranking.mean_ranks
    order = sorted(range(len(ranking.names)), key=lambda place: means[place])
    places = [[order.index(place) for place in group] for group in ranking.ranking.groups]
    return RankTable(
        sweep=sweep,
        title=ranking.title,
        pruners=tuple(RankedPruner(ranking.methods[one], ranking.names[one], float(means[one])) for one in order),
        groups=tuple((min(group), max(group)) for group in places),
        critical=ranking.ranking.critical_difference,
        sentence=ranking.sentence,
    )

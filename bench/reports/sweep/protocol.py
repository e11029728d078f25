"""What docs/protocol.md reports beside the claims: headline numbers, leads over the best rival, ranks."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.reports.sweep.headline import headline_table, headlines
from bench.reports.sweep.leads import lead_table, leads_over_best
from bench.reports.sweep.ranks import rankings
from bench.reports.sweep.summary import SweepResults, seeded_rows

HEADLINE = "Sparsity at 1 % relative drop, with 95 % intervals over dense seeds and test images"
LEADS = "CAP's lead over the best of all rivals, one-shot top-1 in points, with 95 % intervals"


@dataclass(frozen=True)
class ProtocolTables:
    """Tables and sentences of results with dense seeds; nothing of others.

    Attributes:
        tables: Tables as text, by their titles.
        ranks: A sentence on each ranking.
    """

    tables: dict[str, pd.DataFrame]
    ranks: list[str]

    @classmethod
    def of(cls, results: SweepResults) -> ProtocolTables:
        """Returns what results have."""
        if not results.seeded:
            return cls({}, [])
        sparsities = sorted(seeded_rows(results.done)["sparsity"].unique())
        found = {HEADLINE: headline_table(headlines(results)), LEADS: lead_table(leads_over_best(results, sparsities))}
        return cls(
            {title: table for title, table in found.items() if not table.empty},
            [ranking.sentence for ranking in rankings(results)],
        )

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from bench.reports.sweep.claims import claims, findings
from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.summary import SweepResults
from bench.results.predictions import Predictions


@pytest.fixture
def one() -> Callable[[pd.DataFrame, str], str]:
    """Returns the only sentence on claims that starts so."""

    def one(rows: pd.DataFrame, start: str) -> str:
        [found] = [claim for claim in claims(rows) if claim.startswith(start)]
        return found

    return one


@pytest.fixture
def none() -> Callable[[pd.DataFrame, str], bool]:
    """Returns whether no sentence on claims starts so."""
    return lambda rows, start: not any(claim.startswith(start) for claim in claims(rows))


@pytest.fixture
def judged() -> Callable[..., list[Finding]]:
    """Returns the findings of rows on a claim."""

    def found(rows: pd.DataFrame, claim: str, predictions: Predictions | None = None) -> list[Finding]:
        every = findings(SweepResults.of(rows, predictions))
        return [one.finding for one in every if one.finding.claim == claim]

    return found

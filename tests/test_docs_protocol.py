"""The protocol says what the code does, and every claim has its row."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from bench.data.fashion_mnist import SPLIT_FILES, load_split
from bench.reports.latency.claim import speedup_claim
from bench.reports.sweep.claims import CLAIMS
from bench.reports.sweep.claims.finding import ProtocolRow
from bench.specs.profiles import EMBEDDED
from bench.statistics.bootstrap import RESAMPLES
from bench.statistics.estimate import CONFIDENCE
from bench.statistics.outcomes import DROP_LIMIT, LEVEL
from bench.statistics.power import POWER

TEXT = " ".join((Path(__file__).parents[1] / "docs/protocol.md").read_text().split())
ROWS = {
    row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
    for row in (Path(__file__).parents[1] / "docs/protocol.md").read_text().splitlines()
    if re.match(r"\| C\d", row)
}
CLAIMS_OF_THE_PAGE = ["C1", "C2", "C3", "C4a", "C4b", "C4c", "C5", "C6", "C7", "C8"]


def test_every_claim_says_what_confirms_and_refutes_it() -> None:
    assert list(ROWS) == CLAIMS_OF_THE_PAGE
    for name, (claim, cells, confirmed, refuted, undecided) in ROWS.items():
        assert claim, name
        assert cells, name
        assert len({confirmed, refuted, undecided}) == 3, name


@pytest.mark.parametrize(
    ("claim", "quoted"),
    [
        ("C1", "r lower than 1 % on each"),
        ("C3", "their last state alone"),
        ("C4a", "that masks comply is a condition of having a result, no evidence"),
        ("C5", "the timed masks are those of the model whose accuracy is measured"),
        ("C7", "the run's checkpoint against a dedicated run that ends there"),
    ],
)
def test_verdicts_rest_on_accuracy(claim: str, quoted: str) -> None:
    assert quoted in " ".join(ROWS[claim])


def test_numbers_of_the_protocol_are_those_of_the_code() -> None:
    assert f"{RESAMPLES:,} resamples" in TEXT
    assert f"{100 * CONFIDENCE:g} %, two-sided" in TEXT
    assert f"One-sided, at {100 * LEVEL:g} % in each direction" in TEXT
    assert f'"the drop is at least {DROP_LIMIT:g} %"' in TEXT
    assert f"with a probability of {100 * POWER:g} %" in TEXT


def test_splits_are_those_of_the_protocol() -> None:
    assert set(SPLIT_FILES) == set(EMBEDDED.splits)
    for split, count in EMBEDDED.splits.items():
        [row] = re.findall(rf"\| `{split}` \| ([^|]*) \|", TEXT)
        assert f"{count:,}" in row
        assert len(load_split(split)) == count


def quoted_rows() -> dict[str, ProtocolRow]:
    """Returns the rows that the modules of claims quote."""
    modules = [sys.modules[claim.__module__] for claim in (*CLAIMS, speedup_claim)]
    return {row.claim: row for module in modules if (row := getattr(module, "ROW", None)) is not None}


@pytest.mark.parametrize("claim", CLAIMS_OF_THE_PAGE)
def test_verdicts_quote_the_row_of_their_claim(claim: str) -> None:
    assert dataclasses.astuple(quoted_rows()[claim]) == (claim, *ROWS[claim])

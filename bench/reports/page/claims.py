"""The claims of all sweeps, with outcome, numbers and the check behind them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pandas as pd

from bench.reports.common.text import OUTCOMES
from bench.reports.latency.analysis import analyse, speedup_claim
from bench.reports.page.data import ClaimLine
from bench.reports.sweep.claims import findings
from bench.results.timings import Timings

HEAD = re.compile(r"(C\d+) \((.*?)\): ")


def claim_lines(sweep: str, rows: pd.DataFrame, command: str) -> list[ClaimLine]:
    """Returns what the rows of a sweep say on claims.

    Args:
        sweep: Name of the sweep.
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        command: Command that prints it.
    """
    return [_line(sweep, found.sentence, found.claim, command) for found in findings(rows)]


def speedup_line(timings: Timings, accuracies: pd.DataFrame) -> list[ClaimLine]:
    """Returns what measured times say on the claim on speed; nothing where they say none.

    Args:
        timings: Measurements that are there.
        accuracies: What the embedded models keep, as `bench.reports.latency.analysis.accuracy` returns it.
    """
    sentence = speedup_claim(analyse(timings.read()), accuracies)
    return [_line(timings.name, sentence, speedup_claim, "capbench speedup")] if sentence else []


def _line(sweep: str, sentence: str, check: Callable[..., object], command: str) -> ClaimLine:
    """Returns a sentence on a claim in its parts: its name and statement, its outcome, its numbers."""
    head = HEAD.match(sentence)
    name, statement = head.groups() if head else ("", "")
    rest = sentence[head.end() :] if head else sentence
    outcome = next((words for words in sorted(OUTCOMES, key=len, reverse=True) if rest.startswith(words)), "")
    if not head and ":" in rest:
        statement, rest = rest.split(":", 1)
    text = rest.removeprefix(outcome).lstrip(",. ")
    path = check.__module__.replace(".", "/")
    doc = (inspect.getdoc(check) or "").split("\n\n")[0].replace("\n", " ")
    return ClaimLine(
        sweep, name, statement, outcome, text[:1].upper() + text[1:], doc.removeprefix("Returns "),
        f"{path}.py: {check.__name__}", command,
    )  # fmt: skip

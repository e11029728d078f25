"""Submissions on the page: accuracy, differences to the others, and whether it was verified."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.reports.comparison.entry import Entry
from bench.reports.comparison.report import ComparisonReport
from bench.reports.page.cells import OptionTable
from bench.reports.page.submission_data import SubmissionFacts, SubmittedResult
from bench.results.labels import PHASES, pattern_in_words
from bench.results.submissions import Submission, Verification


def submission_facts(submissions: Iterable[Submission], options: OptionTable) -> tuple[SubmissionFacts, ...]:
    """Returns what the page says on submissions, verified ones first.

    Args:
        submissions: The submissions.
        options: Table of the page's options.

    Raises:
        UserError: If the rows of one are missing or damaged.
    """
    facts = [_facts(one, options) for one in submissions]
    return tuple(sorted(facts, key=lambda one: (not one.verified, one.method)))


def _facts(submission: Submission, options: OptionTable) -> SubmissionFacts:
    settings, found = submission.settings, submission.verification()
    new, *others = (Entry(one.label, one.pruner, one.options_text) for one in settings.pruners)
    report = ComparisonReport(submission.rows, [new, *others], settings.method, submission.predictions())
    cells = report.cells.to_dict("records")
    own = {(one["model"], one["pattern"], one["phase"]): one for one in cells if one["label"] == new.label}
    return SubmissionFacts(
        method=settings.method,
        authors=settings.authors,
        source=settings.source,
        verified=found is not None,
        note=_note(found),
        protocol=settings.protocol,
        configurations=settings.configurations,
        options=options.place(new.options),
        file=settings.file or new.pruner,
        code=submission.code,
        results=tuple(
            _result(own[one["model"], one["pattern"], one["phase"]], one) for one in cells if one["label"] != new.label
        ),
    )


def _note(found: Verification | None) -> str:
    """Returns what was verified, in words."""
    if found is None:
        return "capbench verify has not passed on these files"
    made_by = f"commit {found.commit[:12]}" if found.commit else f"version {found.suite}"
    exact = sum(one.agreement == "exact" for one in found.cells)
    return f"{found.date}, {made_by}: {len(found.cells)} cells run again, {exact} of them exactly the same"


def _result(own: dict[str, Any], other: dict[str, Any]) -> SubmittedResult:
    """Returns the submitted pruner's cell beside that of another."""
    return SubmittedResult(
        model=own["model"],
        target=pattern_in_words(own["pattern"]),
        phase=PHASES[own["phase"]],
        status=own["status"],
        top1=_number(own["top1_mean"]),
        seeds=int(own["n"]),
        against=other["label"],
        difference=_number(other["difference"]),
        low=_number(other["low"]),
        high=_number(other["high"]),
        verdict=other["verdict"] if isinstance(other["verdict"], str) else "",
    )


def _number(value: Any) -> float | None:
    """Returns a number, None for what is missing."""
    return None if value is None or value != value else float(value)

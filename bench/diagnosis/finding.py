"""Findings, and the diagnosis that they make up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: Name of the check.
        status: `ok`; `warning` where results may be poor; `failure` where they would mean nothing.
        message: The finding in a line, with what to do.
        values: The numbers behind it, {name: plain value}.
    """

    check: str
    status: Status
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status.upper() if self.status == 'failure' else self.status:8} {self.check}: {self.message}"


@dataclass(frozen=True)
class Diagnosis:
    """All findings on one model.

    Attributes:
        model: Name of the model.
        profile: Name of the profile, or the text of the data.
        pruner: Name of the pruner whose fit is foreseen.
        findings: The findings, in the order of the checks.
    """

    model: str
    profile: str
    pruner: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(finding.status == "failure" for finding in self.findings)

    @property
    def summary(self) -> str:
        """Counts of the findings by status."""
        counts = {status: sum(one.status == status for one in self.findings) for status in ("ok", "warning", "failure")}
        return f"{self.model}: {counts['ok']} ok, {counts['warning']} warnings, {counts['failure']} failures"

    def document(self) -> dict[str, Any]:
        """Returns all of it as plain values, for JSON."""
        findings = [{**vars(finding), "values": dict(finding.values)} for finding in self.findings]
        return {"model": self.model, "profile": self.profile, "pruner": self.pruner, "failed": self.failed,
                "findings": findings}  # fmt: skip


def as_json(diagnoses: tuple[Diagnosis, ...]) -> str:
    """Returns the diagnoses as a JSON document."""
    return json.dumps([one.document() for one in diagnoses], indent=2)

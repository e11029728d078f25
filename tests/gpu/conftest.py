"""Tests that a card has to pass: on the CPU at small sizes, on `cuda` in `nox -s gpu_tests`, which keeps the results.

On the CPU the device `card` is one that is not there (`cap.testing.pretend_card`).
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core import provenance
from cap.testing.pretend_card import pretend_card


@pytest.fixture
def card(device: str) -> Iterator[str]:
    """A CUDA device: the real one in the session, elsewhere one that computes on the CPU."""
    if device != "cpu":
        yield device
        return
    with pretend_card():
        yield "cuda:0"


def pytest_configure(config: pytest.Config) -> None:
    if path := os.environ.get("CAPBENCH_GPU_RESULTS"):
        config.pluginmanager.register(Results(Path(path)))


class Results:
    """Outcome of every test with what it measured, written to a file at the end.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.tests = path, list[dict[str, Any]]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            said = str(report.longrepr).strip().splitlines()[-1] if report.longrepr else None
            self.tests.append(
                {
                    "test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3),
                    **dict(report.user_properties), **({"said": said} if said else {}),
                }
            )  # fmt: skip

    def pytest_sessionfinish(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({**machine(), "tests": self.tests}, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Returns what the results belong to: card, versions, commit."""
    cards = range(torch.cuda.device_count())
    return {
        "card": torch.cuda.get_device_name() if cards else None,
        "cards": len(cards),
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory if cards else None,
        "capability": list(torch.cuda.get_device_capability()) if cards else None,
        "cuda": torch.version.cuda,
        "versions": json.loads(provenance.versions()),
        "system": platform.system(),
        "commit": provenance.commit(),
        "dirty": provenance.dirty(),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }

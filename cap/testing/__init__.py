"""Tests of pruners for their authors: the contract on a tiny model, which takes seconds and no data.

from cap.testing import run_checks

for outcome in run_checks("path/to/file.py:ClassName", {}):
print(outcome.status, outcome.check.name, outcome.message)
"""

from cap.testing.check import Check, Outcome, run_check
from cap.testing.contract import CHECKS, run_checks
from cap.testing.subject import PATTERNS, Subject
from cap.testing.tiny import TinyNet, tiny_calibration, tiny_layers, tiny_model

__all__ = [
    "CHECKS",
    "PATTERNS",
    "Check",
    "Outcome",
    "Subject",
    "TinyNet",
    "run_check",
    "run_checks",
    "tiny_calibration",
    "tiny_layers",
    "tiny_model",
]

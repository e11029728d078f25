"""A stored trial run again, and whether its rows come out the same; nothing is stored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.execution.stored import StoredTrial
from bench.trials.context import ExecutionConfig
from bench.trials.runner import run_trial

EXACT, CLOSE, DIFFERS = "exact", "within tolerance", "differs"
POINTS, RELATIVE, COUNTS = 0.5, 0.01, 1e-3
# largest difference between processors: points of percentages, fractions of losses and counts
TOLERANCES = {
    **dict.fromkeys(("top1", "top5", "agreement", "knn_top1"), (POINTS, 0.0)),
    **dict.fromkeys(("loss", "predicted_loss_increase", "observed_loss_increase"), (1e-3, RELATIVE)),
    **dict.fromkeys(("params_nonzero", "macs_sparse", "file_bytes"), (0.0, COUNTS)),
    **dict.fromkeys(("sparsity_prunable", "sparsity_model", "violations", "n_images"), (0.0, 0.0)),
}


@dataclass(frozen=True)
class RowAgreement:
    """Agreement of a row with the one that a new run gives.

    Attributes:
        pattern: Pattern of the row, None for the dense model.
        phase: Phase of the row.
        agreement: EXACT, CLOSE or DIFFERS.
        differences: {column: (stored, new)} of what is not the same.
    """

    pattern: str | None
    phase: str | None
    agreement: str
    differences: Mapping[str, tuple[Any, Any]]

    def line(self) -> str:
        """Returns the agreement in a line."""
        told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in self.differences.items())
        return f"{self.pattern or 'dense'} {self.phase}: {self.agreement}{f' ({told})' if told else ''}"


def rerun(stored: StoredTrial, device: str = "cpu") -> list[RowAgreement]:
    """Runs a stored trial again, keeps nothing, and compares what a run decides: not times, memory or versions.

    Args:
        stored: The trial with its rows.
        device: torch device.

    Raises:
        UserError: If the trial cannot be made again, see `StoredTrial.trial`.
    """
    trial = stored.trial
    try:
        made = run_trial(trial, config=ExecutionConfig(device)).rows
        new = {(row.pattern, row.phase): dataclasses.asdict(row) for row in made}
        reason = "no such row"
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        new, reason = {}, f"failed: {type(error).__name__}: {error}"
    old = {(row["pattern"], row["phase"]): row for row in stored.rows}
    return [compared(old.get(key), new.get(key), *key, reason) for key in {**old, **new}]


def compared(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, pattern: str | None, phase: str | None, reason: str
) -> RowAgreement:
    """Returns whether two rows say the same.

    Args:
        old: Stored row, {column: value}; None if there is none.
        new: Row of the new run; None if there is none.
        pattern: Pattern of both.
        phase: Phase of both.
        reason: Reason of a new row that is missing.
    """
    if old is None or new is None:
        missing = ("stored", reason) if new is None else ("not stored", "there")
        return RowAgreement(pattern, phase, DIFFERS, {"row": missing})
    pairs = {name: (old[name], new[name]) for name in ("status", *TOLERANCES)}
    differences = {name: pair for name, pair in pairs.items() if not _equal(*pair)}
    if not differences:
        return RowAgreement(pattern, phase, EXACT, {})
    close = all(name in TOLERANCES and _close(*pair, *TOLERANCES[name]) for name, pair in differences.items())
    return RowAgreement(pattern, phase, CLOSE if close else DIFFERS, differences)


def _equal(old: Any, new: Any) -> bool:
    return old == new or (isinstance(old, float) and isinstance(new, float) and math.isnan(old) and math.isnan(new))


def _close(old: Any, new: Any, absolute: float, relative: float) -> bool:
    return None not in (old, new) and math.isclose(old, new, abs_tol=absolute, rel_tol=relative)

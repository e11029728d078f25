"""Sparsities at the ends of the parts in which a pruner goes to its target."""

from __future__ import annotations

from typing import Literal, get_args

Schedule = Literal["linear", "polynomial", "geometric"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


def check_schedule(value: object) -> None:
    """Refuses what is no name of a schedule.

    Raises:
        ValueError: If it is none.
    """
    if value not in SCHEDULES:
        raise ValueError(f"schedule={value!r} is not valid: choose from {', '.join(SCHEDULES)}")


def sparsities_on_the_way(target: float, parts: int, schedule: Schedule) -> list[float]:
    """Returns the sparsity at the end of each part; the last one is the target itself.

    Args:
        target: s, sparsity to reach.
        parts: N, number of parts.
        schedule: `linear`: parts of equal size, `s t / N`. `polynomial`: `s (1 - (1 - t / N)^3)`, large parts first
            (Zhu and Gupta, 2017, arXiv 1710.01878, eq. 1). `geometric`: `1 - (1 - s)^(t / N)`, each part removes the
            same fraction of the weights that are left.
    """
    match schedule:
        case "linear":
            sparsities = [target * part / parts for part in range(1, parts)]
        case "polynomial":
            sparsities = [target * (1 - (1 - part / parts) ** 3) for part in range(1, parts)]
        case "geometric":
            sparsities = [1 - (1 - target) ** (part / parts) for part in range(1, parts)]
    return [*sparsities, target]  # not computed: a last digit decides whether a count of k + 1/2 goes up

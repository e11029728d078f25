"""Sparsity patterns: the sets of weights that may be removed together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SCOPES = ("global", "layer", "erk")


def _check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity {sparsity} is out of range: it is the fraction of zeros, at least 0 and below 1")


@dataclass(frozen=True)
class Unstructured:
    """Unstructured sparsity: any weight may go.

    Attributes:
        sparsity: Fraction of zeros, in [0, 1).
        scope: Scope of the ranking: `global` ranks all layers together; `layer` gives every layer the same sparsity;
            `erk` gives each layer the Erdos-Renyi-kernel budget, see `cap.selection.layer_counts`.
    """

    sparsity: float
    scope: str = "global"

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)
        if self.scope not in SCOPES:
            raise ValueError(f"unknown scope {self.scope!r}: choose from {', '.join(SCOPES)}")

    def __str__(self) -> str:
        return f"{self.sparsity!r}" if self.scope == "global" else f"{self.sparsity!r}@{self.scope}"


@dataclass(frozen=True)
class Allocated(Unstructured):
    """Unstructured sparsity with a number of zeros of its own for every layer, such as another pruner's mask has.

    Attributes:
        sparsity: Fraction of zeros over all layers, in [0, 1).
        removed: Number of zeros of each layer, ((layer, zeros), ...).
    """

    removed: tuple[tuple[str, int], ...] = ()
    scope: str = field(default="allocated", init=False)

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)


@dataclass(frozen=True)
class NM:
    """N:M sparsity: of every `of` consecutive inputs, `keep` weights stay; 2:4 keeps two of four.

    Attributes:
        keep: Number of weights kept in a group, at least 1.
        of: Number of weights in a group, larger than `keep`.
    """

    keep: int
    of: int

    def __post_init__(self) -> None:
        if not 0 < self.keep < self.of:
            raise ValueError(f"pattern {self.keep}:{self.of} is not valid: N of N:M is the number kept, 0 < N < M")

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1 - self.keep / self.of

    def __str__(self) -> str:
        return f"{self.keep}:{self.of}"


@dataclass(frozen=True)
class Blocks:
    """Block sparsity: `size` consecutive weights stay or go as a whole.

    Attributes:
        size: Number of weights in a block, at least 1.
        sparsity: Fraction of zeros, in [0, 1).
    """

    size: int
    sparsity: float

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)
        if self.size < 1:
            raise ValueError(f"block size {self.size} is not valid: it must be at least 1")

    def __str__(self) -> str:
        return f"{self.sparsity!r}@blocks{self.size}"


@dataclass(frozen=True)
class Units:
    """Structured sparsity: whole attention heads, hidden units and channels go (see `cap.structured`).

    Attributes:
        sparsity: Fraction of removed weights among those of the layers that have units, in [0, 1): met as nearly as
            whole units allow.
    """

    sparsity: float

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)

    def __str__(self) -> str:
        return f"{self.sparsity!r}@units"


@dataclass(frozen=True)
class UnitsThen:
    """Structured sparsity, and then unstructured sparsity in the smaller model that is left.

    Attributes:
        units: Pattern of the first step.
        then: Pattern of the second step; its sparsity is the fraction of zeros in the smaller model.
    """

    units: Units
    then: Unstructured

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are removed or zero after both steps, where all layers have units."""
        return 1 - (1 - self.units.sparsity) * (1 - self.then.sparsity)

    def __str__(self) -> str:
        return f"{self.units}+{self.then}"


Pattern = Unstructured | NM | Blocks | Units | UnitsThen
"""Any sparsity pattern."""
FORMS = "0.75, 0.75@layer, 0.75@erk, 0.75@blocks4, 0.5@units, 0.25@units+0.5 or 2:4"


def as_pattern(value: Pattern | float | str) -> Pattern:
    """Returns a pattern as it is, that of a number (global sparsity), or that of a text (see `parse_pattern`).

    Raises:
        ValueError: If the value is none of these, or out of range.
    """
    match value:
        case Unstructured() | NM() | Blocks() | Units() | UnitsThen():
            return value
        case str():
            return parse_pattern(value)
        case int() | float() if not isinstance(value, bool):
            return Unstructured(float(value))
    raise ValueError(f"{value!r} is no pattern: give a sparsity like 0.75, a text like '2:4', or a cap.Pattern")


def parse_pattern(text: str) -> Pattern:
    """Reads a pattern: one of `FORMS`.

    Raises:
        ValueError: If the text is none of these, or the values are out of range.
    """
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        return NM(int(match[1]), int(match[2]))
    first, plus, second = text.partition("@units+")
    if plus:
        units, then = parse_pattern(f"{first}@units"), parse_pattern(second)
        if isinstance(units, Units) and isinstance(then, Unstructured):
            return UnitsThen(units, then)
        raise ValueError(f"{text!r} is no pattern: after units comes a sparsity, like 0.25@units+0.5")
    number, _, suffix = text.partition("@")
    try:
        sparsity = float(number)
    except ValueError:
        sparsity = float("nan")
    if sparsity == sparsity:  # a number was read
        if match := re.fullmatch(r"blocks(\d+)", suffix):
            return Blocks(int(match[1]), sparsity)
        if suffix == "units":
            return Units(sparsity)
        if not suffix or suffix in SCOPES:
            return Unstructured(sparsity, suffix or "global")
    raise ValueError(f"{text!r} is no pattern: write {FORMS}")

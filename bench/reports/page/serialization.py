"""The page's data as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from bench.reports.page.data import PageData

DIGITS = 6  # significant ones of every number


def to_json(page: PageData) -> str:
    """Returns the data as JSON that can stand within a script element of HTML.

    Lists of the same kind of row become {columns: names, rows: values in their order}, numbers have `DIGITS`
    significant digits, and what is no number is null.
    """
    text = json.dumps(_plain(page), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    # within a script element "</script" and "<!--" would end or bend it
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        if value and dataclasses.is_dataclass(value[0]):
            names = [field.name for field in dataclasses.fields(value[0])]
            return {"columns": names, "rows": [[_plain(getattr(row, name)) for name in names] for row in value]}
        return [_plain(part) for part in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, float):
        return _rounded(value)
    return value


def _rounded(value: float) -> float | int | None:
    """Returns a number with `DIGITS` significant digits, a whole one without a fraction, None for what is none."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) else short

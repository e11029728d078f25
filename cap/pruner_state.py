"""The state of a fitted pruner: tensors, numbers and texts, in containers that `torch.load` reads without code."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_plain(value: object) -> bool:
    """Returns whether a value is a tensor, a number, a text or None, or dictionaries, lists and tuples of these."""
    if type(value) is dict:
        return all(isinstance(key, str | int) and is_plain(part) for key, part in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return isinstance(value, Tensor | str | int | float | None)


def copied(value: Any) -> Any:
    """Returns a plain value in containers of its own, the tensors one and the same."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    return value.detach() if isinstance(value, Tensor) else value

"""Settings of trials: the options of a pruner, the values of a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

STAR = 4  # settings from which on "all but one differ from it in one" is taken for a design


class Settings(Mapping[str, Any]):
    """Values of JSON by name, those of inner objects under `outer.inner`; compares equal to any mapping of the same.

    Args:
        values: {name: value}, no value an object.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    @classmethod
    def from_json(cls, text: object) -> Settings:
        """Reads a JSON object, inner objects flattened; empty for what is no text, as an empty cell."""
        return cls(dict(_flatten(json.loads(text), ""))) if isinstance(text, str) else cls()

    def to_json(self) -> str:
        """Returns a JSON object, the same text for the same values in the same order."""
        return json.dumps(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Settings({self._values})"

    def __or__(self, other: Mapping[str, Any]) -> Settings:
        return Settings({**self._values, **other})

    def select(self, names: Iterable[str]) -> Settings:
        """Returns the settings of these names, in their order; those that are not there are left out."""
        return Settings({name: self[name] for name in names if name in self})

    def without(self, name: str) -> Settings:
        """Returns all settings but one."""
        return Settings({key: value for key, value in self.items() if key != name})

    def differing(self, other: Mapping[str, Any]) -> list[str]:
        """Returns the names under which two settings have different values; a missing value counts as None."""
        return [name for name in {**self, **other} if self.get(name) != other.get(name)]


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def names_of(settings: Iterable[Settings]) -> list[str]:
    """Returns the names in several settings, each once, in the order in which they appear."""
    return list(dict.fromkeys(name for values in settings for name in values))


def baseline_of(settings: Sequence[Settings]) -> Settings | None:
    """Returns the one from which each of the others differs in a single setting, if there is exactly one such."""
    found = [
        one for one in settings if all(len(one.differing(other)) == 1 for other in settings if other is not one)
    ]  # fmt: skip
    return found[0] if len(found) == 1 and len(settings) >= STAR else None


def value_text(value: Any) -> str:
    """Returns a setting's value as a reader sees it."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def sort_key(value: Any) -> tuple[int, float, str]:
    """Sort key of a setting's value: numbers by size, anything else after them by its text."""
    return (0, value, "") if isinstance(value, int | float) else (1, 0, value_text(value))


def numeric(values: Iterable[Any]) -> bool:
    """Returns whether all values of a setting are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)

"""One pruner of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One pruner of a comparison.

    Attributes:
        label: Name in the report, different from that of all others.
        pruner: Name in the rows.
        options: Options, JSON as in the rows.
        source: Name of the pruner's file, or the class where it is of this package.
        sha256: Checksum of the file; empty where there is none.
        code: Text of the file; empty where there is none.
        model_options: {model: options}, where models have their own; empty where all have `options`.
    """

    label: str
    pruner: str
    options: str
    source: str = ""
    sha256: str = ""
    code: str = ""
    model_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_options(self) -> str:
        """JSON of the options, by model where models have their own that differ."""
        if len(set(self.model_options.values())) < 2:
            return self.options
        return json.dumps({model: json.loads(options) for model, options in self.model_options.items()})

    def has_row(self, pruner: str, options: str, model: str) -> bool:
        """Returns whether a row with these values is the pruner's."""
        return (pruner, options) == (self.pruner, self.model_options.get(model, self.options))

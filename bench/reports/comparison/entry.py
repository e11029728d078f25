"""One pruner of a comparison."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    label: str
    pruner: str
    options: str
    source: str = ""
    sha256: str = ""
    code: str = ""

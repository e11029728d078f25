"""What is missing is named with the command that installs it, in a checkout and for an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core import packages
from bench.core.errors import UserError


def test_the_command_fits_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"needs no_such_package: pip install -c constraints\.txt -e '\.\[extra\]'"):
        packages.require(("no_such_package", "json"), "extra", "INT8")
    monkeypatch.setattr(packages, "CONSTRAINTS", tmp_path / "constraints.txt")
    with pytest.raises(UserError, match=r"INT8 needs no_such_package: pip install 'cap-bench\[extra\]'"):
        packages.require(("no_such_package",), "extra", "INT8")

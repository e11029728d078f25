"""The public names of the package, and what importing it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cap

LOADED = "import sys, {}; print(*sorted({{'torch', 'numba', 'numpy', 'psutil', 'timm'}} & set(sys.modules)))"


def loaded_by(module: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOADED.format(module)], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("module", ["cap", "cap.patterns"])
def test_patterns_load_no_torch(module: str) -> None:
    assert loaded_by(module) == []


def test_every_public_name_is_there() -> None:
    assert {name for name in cap.__all__ if getattr(cap, name) is None} == set()
    assert set(cap.__all__) <= set(dir(cap))
    with pytest.raises(AttributeError, match="module 'cap' has no attribute 'misfit'"):
        cap.misfit  # noqa: B018


@pytest.mark.parametrize("question", ["cap.available()", "cap.default_options('cap')"])
def test_pruners_are_registered_when_they_are_asked_for(question: str) -> None:
    code = f"import cap\nassert len({question})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_of_this_package_is_taken_before_anything_was_asked() -> None:
    code = "import cap\n@cap.register('wanda')\nclass Mine(cap.Pruner):\n    pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ValueError: pruner name 'wanda' is taken by cap.pruners.wanda.Wanda" in done.stderr

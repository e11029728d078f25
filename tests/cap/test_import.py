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


FIRST_QUESTIONS = """
import sys

def fresh():
    for name in [name for name in sys.modules if name.partition(".")[0] == "cap"]:
        del sys.modules[name]
    import cap
    return cap

print(*fresh().available())
print(*fresh().default_options("wanda"), type(fresh().create("wanda")).__name__)
cap = fresh()
try:
    @cap.register("wanda")
    class Mine(cap.ScorePruner):
        pass
except ValueError as error:
    print(error)
"""


def test_pruners_are_registered_by_the_first_question() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_QUESTIONS], capture_output=True, text=True, check=True)
    names, created, refused = done.stdout.splitlines()
    assert names.split() == cap.available()
    assert created == "Wanda"
    assert refused == "pruner name 'wanda' is taken by cap.pruners.wanda.Wanda"

"""`capbench check`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cli

MINE = """
import os, sys
import cap
class Mine(cap.ScorePruner):
    def __init__(self, power=1.0):
        if isinstance(power, bool):
            raise ValueError(f"power={power} is not valid")
        self.power = power
    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}
class Exits(Mine):
    def update(self, masks):
        sys.exit(3)
class Ends(Mine):
    def update(self, masks):
        os._exit(4)
class Anything(Mine):
    def __init__(self, *names, **kwargs):
        super().__init__()
class Late(Mine):
    def prune(self, pattern):
        if str(pattern) != "0.6":
            raise IndexError("nothing here")
        return super().prune(pattern)
class Unwritten(cap.Pruner):
    def fit(self, model, layers, calibration):
        return self
class Broken(Mine):
    def update(self, masks):
        raise IndexError("nothing\\nhere")
"""


def test_check_of_a_sound_pruner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    cli.main(["check", f"{tmp_path}/mine.py:Mine", "--option", "power=0.5"])
    lines = capsys.readouterr().out.splitlines()
    assert "passed   scores" in lines
    assert [line for line in lines if line.startswith("skipped  docstring (Mine has none")]
    passed = sum(line.startswith("passed") for line in lines)
    assert lines[-1] == f"{tmp_path}/mine.py:Mine: {passed} passed, 0 failed, 1 skipped"
    cli.main(["check", "sparsegpt", "--option", "block_size=4", "damp=0.1"])
    out = capsys.readouterr().out
    assert "skipped  monotone masks (monotone = False)" in out
    assert "passed   pattern 0.5@blocks4 (refused: SparseGPT removes single weights" in out


def test_check_tells_what_is_broken_and_how_to_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "mine.py:Broken"])
    assert stopped.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(
        f"FAILED   pruned weights: IndexError: nothing (mine.py:{1 + MINE.rsplit('IndexError', 1)[0].count(chr(10))})"
    )
    assert lines[at + 1].startswith("         `prune` returns weights and masks for exactly the layers")
    assert lines[-1].endswith(f": 2 passed, 1 failed, {sum(line.startswith('skipped') for line in lines)} skipped")


def test_a_cause_of_several_failures_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(SystemExit):
        cli.main(["check", f"{tmp_path}/mine.py:Late"])
    out = capsys.readouterr().out
    assert out.count("IndexError: nothing here") == 1
    at = out.splitlines().index("         ... and 10 more checks: " + ", ".join(
        ["monotone masks", "any order", "sparsity 0", "zeros stay", "pattern 0.6@layer", "pattern 0.6@erk",
         "pattern 2:4", "pattern 1:4", "pattern 4:8", "pattern 0.5@blocks4"]
    ))  # fmt: skip
    assert out.splitlines()[at - 1].startswith("FAILED   exact count: IndexError: nothing here (")
    assert " 11 failed, " in out.splitlines()[-1]


def test_options_of_any_name_and_missing_methods_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    for name, said in (
        ("Anything", "options: __init__ takes *names and **kwargs, behind which no option has a name or a default"),
        (
            "Unwritten",
            "options: ValueError: pruner '{}/mine.py:Unwritten' has no method prune: a cap.Pruner",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["check", f"{tmp_path}/mine.py:{name}"])
        assert stopped.value.code == 1
        assert f"FAILED   {said.format(tmp_path)}" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "finding"), [("Exits", "SystemExit: 3"), ("Ends", "SystemExit: 4")])
def test_a_pruner_that_ends_the_process_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, finding: str
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    end = os._exit
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", f"{tmp_path}/mine.py:{name}"])
    assert stopped.value.code == 1
    assert os._exit is end
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(f"FAILED   pruned weights: {finding} (")]
    assert ": 2 passed, 1 failed, " in lines[-1]


def test_mistakes_in_what_to_check(tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("wrong.py").write_text("import cap\nclass Mine(cap.ScorePruner)\n    pass\n")
    for arguments, message in [
        (["capp"], "unknown pruner 'capp': choose from cap, "),
        (["other.py:Mine"], "pruner file other.py does not exist"),
        (
            ["mine.py:Yours"],
            "mine.py has no pruner class 'Yours'; it has Mine, Exits, Ends, Anything, Late, ",
        ),
        (["wrong.py:Mine"], "wrong.py:Mine: SyntaxError: expected ':'"),
        (["mine.py:Mine", "--option", "strength=2"], "has no option strength: its options are power=1.0"),
        (["mine.py:Mine", "--option", "power=true"], "power=True is not valid"),
        (["mine.py:Anything", "--option", "power=2"], "has no option power: its options are none"),
        (["mine.py:Mine", "--option", "power"], "cannot read option 'power': write key=value"),
        (["mine.py:Mine", "--option", "power=1", "power=2"], "option power is given twice"),
    ]:
        assert message in fails("check", *arguments)

"""Cheap trials, and pruners that end badly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.specs.trial import Trial

PRUNERS = """
import os, sys, time
from pathlib import Path

import cap

HERE = Path(__file__).parent

class Killed(cap.ScorePruner):
    '''Its process dies whenever it is fitted.'''
    def scores(self, model, layers, calibration):
        os.kill(os.getpid(), 9)

class KilledOnce(cap.ScorePruner):
    '''Its process dies when it is fitted for the first time.'''
    def scores(self, model, layers, calibration):
        if not (HERE / "once").exists():
            (HERE / "once").touch()
            os.kill(os.getpid(), 9)
        return {name: weight.abs() for name, weight in layers.items()}

class Exits(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        sys.exit(3)

class Ends(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        os._exit(4)

class Interrupted(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        raise KeyboardInterrupt

class Raises(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        raise ZeroDivisionError("half way")

class Tells(cap.ScorePruner):
    '''Says how far it is, a thousand times at once and once later.'''
    def scores(self, model, layers, calibration):
        for step in range(1, 1001):
            calibration.progress(step, 1001, "steps")
        time.sleep(0.5)
        calibration.progress(1001, 1001, "steps")
        return {name: weight.abs() for name, weight in layers.items()}

class Waits(cap.ScorePruner):
    '''Leaves a half written file, and does not end.'''
    def scores(self, model, layers, calibration):
        from bench.core.files import atomic_write
        with atomic_write(HERE / "results/embedded/s/x.parquet") as temporary:
            temporary.touch()
            (HERE / str(os.getpid())).touch()
            time.sleep(600)
"""


@pytest.fixture
def make_trial(tmp_path: Path) -> Callable[..., Trial]:
    """Makes a trial that takes next to no time; `Name` of a pruner stands for that of the file `pruners.py`."""
    (tmp_path / "pruners.py").write_text(PRUNERS)

    def make(pruner: str = "magnitude", **values: Any) -> Trial:
        name = pruner if pruner.islower() else f"{tmp_path / 'pruners.py'}:{pruner}"
        small = {"patterns": ("0.5",), "calibration": {"images": 16}, "evaluation_images": 100}
        return Trial(sweep="s", profile="embedded", model="vit", pruner=name, **{**small, **values})

    return make

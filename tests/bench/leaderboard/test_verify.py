"""What is verified of a submission, and that what does not hold is found; the example is verified for real."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from bench.core.files import sha256
from bench.leaderboard import verify
from bench.leaderboard.verify import verify_submission
from bench.results.schema import ResultRow
from bench.results.submissions import Submission
from bench.specs.trial import Trial

ROOT = Path(__file__).parents[3]
POINTS = ["files", "protocol", "tuning budget", "rows", "contract"]


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch, rows: pd.DataFrame) -> Callable[[float], list[Trial]]:
    """Lets trials give the submitted rows once more, with a top-1 that is so many points higher; returns those run."""

    def prepare(higher: float = 0.0) -> list[Trial]:
        ran: list[Trial] = []

        def run_trial(trial: Trial, config: Any) -> Any:
            ran.append(trial)
            name = trial.pruner.rpartition(":")[2]
            mine = rows[(rows["pattern"] == trial.patterns[0]) & (rows["seed"] == trial.seed)]
            mine = mine[mine["pruner"].str.endswith(name)].astype(object)
            records = mine.where(mine.notna(), None).to_dict("records")
            return SimpleNamespace(rows=[ResultRow(**{**one, "top1": one["top1"] + higher}) for one in records])

        monkeypatch.setattr(verify, "run_trial", run_trial)
        monkeypatch.setattr(verify, "pruner_failures", lambda pruner: [])
        return ran

    return prepare


def failures(submission: Submission, **options: Any) -> list[str]:
    return [point.line() for point in verify_submission(submission.folder, **options) if point.failure]


def edited(submission: Submission, **values: Any) -> Submission:
    """Writes other settings into the folder."""
    path = submission.folder / "submission.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return submission


def test_it_is_recorded_with_the_cells_that_were_run_again(submission: Submission, again: Any) -> None:
    ran = again()
    lines = [point.line() for point in verify_submission(submission.folder, cells=2, draw=1)]
    assert lines[:5] == [f"passed   {name}" for name in POINTS]
    assert len(lines) == 5 + 2 + 1
    assert all(re.fullmatch(r"passed   (Mine|GM) on vit at 0\.7?5, seed [01]: exact", line) for line in lines[5:])
    assert [trial.pruner for trial in ran] == [f"{submission.folder}/mine.py:Mine"] * 2 + ["magnitude"]
    found = submission.verification()
    assert found is not None
    assert [(one.label, one.agreement) for one in found.cells] == [("Mine", "exact")] * 2 + [("GM", "exact")]
    (submission.folder / "mine.py").write_text("# changed\n")
    assert submission.verification() is None  # it was of other files


def test_rows_that_do_not_come_out_again_are_found(submission: Submission, again: Any) -> None:
    again(0.1)
    assert not failures(submission)
    assert {one.agreement for one in submission.verification().cells} == {"within tolerance"}  # type: ignore[union-attr]
    again(3.0)
    found = failures(submission, cells=4)
    assert len(found) == 5
    assert "differs (top1 82.0 -> 85.0)" in " ".join(found)
    assert submission.verification() is None  # the record from before is gone


def test_a_file_that_changed(submission: Submission, again: Any) -> None:
    again()
    (submission.folder / "mine.py").write_text("# another\n")
    assert failures(submission) == ["FAILED   files: mine.py is not what was submitted"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"protocol": 0}, "FAILED   protocol: version 0, today's is"),
        ({"configurations": 13, "chosen_on": "validation"}, "FAILED   tuning budget: 13 settings were tried"),
        ({"configurations": 5, "chosen_on": "test"}, "FAILED   tuning budget: settings were chosen on test"),
        ({"seeds": [0, 1, 2]}, "FAILED   rows: Mine lacks 2 of 6 cells"),
    ],
)
def test_what_is_not_by_the_protocol(submission: Submission, again: Any, values: dict[str, Any], line: str) -> None:
    ran = again()
    (found,) = failures(edited(submission, **values))
    assert found.startswith(line)
    assert not ran


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("n_images", 100, "rows are not of all 10,000 test images"),
        ("pruner_options", '{"x": 1}', "have other options than the settings"),
    ],
)
def test_rows_of_few_images_or_other_options(
    submission: Submission, again: Any, rows: pd.DataFrame, write_rows: Any, column: str, value: object, said: str
) -> None:
    again()
    path = submission.folder / "rows.parquet"
    write_rows(rows.assign(**{column: value}), path)
    (found,) = failures(edited(submission, sha256={**submission.settings.sha256, "rows.parquet": sha256(path)}))
    assert said in found


def test_the_contract_is_checked(submission: Submission, again: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = again()
    monkeypatch.setattr(verify, "pruner_failures", lambda pruner: ["exact count: 3 weights too many"])
    assert failures(submission) == ["FAILED   contract: exact count: 3 weights too many"]
    assert not ran


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("submissions/*/submission.json")))
def test_every_submission_is_verified_for_real(name: str, tmp_path: Path) -> None:
    """`nox -s example_submission` makes the example anew when models or protocol have changed."""
    committed = Submission.read(shutil.copytree(ROOT / "submissions" / name, tmp_path / name))
    assert committed.verification() is not None
    assert failures(committed, cells=1) == []


def test_the_example_is_that_of_the_documents() -> None:
    assert Submission.read(ROOT / "submissions/obd").code in (ROOT / "docs/add_a_pruner.md").read_text()

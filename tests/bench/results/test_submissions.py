"""Folders that are no submission are told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.results.submissions import Submission, find_submissions

VALUES = {
    "method": "mine", "protocol": 1, "suite": "0.1.0", "profile": "embedded", "models": ["vit"], "patterns": ["0.5"],
    "seeds": [0], "finetune": False, "configurations": 1, "chosen_on": "none", "file": "mine.py",
    "pruners": [{"label": "Mine", "pruner": "a/mine.py:Mine", "options": {}},
                {"label": "GM", "pruner": "magnitude", "options": {}}],
    "sha256": {"rows.parquet": "0", "mine.py": "0"},
}  # fmt: skip


def test_reading(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(UserError, match=r"mine is no submission: it has no submission\.json; capb"):
        Submission.read(folder)
    path = folder / "submission.json"
    path.write_text(json.dumps(VALUES))
    assert Submission.read(folder).pruner == f"{folder}/mine.py:Mine"
    assert [one.settings.method for one in find_submissions(tmp_path)] == ["mine"]
    assert Submission.read(folder).changed_files() == ["rows.parquet", "mine.py"]
    with pytest.raises(UserError, match=r"rows\.parquet cannot be read"):
        _ = Submission.read(folder).rows


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "../x"}, "method: String should match pattern"),
        ({"file": "../x.py"}, "file: String should match pattern"),
        ({"seeds": []}, "seeds: Tuple should have at least 1 item"),
        ({"sha256": {"rows.parquet": "0"}}, r"sha256 lacks mine\.py"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
    ],
)
def test_settings_that_are_not_valid(tmp_path: Path, values: dict[str, object], message: str) -> None:
    (tmp_path / "submission.json").write_text(json.dumps({**VALUES, **values}))
    with pytest.raises(UserError, match=message):
        Submission.read(tmp_path)


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    assert not list(find_submissions(tmp_path / "nothing"))

"""A submission is made of a whole comparison by the protocol, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.core.errors import UserError
from bench.leaderboard.submit import submit_comparison
from bench.results.submissions import PROTOCOL, Submission


def test_it_has_the_file_the_settings_and_the_rows(submission: Submission, tmp_path: Path, rows: pd.DataFrame) -> None:
    folder = tmp_path / "submissions/mine"
    assert {path.name for path in folder.iterdir()} == {"mine.py", "rows.parquet", "submission.json"}
    assert (folder / "mine.py").read_text() == (tmp_path / "mine.py").read_text()
    assert pq.read_table(folder / "rows.parquet")["top1"].to_pylist() == rows["top1"].tolist()
    values = json.loads((folder / "submission.json").read_text())
    assert values["protocol"] == PROTOCOL
    assert (values["models"], values["patterns"], values["seeds"]) == (["vit"], ["0.5", "0.75"], [0, 1])
    assert [one["label"] for one in values["pruners"]] == ["Mine", "GM"]
    assert values["sha256"]["mine.py"] == hashlib.sha256((folder / "mine.py").read_bytes()).hexdigest()
    assert submission == Submission.read(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]  # nothing temporary is left


def test_it_replaces_an_older_one(submission: Submission, finished: Path) -> None:
    (submission.folder / "old.txt").touch()
    again = submit_comparison(str(finished), "mine", "A. Author", folder=submission.folder.parent)
    assert again.settings.authors == "A. Author"
    assert not (again.folder / "old.txt").exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("status", "failed", "has rows that are failed: a comparison is submitted whole"),
        ("dirty", True, "has rows of code that was not committed, which nobody could make again"),
        ("split", "validation", "has rows on test, validation: submitted are rows on test alone"),
    ],
)
def test_rows_that_do_not_count_are_refused(
    finished: Path, rows: pd.DataFrame, write_rows: Any, tmp_path: Path, column: str, value: object, message: str
) -> None:
    rows[column] = [*rows[column][:-1], value]
    write_rows(rows, finished.with_suffix(".parquet"))
    with pytest.raises(UserError, match=message):
        submit_comparison(str(finished), "mine", folder=tmp_path / "submissions")
    assert not (tmp_path / "submissions").exists()


def test_other_mistakes_are_told_in_a_line(finished: Path, tmp_path: Path) -> None:
    def message(*arguments: object, **options: object) -> str:
        with pytest.raises(UserError) as raised:
            submit_comparison(*arguments, folder=tmp_path / "submissions", **options)  # type: ignore[arg-type]
        return str(raised.value)

    assert "--method 'My Method' is no name: write lower-case letters" in message(str(finished), "My Method")
    assert "unknown comparison 'nothing'" in message("nothing", "mine", results=tmp_path / "runs")
    assert "--configurations 13: the protocol allows 1 to 12" in message(str(finished), "mine", configurations=13)
    assert "settings are chosen on validation" in message(str(finished), "mine", configurations=5)
    document = json.loads(finished.read_text())
    document["pruners"][0]["code"] += "# changed"
    finished.write_text(json.dumps(document))
    assert "the text of mine.py is not the file that ran" in message(str(finished), "mine")
    assert not any((tmp_path / "submissions").iterdir())

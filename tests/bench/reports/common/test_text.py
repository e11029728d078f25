from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.reports.common import text

NAN = float("nan")


def test_numbers_in_words() -> None:
    assert text.plus_minus(83, 3.606) == "83.00 ± 3.61"
    assert [text.plus_minus(83, NAN), text.plus_minus(NAN, NAN)] == ["83.00", ""]
    assert [text.number(1.005e3), text.number(NAN)] == ["1005.00", ""]
    assert [text.whole(3.0), text.whole(NAN)] == ["3", ""]
    assert [text.significant(0.12345), text.significant(NAN)] == ["0.123", ""]


def test_times_and_sizes() -> None:
    assert [text.seconds(1.2345), text.seconds(0.01), text.seconds(0.00123)] == ["1.23 s", "0.01 s", "1.2 ms"]
    assert [text.seconds_in_column(s) for s in (1.234, 12.34, 123.4, NAN)] == ["1.23", "12.3", "123", ""]
    assert [text.mebibytes(3 * 2**30), text.mebibytes(None), text.mebibytes(NAN)] == ["3,072 MiB", "", ""]
    assert [text.kibibytes(2**21), text.kibibytes(NAN)] == ["2,048", ""]


@pytest.mark.parametrize(("items", "words"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_words_are_joined(items: list[str], words: str) -> None:
    assert text.joined(iter(items)) == words


def test_extent_of_a_claim() -> None:
    assert [text.extent(pd.Series(holds)) for holds in ([True, True], [True, False], [False])] == [
        "holds", "holds in part", "does not hold",
    ]  # fmt: skip


def test_markdown_table() -> None:
    table = pd.DataFrame({"pruner": ["CAP", "GM"], "": ["x", ""]})
    assert text.to_markdown(table) == "| pruner |  |\n| --- | --- |\n| CAP | x |\n| GM |  |\n"


def test_text_is_put_between_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- a -->\nstale\n<!-- /a -->\nafter\n")
    text.insert_text(document, "a", "new\n")
    assert document.read_text() == "before\n<!-- a -->\nnew\n<!-- /a -->\nafter\n"
    assert list(tmp_path.iterdir()) == [document]
    with pytest.raises(UserError, match="needs the lines <!-- b --> and <!-- /b -->"):
        text.insert_text(document, "b", "new\n")
    with pytest.raises(UserError, match="does not exist"):
        text.insert_text(tmp_path / "none.md", "a", "new\n")

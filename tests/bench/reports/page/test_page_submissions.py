"""Submissions on the page: numbers beside those of others, and the mark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.reports.page.data import PageData
from bench.reports.page.report import PageReport
from bench.reports.page.serialization import to_json
from bench.results.folders import CHECKOUT
from bench.results.store import Store
from bench.results.submissions import find_submissions


def page(table1: Store, folder: Path) -> PageData:
    return PageReport([table1], table1.results, None, find_submissions(folder)).data()


def test_a_verified_one_and_one_that_changed(table1: Store, tmp_path: Path) -> None:
    for name in ("obd", "other"):
        shutil.copytree(CHECKOUT / "submissions/obd", tmp_path / "submissions" / name)
    settings = tmp_path / "submissions/obd/submission.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "authors": "another"}))
    found = page(table1, tmp_path / "submissions").submissions
    assert [(one.authors, one.verified) for one in found] == [("", True), ("another", False)]
    assert "3 cells run again, 3 of them exactly the same" in found[0].note
    assert found[1].note == "capbench verify has not passed on these files"
    assert "class OBD" in found[0].code
    cells = [(one.model, one.target, one.against) for one in found[0].results]
    assert cells == [("vit", "75 %", "GM"), ("vit", "90 %", "GM")]
    for one in found[0].results:
        assert one.low is not None
        assert one.high is not None
        assert one.difference is not None
        assert one.low < one.difference < one.high
        assert one.seeds == 3


def test_the_page_has_a_section_where_there_are_any(
    table1: Store, tmp_path: Path, page_text: Callable[[Path], str]
) -> None:
    assert json.loads(to_json(page(table1, tmp_path / "nothing")))["submissions"] == []
    submissions = find_submissions(CHECKOUT / "submissions")
    text = page_text(PageReport([table1], table1.results, None, submissions).write(tmp_path / "page.html"))
    assert "submissionsView" in text
    assert "LeCun, Denker and Solla" in text


def test_in_a_browser(open_page: Any, table1: Store) -> None:
    one = open_page(table1, submissions=find_submissions(CHECKOUT / "submissions"))
    assert one.page.locator("#nav a").all_inner_texts()[-2:] == ["Submissions", "Provenance"]
    assert "1 of 1 verified" in one.page.inner_text("#submissions")
    standings = one.page.locator('[aria-label="Submissions against the others"] tbody tr')
    assert standings.locator("td, th").all_inner_texts()[:2] == ["obd", "\u2713 verified"]
    assert standings.locator("td").last.inner_text() == "+7.63\nbetter in 2, worse in 0 of 2"  # +1.34 and +13.92
    assert one.page.locator("#submissions li.good table tbody tr").count() == 2
    assert "OBD" in one.page.locator("#submissions details pre").text_content()

"""The page of a comparison."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.reports.comparison.report import ComparisonReport, Entry
from bench.reports.page.comparison import find_comparison
from bench.reports.page.comparison_texts import escaped
from bench.reports.page.report import PageReport
from bench.results.references import REFERENCES, bibtex
from bench.results.store import Store
from bench.results.submissions import PROTOCOL

OPTIONS = '{"block_size": 64}'
CODE = "class Mine:\n    name = '</script>'\n"


@pytest.fixture
def comparison(write: Any, make: Any, frame: Any, tmp_path: Path) -> Store:
    """A pruner from a file against two at two sparsities, three seeds, written as `capbench compare` does."""
    values = {"dataset": "fashion-mnist", "calibration_images": 64, "fit_seconds": 1.0, "prune_seconds": 0.1}
    rows = frame(
        make("mine.py:Mine", "0.5", [88.0, 88.5, 89.0], options=json.loads(OPTIONS), **values),
        make("mine.py:Mine", "0.9", [70.0, 72.0, 77.0], options=json.loads(OPTIONS), **values),
        make("magnitude", "0.5", [80.0, 81.0, 82.0], **values),
        make("magnitude", "0.9", [50.0, 51.0, 52.0], **values),
        make("cap", "0.5", [88.0, 88.6, 88.9], **values),
        make("cap", "0.9", [71.0, 73.0, 78.0], **values),
    )
    store = write("compare", rows)
    part = Store(tmp_path, "embedded", "compare", "Mine-1a2b3c4d")
    part.collected.parent.mkdir()
    store.collected.rename(part.collected)
    entries = [
        Entry("Mine", "mine.py:Mine", OPTIONS, "mine.py", "ab" * 32, CODE),
        Entry("GM", "magnitude", "{}", "cap.pruners.magnitude.Magnitude"),
        Entry("CAP", "cap", "{}", "cap.pruners.correlation_aware.CAP"),
    ]
    report = ComparisonReport(part.read(), entries, "Mine against GM, CAP (embedded)")
    report.write(part.collected.with_suffix(""))
    return part


def test_differences_sources_and_texts(comparison: Store) -> None:
    found = find_comparison("Mine-1a2b3c4d", "embedded", comparison.results)
    facts = PageReport([], comparison.results, found).data().comparison
    assert facts is not None
    (gap,) = [one for one in facts.differences if (one.against, one.target) == ("GM", "90 %")]
    half = 4.302653 * 2.645751 / math.sqrt(3)  # 20, 21, 25: standard deviation 2.6458, t(0.975, 2)
    assert gap.difference == pytest.approx((22, 22 - half, 22 + half), rel=1e-5)
    assert (gap.pairs, gap.verdict, gap.needed) == (3, "better", "")
    (even,) = [one for one in facts.differences if (one.against, one.target) == ("CAP", "50 %")]
    assert (even.verdict, even.needed) == ("no difference shown", "no number"), "0, -0.1, 0.1: no mean difference"
    assert (facts.pruners[0].label, facts.pruners[0].code, facts.pruners[0].sha256) == ("Mine", CODE, "ab" * 32)
    assert facts.command == (
        "capbench compare --pruner mine.py:Mine --option block_size=64 --against magnitude cap --model vit "
        "--sparsity 0.5 0.9 --seeds 0 1 2"
    )
    assert "eprint = {1506.02626}" in facts.bibtex
    assert "eprint = {2210.09223}" in facts.bibtex
    assert "  title = {{CAP} benchmark suite}" in facts.bibtex
    assert "the same 64 calibration images, drawn anew by each of 3 seeds" in facts.appendix
    assert f"by version {PROTOCOL} of its protocol" in facts.appendix
    assert r"Mine & all & block\_size=64 \\" in facts.appendix
    assert r"vit & 90 \% & one-shot & GM & 51.00 $\pm$ 1.00 & $+22.00$ & $[+15.43, +28.57]$ \\" in facts.appendix


@pytest.fixture
def tuned(write: Any, make: Any, frame: Any, tmp_path: Path) -> Store:
    """OBC against CAP on two models with tuned settings, which differ by model, on validation images of a profile."""
    values = {"dataset": "d", "calibration_images": 64, "profile": "own", "split": "validation", "setting": "tuned",
              "batch_norm": "reestimated", "device": "CPU", "versions": '{"torch": "2.15.0"}',
              "recipe": {"epochs": 4, "images": 128, "batch_size": 64, "lr": 1e-4}}  # fmt: skip
    damps = {"vit": 0.1, "convnext": 0.01}
    rows = frame(*(
        make(pruner, "0.5", [88.0, 88.4], model=model, options=options, phase=phase, **values)
        for model, damp in damps.items()
        for pruner, options in (("obc", {"damp": damp}), ("cap", {"damp": 1e-3}))
        for phase in ("one_shot", "finetuned")
    ))  # fmt: skip
    store = write("compare", rows)
    part = Store(tmp_path, "embedded", "compare", "OBC-1a2b3c4d")
    part.collected.parent.mkdir()
    store.collected.rename(part.collected)
    own = {model: json.dumps({"damp": damp}) for model, damp in damps.items()}
    entries = [Entry("OBC", "obc", own["vit"], model_options=own), Entry("CAP", "cap", '{"damp": 0.001}')]
    ComparisonReport(part.read(), entries, "OBC against CAP").write(part.collected.with_suffix(""))
    return part


def test_settings_of_each_model_and_how_it_was_made(tuned: Store) -> None:
    found = find_comparison("OBC-1a2b3c4d", "embedded", tuned.results)
    data = PageReport([], tuned.results, found).data()
    facts = data.comparison
    assert facts is not None
    assert {model: data.options[place] for model, place in facts.pruners[0].options.items()} == {
        "vit": '{"damp": 0.1}', "convnext": '{"damp": 0.01}'
    }  # fmt: skip
    assert facts.command == (
        "capbench compare --pruner obc --against cap --model vit convnext --sparsity 0.5 --seeds 0 1 --finetune "
        "--profile own --split validation --setting tuned --batch-norm reestimated"
    )
    assert r"OBC & vit & damp=0.1 \\" in facts.appendix
    assert r"OBC & convnext & damp=0.01 \\" in facts.appendix
    assert r"CAP & all & damp=0.001 \\" in facts.appendix
    assert "chosen on validation images" in facts.appendix
    assert "fine-tuned: epochs 4, images an epoch 128, batch size 64, peak rate 0.0001" in facts.appendix
    assert "; CPU; torch 2.15.0." in facts.appendix


def test_what_latex_reads_as_commands_is_escaped() -> None:
    assert escaped(r"50 % of a_b & {x} \ ^") == r"50 \% of a\_b \& \{x\} \textbackslash{} \textasciicircum{}"


def test_settings_of_each_model_in_a_browser(open_comparison: Any, tuned: Store) -> None:
    one = open_comparison(tuned)
    assert one.page.locator("#table tr.theirs").count() == 2, "one line a model"
    assert 'vit: {"damp": 0.1}' in one.page.inner_text("#comparison")
    assert one.page.locator("#differences .point").count() == 2


def test_a_file_stands_for_the_comparison(comparison: Store, tmp_path: Path) -> None:
    by_path = find_comparison(str(comparison.collected.with_suffix(".md")), "embedded", Path("elsewhere"))
    assert by_path.collected == comparison.collected
    written = PageReport([], tmp_path, by_path).write()
    assert written == comparison.collected.with_suffix(".html")
    with pytest.raises(UserError, match=r"unknown comparison 'Other'.*choose from Mine-1a2b3c4d"):
        find_comparison("Other", "embedded", tmp_path)
    with pytest.raises(UserError, match="run capbench compare first"):
        find_comparison("Other", "embedded", tmp_path / "nowhere")
    comparison.collected.with_suffix(".json").write_text('{"version": 99}')
    with pytest.raises(UserError, match="is no comparison of version 1"):
        PageReport([], tmp_path, by_path).data()


def test_entries_of_bibtex_have_all_fields() -> None:
    for number in REFERENCES:
        entry = bibtex(number)
        assert entry.count("{") == entry.count("}")
        assert all(f"  {name} = {{" in entry for name in ("author", "title", "year", "eprint", "archivePrefix"))
    assert bibtex("0000.00000") == "% arXiv 0000.00000\n"


def test_the_page_in_a_browser(open_comparison: Any, comparison: Store, tmp_path: Path) -> None:
    one = open_comparison(comparison)
    assert "Mine against GM: better in 2 of 2 cells" in one.page.inner_text("#comparison")
    assert one.page.locator("#table tr.theirs").count() == 1
    assert one.page.locator("#table tr.theirs td[data-cell]").count() == 2
    assert "no number" in one.page.inner_text('[aria-label="Paired differences"]')
    assert one.page.locator("#differences .point").count() == 4
    assert one.page.locator("#sparsity .legend button.theirs").all_inner_texts() == ["Mine"]
    one.page.click('summary:has-text("Source of Mine")')
    assert one.page.inner_text("#comparison pre >> nth=0") == CODE
    one.page.click('summary:has-text("BibTeX")')
    saved = one.download('button:has-text("references.bib")', tmp_path / "references.bib")
    assert "2210.09223" in saved.read_text()
    one.page.click("#table tr.theirs td[data-cell] >> nth=0")
    assert "capbench compare --pruner mine.py:Mine" in one.page.inner_text("#pin")

"""The page in a real browser, opened from a file with the network off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from bench.reports.page.report import PageReport
from bench.results.folders import CHECKOUT, collected_sweeps
from bench.results.methods import METHODS
from bench.results.store import Store


def test_sort_and_filter(open_page: Any, table1: Store) -> None:
    one = open_page(table1)
    assert len(one.column("value")) == 5
    one.page.click("#table thead button[data-key=value]")
    assert one.column("value") == ["88.50", "81.00", "81.00", "73.00", "51.00"]
    one.page.click("#table thead button[data-key=value]")
    assert one.column("value") == ["51.00", "73.00", "81.00", "81.00", "88.50"]
    assert one.page.get_attribute("#table th.c-value", "aria-sort") == "ascending"
    one.page.select_option("[name=method]", "CAP")
    one.page.select_option("[name=phase]", "one-shot")
    assert one.column("value") == ["73.00", "88.50"]
    assert one.page.locator("#sparsity .legend button").count() == 1
    one.page.select_option("[name=mode]", "magnitude")
    assert one.column("value") == ["+7.50", "+22.00"]
    assert one.column("interval")[1] == "+15.43 to +28.57"
    one.page.select_option("[name=mode]", "dense")
    assert one.column("value") == ["\u221217.00", "\u22121.50"]
    one.page.click("[name=reset]")
    one.page.select_option("[name=family]", "weights alone")
    assert one.column("method") == ["GM", "GM"]
    one.page.click("[name=reset]")
    one.page.select_option("[name=setting]", "profile's")
    assert set(one.column("method")) == {"CAP"}
    one.page.fill("[name=text]", "fine-tuned")
    assert one.column("phase") == ["fine-tuned"]


def test_columns_of_choice(open_page: Any, table1: Store) -> None:
    page = open_page(table1).page
    heads = page.locator("#table thead button")
    assert "kept, % of dense" not in heads.all_inner_texts()
    page.click('summary:has-text("Columns")')
    page.check("[name=column-kept]")
    assert page.locator("#table td.c-kept").first.inner_text() == "90.00"  # 81 of 90
    page.uncheck("[name=column-interval]")
    assert "95 % interval" not in heads.all_inner_texts()
    assert page.evaluate("document.activeElement.name") == "column-interval"
    page.check("[name=column-commit]")
    assert page.locator("#table td.c-commit").first.inner_text() == "c0ffeec0ffee"


def test_sparsities_side_by_side(open_page: Any, table1: Store) -> None:
    page = open_page(table1, layout=None).page
    assert page.locator("#table thead th.phase").all_inner_texts() == ["one-shot, top-1, %", "fine-tuned, top-1, %"]
    assert page.locator("#table tbody th").all_inner_texts() == ["GM", "CAP"]
    assert page.locator("#table tbody td.best").all_inner_texts() == ["88.50 \u00b11.24", "73.00 \u00b18.96"]
    page.click('#table button[aria-label="one-shot 90 %"]')
    assert page.locator("#table tbody th").all_inner_texts() == ["CAP", "GM"]
    page.click('#table button[aria-label="pruner"]')
    assert page.locator("#table tbody th").all_inner_texts() == ["GM", "CAP"], "by the columns of a line, too"
    page.click('#table button[aria-label="pruner"]')
    assert page.locator("#table tbody th").all_inner_texts() == ["CAP", "GM"]
    assert page.get_attribute('#table th:has(button[aria-label="pruner"])', "aria-sort") == "descending"
    page.focus("#table td[tabindex='0']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.inner_text("#pin h2") == "GM, vit, 90 % one-shot"
    assert page.locator("#table td.pinned").inner_text().startswith("51.00")
    page.keyboard.press("Escape")
    page.select_option("[name=mode]", "relative")
    assert page.locator("#table tbody td.best").first.inner_text().startswith("1.67")  # 88.5 of 90: the least drop


def test_what_failed_is_told_beside_the_sparsities(open_page: Any, write: Any, make: Any, frame: Any) -> None:
    rows = frame(make("cap", "0.5", [80.0]), make("obc", "0.5", [1.0], status="failed", error="out of <memory>"))
    rows.loc[rows["status"] == "failed", ["pattern", "phase", "top1"]] = None
    page = open_page(write("mixed", rows), layout=None).page
    assert page.locator("#table .lacking li").all_inner_texts() == ["vit, OBC, failed: out of <memory>"]


def test_headline_numbers_ranks_and_leads(open_page: Any, headline: Store) -> None:
    page = open_page(headline).page
    assert page.locator("#nav a").all_inner_texts()[1] == "Headline"
    assert page.locator("#headline-headline .point").count() == 3 * 6
    assert page.locator("#ranks-headline-0 .point").count() == 6
    assert page.locator("#headline-headline .legend").is_hidden(), "lines are named beside the axis"
    assert "Friedman's test" in page.inner_text("#ranks-headline-0 figcaption")
    assert page.locator('[aria-label="Leads of CAP, headline"] tbody th').last.inner_text() == "mean"
    page.focus("#headline-headline .plot")
    page.keyboard.press("ArrowRight")
    assert "sparsity at 1 % drop" in page.inner_text("#tip")
    page.keyboard.press("Enter")
    assert "capbench table headline" in page.inner_text("#pin")
    assert page.input_value("[name=setting]") == "tuned", "as the verdicts"
    page.click('#table tr:has-text("CAP")')
    assert "by dense model" in page.inner_text("#pin")


def test_cells_of_a_verdict_are_a_table(open_page: Any, write: Any, everywhere: Any, frame: Any) -> None:
    rows = frame(everywhere("cap", "0.75", [89.7, 89.75, 89.8], phase="finetuned"))
    one = open_page(write("table1", rows))
    assert "By these results: 1 holds." in one.page.inner_text("#claims")
    assert "refuted: r higher than 1 % on one" in one.page.inner_text("#claims")
    first = one.page.locator("#claims table tbody tr").first
    assert first.locator("th").inner_text() == "vit"
    assert first.locator("td").all_inner_texts() == ["0.28 %", "0.14 to 0.42", "3", "0.003", "holds"]


def test_hover_pin_hide(open_page: Any, table1: Store) -> None:
    one = open_page(table1)
    page = one.page
    page.locator("#figures").scroll_into_view_if_needed()
    page.select_option("[name=reach]", "all")
    point = page.locator("#sparsity .point").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*place)
    told = page.inner_text("#tip")
    assert "vit" in told
    assert "by seed" in told
    assert "trials" in told
    page.mouse.click(*place)
    assert "capbench rerun" in page.inner_text("#pin")
    assert "--only model=vit --only pruner=" in page.inner_text("#pin")
    assert page.locator("#table tr.pinned").count() == 1
    page.keyboard.press("Escape")
    assert page.is_hidden("#pin")
    points = page.locator("#sparsity .point").count()
    legend = page.locator('#sparsity .legend button[data-series="CAP"]')
    legend.click()
    assert legend.get_attribute("aria-pressed") == "false"
    assert page.locator("#sparsity .point").count() == points - 3, "in the panels of both phases"
    legend.click()
    assert page.locator("#sparsity .point").count() == points


def test_by_keyboard(open_page: Any, table1: Store) -> None:
    page = open_page(table1).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#sparsity .plot")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#tip")
    page.keyboard.press("Enter")
    assert page.is_visible("#pin")
    page.keyboard.press("Escape")
    page.focus("#table tbody tr")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.is_visible("#pin")
    page.focus("#table thead button[data-key=value]")
    page.keyboard.press("Enter")
    assert page.get_attribute("#table th.c-value", "aria-sort") == "descending"
    assert page.evaluate("document.activeElement.dataset.key") == "value"


def test_downloads(open_page: Any, table1: Store, tmp_path: Path) -> None:
    one = open_page(table1)
    rows = pd.read_csv(one.download("#csv", tmp_path / "rows.csv"))
    assert sorted(rows["top1"]) == [51, 73, 81, 81, 88.5]
    assert set(rows["trials"].str.len() > 0) == {True}
    every = pd.read_parquet(one.download("#parquet-button", tmp_path / "rows.parquet"))
    assert every.equals(pd.read_parquet(table1.collected))
    figure = ElementTree.parse(one.download('#sparsity button:has-text("as SVG")', tmp_path / "figure.svg")).getroot()
    texts = [node.text for node in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert {"vit, one-shot", "vit, fine-tuned", "sparsity, % (log scale of what is kept)", "CAP"} <= set(texts)
    assert "var(" not in (tmp_path / "figure.svg").read_text()
    content = one.download('#sparsity button:has-text("as PDF")', tmp_path / "figure.pdf").read_bytes()
    assert content.startswith(b"%PDF-1.4")
    start = int(content.split(b"startxref\n")[1].split(b"\n")[0])
    assert content[start:].startswith(b"xref")
    for number, line in enumerate(content[start:].split(b"\n")[3:9], start=1):
        assert content[int(line[:10]) :].startswith(f"{number} 0 obj".encode())


def test_pages_of_methods_and_models(open_page: Any, table1: Store) -> None:
    page = open_page(table1).page
    page.click('#pages a:has-text("CAP")')
    page.wait_for_selector('h2:has-text("CAP")')
    text = page.inner_text("main")
    assert "Greedy Optimal Brain Surgeon" in text
    assert '"block_size": 64' in text
    assert "arXiv 2210.09223" in text
    assert page.locator("tbody tr[data-row]").count() == 3
    page.click('tbody a:has-text("vit")')
    page.wait_for_selector('h2:has-text("vit")')
    assert page.locator("th code").all_inner_texts() == ["fc1.weight", "fc2.weight"]
    assert page.locator("#loss .point").count() == 2
    page.go_back()
    page.wait_for_selector('h2:has-text("CAP")')


def test_a_number_says_how_it_was_made(open_page: Any, write: Any, make: Any, frame: Any) -> None:
    old = make("cap", "0.5", [80.0], setting="tuned")
    new = make("woodfisher", "0.5", [79.0], setting="tuned", commit="feedfeedfeedfeed", dirty=True, device="a card")
    page = open_page(write("table1", frame(old, new))).page
    page.click('#table tr:has-text("WF")')
    pinned = page.inner_text("#pin")
    assert "feedfeedfeed with changes" in pinned
    assert "c0ffee" not in pinned, "nothing of other rows of the sweep"
    assert "a card" in pinned
    assert "--only pruner=woodfisher --only setting=tuned --only sparsity=0.5 --only phase=one_shot" in pinned


@pytest.mark.parametrize("width", [380, 1900])
def test_figures_fill_the_width_of_a_sheet(open_page: Any, table1: Store, width: int) -> None:
    page = open_page(table1, viewport={"width": width, "height": 900}).page
    on_screen = page.get_attribute("#sparsity .plot svg", "width")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_attribute("#sparsity .plot svg", "width") == "680"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.get_attribute("#sparsity .plot svg", "width") == on_screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_narrow_and_contrast(open_page: Any, table1: Store, scheme: str) -> None:
    page = open_page(table1, color_scheme=scheme, viewport={"width": 360, "height": 740}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#sparsity svg").first.bounding_box()["width"] <= 360
    value = page.locator("#table td.c-value").first.bounding_box()
    assert value["x"] + value["width"] <= 360, "top-1 is seen without scrolling"
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 7
    for name in ("f0-0", "f1-0", "f2-0", "f3-0", "f4-0", "f5-0"):  # what graphics need by WCAG 1.4.11
        colour = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        assert contrast(colour, paper) >= 3
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper


def test_one_trial_with_rows_that_failed(open_page: Any, write: Any, make: Any, frame: Any) -> None:
    rows = frame(
        make("cap", "0.5", [80.0], fit_seconds=4.1),
        make("obc", "0.5@layer", [1.0], status="failed", error="out of <memory>"),
        make("wanda", "0.5@layer", [1.0], status="invalid", error="2 of 4 weights are zero"),
    )
    rows.loc[rows["status"] == "failed", ["pattern", "phase", "top1"]] = None
    one = open_page(write("mixed", rows))
    texts = one.column("status")
    assert any("failed out of <memory>" in text for text in texts)
    assert any("invalid 2 of 4 weights are zero" in text for text in texts)
    assert one.page.locator("#sparsity .point").count() == 1
    assert "1 seed" in one.page.locator("#intro li").all_inner_texts()
    assert "5" in one.page.locator("#cost svg text").all_text_contents(), "a single point has ticks about it"
    one.page.click('#table tr:has-text("OBC")')
    assert "out of <memory>" in one.page.inner_text("#pin")


def test_two_thousand_rows_of_twenty_methods_open_in_two_seconds(
    open_page: Any, write: Any, make: Any, frame: Any
) -> None:
    pruners = [*(name for name in METHODS if name != "compose"), "mine.py:Own", "mine.py:Other"]
    patterns = [f"{0.5 + 0.02 * step:.2g}" for step in range(25)]
    rows = [
        make(pruner, pattern, [90.0 - place - 2 * float(pattern)], model=model, fit_seconds=1.0 + place)
        for model in ("vit", "convnext", "xcit", "dino")
        for place, pruner in enumerate(pruners)
        for pattern in patterns
    ]
    assert len(rows) == 2000
    one = open_page(write("large", frame(*rows)), layout=None)
    seconds = one.page.context.new_cdp_session(one.page)
    seconds.send("Performance.enable", {"timeDomain": "threadTicks"})  # what other work takes does not count
    one.page.reload()
    one.page.wait_for_selector("#cost svg")
    spent = {metric["name"]: metric["value"] for metric in seconds.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["TaskDuration"] < 2
    assert one.page.locator("#table tbody td[data-cell]").count() == 2000
    one.page.select_option("[name=layout]", "list")
    assert one.page.locator("#table tbody tr").count() == 2000
    best = one.page.locator("#sparsity .point").count()
    assert one.page.locator("#sparsity svg text:has-text('lines beyond')").count() == 4, "in the panel of each model"
    one.page.select_option("[name=reach]", "all")
    assert best < one.page.locator("#sparsity .point").count() == 12 * 100, "those of twelve methods"
    one.page.locator("#sparsity .legend button").first.click()
    assert one.page.locator("#sparsity .point").count() == 2000


@pytest.fixture
def twenty(write: Any, make: Any, frame: Any) -> Store:
    """Twenty methods on one model at two sparsities, one-shot and fine-tuned, the unpruned model beside them.

    The later a method is registered the lower its accuracy and, but for the first, the cheaper its fit.
    """
    pruners = [*(name for name in METHODS if name != "compose"), "mine.py:Own", "mine.py:Other"]
    rows = [make("magnitude", "0.0", [90.0]), make("magnitude", "0.0", [90.0], phase="finetuned")]
    for place, pruner in enumerate(pruners):
        for pattern in ("0.5", "0.9"):
            top1, seconds = 89.0 - place - 5 * float(pattern), 100.0 - place
            rows.append(make(pruner, pattern, [top1], fit_seconds=seconds))
            if place < 12:
                rows.append(make(pruner, pattern, [top1 + 1], phase="finetuned", fit_seconds=seconds))
    return write("large", frame(*rows))


def test_of_many_lines_the_best_are_shown_first(open_page: Any, twenty: Store) -> None:
    page = open_page(twenty).page
    legend = page.locator("#sparsity .legend button")
    shown = page.locator('#sparsity .legend button[aria-pressed="true"]')
    whole = legend.first
    names = shown.all_inner_texts()
    assert whole.inner_text() == "13 of 21 lines: show all"
    assert {"GM", "CAP", "Own", "unpruned"} <= set(names), "in both phases by one name"
    assert "Other" not in names
    page.click('#sparsity .legend button[data-series="Other"]')
    page.select_option("[name=target]", "90 %")
    assert "Other" in shown.all_inner_texts(), "what was chosen by hand stays"
    whole.click()
    assert page.evaluate("document.activeElement.closest('figure').id") == "sparsity"
    assert page.locator('#sparsity .legend button[aria-pressed="false"]').count() == 0
    assert whole.inner_text() == "Show the best"
    whole.click()
    assert "Other" not in shown.all_inner_texts()
    page.evaluate("location.hash = '#/method/Other'")
    page.wait_for_selector("#own svg")
    assert page.locator("#own .point").count() == 2, "that page has its lines"
    assert page.locator("#own .legend button").count() == 1


def test_the_front_of_the_cost_is_that_of_all_lines(open_page: Any, twenty: Store) -> None:
    page = open_page(twenty).page
    assert page.locator('#cost .legend button[aria-pressed="false"]').count() == 0, "each is cheaper than all better"
    assert page.locator("#cost .point").count() == 20


def test_no_two_lines_of_a_published_figure_look_alike(open_page: Any) -> None:
    """But for their colour: each differs in marker, filling, dashes or size from the others of its legend."""
    results = CHECKOUT / "results"
    sweeps = collected_sweeps("embedded", results)
    page = open_page(*(Store(results, "embedded", name, source=name) for name in sweeps)).page
    checked = 0
    for sweep in sweeps:
        page.select_option("[name=sweep]", sweep)
        for legend in page.locator("figure .legend:visible").all():
            looks = [re.sub(r"var\(--f\d-\d\)", "colour", html) for html in legend.evaluate(
                "one => [...one.querySelectorAll('.swatch')].map((swatch) => swatch.innerHTML)")]  # fmt: skip
            assert len(set(looks)) == len(looks), f"{sweep}: {legend.get_attribute('aria-label')}"
            checked += len(looks)
    assert checked > 200


def test_data_that_cannot_be_read_are_said(chromium: Any, table1: Store, tmp_path: Path) -> None:
    file = PageReport([table1], table1.results).write(tmp_path / "page.html")
    text = file.read_text()
    start = text.index('id="data">') + 200
    file.write_text(text[:start] + text[start + 400 :])
    page = chromium.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("text=The data of this page cannot be read")
    page.close()


def contrast(first: str, second: str) -> float:
    """Returns the ratio of contrast of two colours, by WCAG 2.2."""

    def luminance(colour: str) -> float:
        colour = colour.strip()
        if colour.startswith("#"):
            parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        else:
            parts = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in parts)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)

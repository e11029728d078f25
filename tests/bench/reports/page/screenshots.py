"""The pictures of docs/report.md, from the page of the published results: `nox -s report_screenshots`."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from bench.reports.page.report import PageReport
from bench.results.folders import CHECKOUT, collected_sweeps
from bench.results.store import Store

RESULTS = CHECKOUT / "results"


def save(page: Any, path: Path) -> None:
    """Writes what is on the screen with few colours, which keeps the file small."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def open_page(browser: Any, file: Path, width: int, height: int, scheme: str = "light") -> Any:
    """Opens the page in a window of its own."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    return page


def show(page: Any, section: str) -> None:
    """Goes to a section."""
    page.evaluate(f"location.hash = '{section}'")
    page.wait_for_timeout(300)


def main(folder: Path) -> None:
    """Writes the pictures into a folder."""
    names = collected_sweeps("embedded", RESULTS)
    stores = [Store(RESULTS, "embedded", name, source=name) for name in names]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        file = PageReport(stores, RESULTS).write(Path(temporary) / "report.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = open_page(browser, file, 1280, 800)
        save(page, folder / "report_claims.png")
        show(page, "table")
        page.click('#table button[aria-label="one-shot 90 %"]')
        save(page, folder / "report_table.png")
        page = open_page(browser, file, 1280, 960, "dark")
        show(page, "figures")
        box = page.locator("#sparsity .point").nth(24).bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        save(page, folder / "report_figures.png")
        page = open_page(browser, file, 1280, 900)
        show(page, "/model/vit")
        save(page, folder / "report_model.png")
        page = open_page(browser, file, 390, 760)
        show(page, "figures")
        save(page, folder / "report_telephone.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

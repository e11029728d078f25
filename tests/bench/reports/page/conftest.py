"""Folders of results that pages are made of, and pages in a browser without a network."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.reports.page.report import PageReport
from bench.results.parquet import write_rows
from bench.results.predictions import PREDICTION_SCHEMA
from bench.results.schema import LAYER_SCHEMA, SCHEMA
from bench.results.store import Store
from bench.results.submissions import Submission

Write = Callable[..., Store]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the rows of a sweep, and of its layers, where results are collected."""

    def sweep(name: str, rows: pd.DataFrame, layers: list[dict[str, Any]] | None = None) -> Store:
        store = Store(tmp_path, "embedded", name, source=name)
        store.collected.parent.mkdir(parents=True, exist_ok=True)
        defaults = {"sweep": name, "profile": "embedded", "versions": '{"torch": "2.0"}', "threads": 2}
        whole = rows.assign(**{key: rows[key].where(rows[key].notna(), value) for key, value in defaults.items()})
        pq.write_table(pa.Table.from_pylist(whole.astype(object).where(whole.notna(), None).to_dict("records"), SCHEMA),
                       store.collected)  # fmt: skip
        if layers:
            pq.write_table(pa.Table.from_pylist(layers, LAYER_SCHEMA), store.collected_layers)
        return store

    return sweep


@pytest.fixture
def table1(write: Write, make: Any, frame: Any) -> Store:
    """Two pruners at two sparsities with three seeds, in both phases, with layers."""
    rows = frame(
        make("magnitude", "0.5", [80.0, 81.0, 82.0], fit_seconds=0.1, prune_seconds=0.1),
        make("magnitude", "0.9", [50.0, 51.0, 52.0], fit_seconds=0.1, prune_seconds=0.1),
        make("cap", "0.5", [88.0, 88.5, 89.0], options={"block_size": 64}, fit_seconds=4.0, prune_seconds=0.1,
             predicted_loss_increase=0.01, observed_loss_increase=0.02),
        make("cap", "0.9", [70.0, 72.0, 77.0], options={"block_size": 64}, fit_seconds=4.0, prune_seconds=0.1,
             predicted_loss_increase=0.1, observed_loss_increase=0.3),
        make("cap", "0.9", [80.0, 81.0, 82.0], options={"block_size": 64}, phase="finetuned", fit_seconds=4.0),
    )  # fmt: skip
    layers = [
        {"sweep": "table1", "profile": "embedded", "trial_id": trial, "pattern": pattern, "phase": phase,
         "layer": layer, "weights": 10, "zeros": zeros, "sparsity": zeros / 10}
        for trial, pattern, phase in rows[["trial_id", "pattern", "phase"]].itertuples(index=False)
        for layer, zeros in (("fc1.weight", 4), ("fc2.weight", 6))
    ]  # fmt: skip
    return write("table1", rows, layers)


@pytest.fixture
def headline(write: Any, everywhere: Any, frame: Any, predicted: Any) -> Store:
    """Three pruners at three sparsities on three dense models of each architecture, with predicted classes."""
    rows = frame(*(
        everywhere(pruner, pattern, [top1, top1 - 0.1, top1 - 0.3], options={"block_size": size}, setting=setting)
        for pruner, best in (("cap", 90.0), ("woodfisher", 89.6), ("magnitude", 89.5))
        for setting, size, less in (("authors", 192, 0.4), ("tuned", 64, 0.0))
        for pattern, top1 in (("0.5", best - less), ("0.75", best - less - 0.5), ("0.9", best - less - 9))
    ))  # fmt: skip
    store = write("headline", rows)
    write_rows(predicted(rows).rows.values(), PREDICTION_SCHEMA, store.collected_predictions)
    return store


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; tests that need one are skipped where there is none, unless one is required."""
    needed = {
        "the program chromium (apt-get install chromium)": shutil.which("chromium"),
        "playwright (nox -s browser_tests installs it)": importlib.util.find_spec("playwright"),
    }
    missing = [name for name, found in needed.items() if not found]
    if missing:
        reason = f"needs {' and '.join(missing)}"
        if os.environ.get("CAPBENCH_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


class OpenPage:
    """A page from a file, with the network off.

    Attributes:
        page: Playwright's page.
        console: Lines of the console, and errors of scripts.
        requests: Addresses that were asked for.
    """

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        context = browser.new_context(offline=True, accept_downloads=True, **options)
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.console: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn]")
        self.file = file

    def download(self, selector: str, to: Path) -> Path:
        """Clicks and returns the file that is handed out."""
        with self.page.expect_download() as handed:
            self.page.click(selector)
        handed.value.save_as(to)
        return to

    def column(self, key: str) -> list[str]:
        """Returns the texts of a column of the first table."""
        return self.page.locator(f"#table tbody td.c-{key}").all_inner_texts()


@pytest.fixture
def opened() -> Iterator[list[OpenPage]]:
    """Pages that a test opened; at its end they have asked for nothing and their consoles are empty."""
    pages: list[OpenPage] = []
    yield pages
    for one in pages:
        assert one.console == []
        assert {url.split("#")[0] for url in one.requests if not url.startswith("blob:")} <= {one.file.as_uri()}
        one.page.context.close()


@pytest.fixture
def open_page(chromium: Any, opened: list[OpenPage], tmp_path: Path) -> Callable[..., OpenPage]:
    """Writes the page of sweeps and opens it, with one result a row unless another layout of the table is wanted."""

    def page(
        *stores: Store, submissions: Iterable[Submission] = (), layout: str | None = "list", **options: Any
    ) -> OpenPage:
        file = PageReport(stores, stores[0].results, None, submissions).write(tmp_path / "page.html")
        opened.append(OpenPage(chromium, file, **options))
        if layout is not None:
            opened[-1].page.select_option("[name=layout]", layout)
        return opened[-1]

    return page


@pytest.fixture
def open_comparison(chromium: Any, opened: list[OpenPage]) -> Callable[[Store], OpenPage]:
    """Writes the page of a comparison and opens it."""

    def page(store: Store) -> OpenPage:
        opened.append(OpenPage(chromium, PageReport([], store.results, store).write()))
        return opened[-1]

    return page

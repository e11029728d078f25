"""Hooks of MkDocs: pages for linked files outside docs, the page of results, pages that the navigation lacks."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = "repository"  # folder of the site for files outside docs
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)(?P<rest>[^)\s]*)(?=\))")
COPIED = (".png", ".svg", ".parquet", ".csv", ".json")  # the others become pages
RESULTS = "all_results.html"  # docs/results.md shows it
FACES = {  # packages with a public face: the page of each
    "bench": "bench",
    "cap": "cap",
    "cap.runtime": "cap_packages",
    "cap.structured": "cap_packages",
    "cap.testing": "cap_packages",
}
MORE = "More"  # section of pages that no other section has


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds to the navigation what it does not name: a new page needs no other change."""
    named = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    rest = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    if rest := [path for path in rest if path not in named]:
        assert config.nav is not None
        config.nav = [*config.nav, {MORE: rest}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page of the published results, and each file outside docs that is linked to, directly or by another."""
    files.append(File.generated(config, RESULTS, content=_report()))
    waiting = [DOCS / file.src_uri for file in files.documentation_pages()]
    added: set[Path] = set()
    while waiting:
        for target in _linked(waiting.pop()):
            if target in added or target.is_relative_to(DOCS):
                continue
            added.add(target)
            uri = _uri(target)
            if target.suffix in COPIED:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
            else:
                files.append(File.generated(config, uri, content=_page(target)))
            waiting += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to files outside docs, and from these back into docs, to where they are on the site."""
    own = page.file.src_uri
    source = ROOT / own.removeprefix(f"{OUTSIDE}/") if own.startswith(f"{OUTSIDE}/") else DOCS / own
    if own.startswith(OUTSIDE) and not source.is_file():
        return markdown  # of a file's text there are no links

    def lead(found: re.Match[str]) -> str:
        target = _resolved(source, found["target"])
        if target is None or (target.is_relative_to(DOCS) and not own.startswith(OUTSIDE)):
            return found[0]
        return os.path.relpath(_uri(target), os.path.dirname(own) or ".") + found["rest"]

    return LINK.sub(lead, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Makes sure that every public name is on its page.

    Raises:
        PluginError: If one is not.
    """
    for face, name in FACES.items():
        page = Path(config.site_dir, "api", f"{name}.html").read_text()
        names = importlib.import_module(face).__all__
        if missing := [one for one in names if f'id="{face}.{one}"' not in page]:
            raise PluginError(f"api/{name}.md does not show {', '.join(missing)} of {face}: give each a docstring")


def _linked(document: Path) -> Iterator[Path]:
    """Yields the files and folders of the repository that a document links to."""
    for found in LINK.finditer(document.read_text()):
        if (target := _resolved(document, found["target"])) is not None:
            yield target


def _resolved(document: Path, target: str) -> Path | None:
    """Returns the file or folder that a link leads to, None where it is no file of the repository."""
    path = Path(os.path.normpath(document.parent / target.replace("\\_", "_")))
    return path if path.is_relative_to(ROOT) and path != ROOT and path.exists() else None


def _uri(path: Path) -> str:
    """Returns the place of a file or folder on the site, as MkDocs names sources."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    place = f"{OUTSIDE}/{path.relative_to(ROOT).as_posix()}"
    return place if path.suffix in (".md", *COPIED) else f"{place}{'/index' if path.is_dir() else ''}.md"


def _page(path: Path) -> str:
    """Returns a file outside docs, or the list of a folder's files, as a page."""
    if path.suffix == ".md":
        return path.read_text()
    title = f"# {path.relative_to(ROOT)}\n\n"
    if path.is_dir():
        names = [one.name for one in sorted(path.iterdir()) if not one.name.startswith((".", "__pycache__"))]
        return title + "".join(f"* `{name}`\n" for name in names)
    text = path.read_text()
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{title}{fence}{path.suffix.removeprefix('.')}\n{text.rstrip()}\n{fence}\n"


def _report() -> str:
    """Returns the page of the published results, as `capbench report` writes it."""
    bench: Any = importlib.import_module("bench")
    results, submissions = ROOT / "results", bench.find_submissions(ROOT / "submissions")
    stores = [bench.find_results(sweep, "embedded", results) for sweep in bench.collected_sweeps("embedded", results)]
    with TemporaryDirectory() as folder:
        return bench.PageReport(stores, results, None, submissions).write(Path(folder, "report.html")).read_text()

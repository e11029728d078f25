"""The page as one file: template, style, script and data put together."""

from __future__ import annotations

import base64
import gzip
import html
from importlib import resources

from bench.reports.page.data import PageData
from bench.reports.page.serialization import to_json

SCRIPTS = (
    "data.js",
    "scene.js",
    "export.js",
    "chart.js",
    "lines.js",
    "figures.js",
    "table.js",
    "wide.js",
    "details.js",
    "comparison.js",
    "submissions.js",
    "protocol.js",
    "views.js",
    "main.js",
)
ASSETS = resources.files("bench.reports.page") / "assets"


def page_html(page: PageData, parquet: bytes) -> str:
    """Returns a document of HTML that loads nothing; data are compressed, since the same names stand in every row.

    Args:
        page: All that it shows.
        parquet: Raw rows as a parquet file, for download.
    """
    script = "\n".join(_asset(name) for name in SCRIPTS)
    parts = {
        "TITLE": html.escape(page.title),
        "STYLE": _asset("page.css"),
        "DATA": _text(gzip.compress(to_json(page).encode(), mtime=0)),
        "PARQUET": _text(parquet),
        "SCRIPT": f"(async () => {{\n'use strict';\n{script}\n}})();",
    }
    text = _asset("page.html")
    for name, content in parts.items():
        text = text.replace(f"<!--{name}-->", content)
    return text


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")

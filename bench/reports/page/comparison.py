"""A comparison on the page: what is new and what it is against, paired differences, source, BibTeX, a text to cite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import UserError
from bench.reports.comparison.document import VERSION
from bench.reports.comparison.statistics import EVEN
from bench.reports.page.cells import OptionTable
from bench.reports.page.comparison_data import ComparedPruner, ComparisonFacts, PairedDifference
from bench.reports.page.comparison_texts import appendix, command, options_by_model, references
from bench.results.labels import PHASES, pattern_in_words
from bench.results.store import Store

FOLDER = "compare"  # name of the sweep whose parts are comparisons


def find_comparison(name: str, profile: str, results: Path) -> Store:
    """Returns the results of a comparison.

    Args:
        name: Its name, that of its files, or the path of one of them.
        profile: Name of the profile.
        results: Folder of all results.

    Raises:
        UserError: If there is no such comparison.
    """
    path = Path(name)
    if path.suffix in (".json", ".parquet", ".md") and path.is_file() and path.parent.name == FOLDER:
        folder = path.parent.parent
        return Store(folder.parent, folder.name, FOLDER, path.stem)
    store = Store(results, profile, FOLDER, name)
    if not store.collected.with_suffix(".json").exists():
        there = sorted(file.stem for file in store.folder.glob("*.json"))
        known = f"choose from {', '.join(there)}" if there else "there is none: run capbench compare first"
        raise UserError(f"unknown comparison {name!r} in {store.folder}: {known}")
    return store


def read_document(store: Store) -> dict[str, Any]:
    """Returns the document of a comparison, as docs/compare.md describes it.

    Raises:
        UserError: If it cannot be read or is of another version.
    """
    path = store.collected.with_suffix(".json")
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): run capbench compare again") from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise UserError(f"{path} is no comparison of version {VERSION}: run capbench compare again")
    return document


def comparison_facts(
    document: Mapping[str, Any], rows: pd.DataFrame, options: OptionTable, resampled: bool
) -> ComparisonFacts:
    """Returns what the page says on a comparison.

    Args:
        document: Document of the comparison.
        rows: Its result rows.
        options: Table of the page's options.
        resampled: Whether predicted classes are stored, so that intervals are by a bootstrap.
    """
    models = list(dict.fromkeys(one["model"] for one in document["cells"]))
    pruners = tuple(
        ComparedPruner(
            label=one["label"],
            pruner=one["pruner"],
            options={
                model: options.place(json.dumps(own, sort_keys=True))
                for model, own in options_by_model(one["options"], models).items()
            },
            source=one["source"],
            sha256=one["sha256"] or "",
            code=one["code"] or "",
        )
        for one in document["pruners"]
    )
    differences = tuple(
        PairedDifference(
            model=one["model"],
            target=pattern_in_words(one["pattern"]),
            sparsity=one["sparsity"],
            phase=PHASES[one["phase"]],
            against=one["label"],
            pairs=one["pairs"] or 0,
            difference=None if one["difference"] is None else (one["difference"], one["low"], one["high"]),
            verdict=one["verdict"] or "",
            needed=_needed(one),
        )
        for one in document["differences"]
    )
    return ComparisonFacts(
        title=document["title"],
        verdicts=tuple(document["verdicts"]),
        pruners=pruners,
        differences=differences,
        command=command(document, rows),
        bibtex=references([one.pruner for one in pruners], rows),
        appendix=appendix(document, rows, resampled),
    )


def _needed(difference: Mapping[str, Any]) -> str:
    """Returns how many seeds would show an undecided difference; nothing for others."""
    if difference["verdict"] != EVEN:
        return ""
    return "no number" if difference["seeds_to_decide"] is None else str(difference["seeds_to_decide"])

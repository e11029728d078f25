"""A comparison on the page: what is new and what it is against, paired differences, source, BibTeX, a text to cite."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import UserError
from bench.reports.common.origin import code_state
from bench.reports.common.text import joined
from bench.reports.comparison.document import VERSION
from bench.reports.comparison.statistics import EVEN
from bench.reports.page.cells import OptionTable
from bench.reports.page.comparison_data import ComparedPruner, ComparisonFacts, PairedDifference
from bench.results.labels import PHASES, pattern_in_words
from bench.results.methods import method_of
from bench.results.references import bibtex
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
    pruners = tuple(
        ComparedPruner(
            label=one["label"],
            pruner=one["pruner"],
            options=options.place(json.dumps(one["options"], sort_keys=True)),
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
        command=_command(document, rows),
        bibtex=_bibtex([one.pruner for one in pruners], rows),
        appendix=_appendix(document, rows, resampled),
    )


def _command(document: Mapping[str, Any], rows: pd.DataFrame) -> str:
    """Returns the command that makes the comparison."""
    new, *others = document["pruners"]
    cells = pd.DataFrame(document["cells"])
    words = ["capbench", "compare", "--pruner", new["pruner"]]
    if new["options"]:
        words += ["--option", *(f"{key}={json.dumps(value)}" for key, value in new["options"].items())]
    words += ["--against", *(one["pruner"] for one in others), "--model", *cells["model"].unique()]
    words += ["--sparsity", *cells["pattern"].unique(), "--seeds", *map(str, sorted(set(rows["seed"])))]
    words += ["--finetune"] if "finetuned" in set(cells["phase"]) else []
    return shlex.join(words)


def _bibtex(pruners: Sequence[str], rows: pd.DataFrame) -> str:
    """Returns the entries of the papers of several pruners, and one of this suite at the rows' commit."""
    numbers = dict.fromkeys(source for source in (method_of(pruner).source for pruner in pruners) if source)
    suite = (
        "@misc{capbench,\n  title = {{cap-bench}: a benchmark of pruners for vision models},\n"
        f"  note = {{{code_state(rows)}}},\n}}\n"
    )
    return "\n".join([suite, *(bibtex(number) for number in numbers)])


def _needed(difference: Mapping[str, Any]) -> str:
    """Returns how many seeds would show an undecided difference; nothing for others."""
    if difference["verdict"] != EVEN:
        return ""
    return "no number" if difference["seeds_to_decide"] is None else str(difference["seeds_to_decide"])


def _appendix(document: Mapping[str, Any], rows: pd.DataFrame, resampled: bool) -> str:
    """Returns a paragraph and a table in LaTeX that an appendix can take over."""
    cells = pd.DataFrame(document["cells"])
    seeds = rows["seed"].nunique()
    models = f"{', '.join(cells['model'].unique())} ({rows['dataset'].dropna().iloc[0]})"
    patterns = ", ".join(pattern_in_words(pattern) for pattern in cells["pattern"].unique())
    images, tests = (int(rows[name].max()) for name in ("calibration_images", "n_images"))
    interval = "a bootstrap over seeds and test images" if resampled else "Student's t"
    lines = [
        f"We compare {document['new']} with {joined(document['against'])} on {models} at {patterns}. All pruners see "
        f"the same {images:,} calibration images, drawn anew by each of {seeds} seed{'s' if seeds > 1 else ''}; "
        "models, data, patterns and fine-tuning are the same for all. We report top-1 on "
        f"{tests:,} test images, mean and sample standard deviation over seeds, and the difference paired by seed "
        f"with its 95 % interval by {interval}. Measured with cap-bench, {code_state(rows)}.",
        "",
        *document["verdicts"],
    ]
    text = "\n".join(lines).replace("%", r"\%").replace("_", r"\_")
    return f"{text}\n\n{_latex(document)}"


def _latex(document: Mapping[str, Any]) -> str:
    """Returns the cells with the paired differences as a table in LaTeX."""
    paired = {_key(one): one for one in document["differences"]}
    lines = []
    for one in document["cells"]:
        top1 = one["status"] if one["top1_mean"] is None else f"{one['top1_mean']:.2f}"
        top1 += f" $\\pm$ {one['top1_std']:.2f}" if one["top1_std"] is not None and one["top1_mean"] is not None else ""
        found = paired.get(_key(one))
        gap = "" if found is None or found["difference"] is None else f"${found['difference']:+.2f}$"
        span = "" if found is None or found["low"] is None else f"$[{found['low']:+.2f}, {found['high']:+.2f}]$"
        cells = [one["model"], pattern_in_words(one["pattern"]), PHASES[one["phase"]], one["label"], top1, gap, span]
        lines.append(" & ".join(cells).replace("%", r"\%").replace("_", r"\_") + r" \\")
    head = r"model & sparsity & phase & pruner & top-1 & difference & 95\,\% interval \\"
    return "\n".join([r"\begin{tabular}{llllrrr}", r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}", ""])


def _key(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return one["model"], one["pattern"], one["phase"], one["label"]

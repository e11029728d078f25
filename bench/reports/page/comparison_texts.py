"""Texts of a comparison that others can take over: the command that makes it, references, an appendix in LaTeX."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.reports.common.origin import code_state
from bench.reports.common.text import joined
from bench.results.labels import PHASES, pattern_in_words
from bench.results.methods import method_of
from bench.results.references import bibtex
from bench.results.submissions import PROTOCOL

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # in LaTeX
PACKAGES = ("cap-bench", "torch", "timm", "numpy")  # whose versions a paper should tell
TRAINING = {"epochs": "epochs", "images": "images an epoch", "batch_size": "batch size", "optimizer": "optimizer",
            "lr": "peak rate", "augmentation": "augmentation", "ema": "moving average"}  # fmt: skip


def options_by_model(options: Mapping[str, Any], models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns a pruner's options on each model, from a document that has one set, or a set for each model.

    Args:
        options: Options as the document has them.
        models: Models of the comparison.
    """
    apart = bool(options) and all(name in models and isinstance(own, Mapping) for name, own in options.items())
    return {model: dict(options.get(model, {}) if apart else options) for model in models}


def command(document: Mapping[str, Any], rows: pd.DataFrame) -> str:
    """Returns the command that makes a comparison.

    Args:
        document: Document of the comparison.
        rows: Its result rows.
    """
    new, *others = document["pruners"]
    cells = pd.DataFrame(document["cells"])
    setting, profile = _only(rows, "setting"), _only(rows, "profile") or "embedded"
    words = ["capbench", "compare", "--pruner", new["pruner"]]
    if new["options"] and setting is None:
        words += ["--option", *(f"{key}={json.dumps(value)}" for key, value in new["options"].items())]
    words += ["--against", *(one["pruner"] for one in others), "--model", *cells["model"].unique()]
    words += ["--sparsity", *cells["pattern"].unique(), "--seeds", *map(str, sorted(set(rows["seed"])))]
    words += ["--finetune"] if "finetuned" in set(cells["phase"]) else []
    words += ["--data" if ":" in profile else "--profile", profile] if profile != "embedded" else []
    usual = {"split": "test", "setting": None, "batch_norm": "kept"}
    for name, default in usual.items():
        if (value := _only(rows, name)) not in (None, default):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _only(rows: pd.DataFrame, column: str) -> Any:
    """Returns the first value of a column; None where it has none."""
    values = rows[column].dropna() if column in rows else pd.Series(dtype=object)
    return values.iloc[0] if len(values) else None


def references(pruners: Sequence[str], rows: pd.DataFrame) -> str:
    """Returns the entries of the papers of several pruners in BibTeX, and one of this suite at the rows' commit."""
    numbers = dict.fromkeys(source for source in (method_of(pruner).source for pruner in pruners) if source)
    started = pd.to_datetime(rows["started_at"].dropna(), utc=True) if "started_at" in rows else pd.Series(dtype=object)
    year = f"  year = {{{started.max().year}}},\n" if len(started) else ""
    suite = (
        "@misc{capbench,\n  title = {{CAP} benchmark suite},\n"
        f"  author = {{{{The authors of the CAP benchmark suite}}}},\n{year}  note = {{{code_state(rows)}}},\n}}\n"
    )
    return "\n".join([suite, *(bibtex(number) for number in numbers)])


def appendix(document: Mapping[str, Any], rows: pd.DataFrame, resampled: bool) -> str:
    """Returns paragraphs and two tables in LaTeX that an appendix can take over: protocol, results, settings.

    Args:
        document: Document of the comparison.
        rows: Its result rows.
        resampled: Whether intervals are by a bootstrap.
    """
    cells = pd.DataFrame(document["cells"])
    seeds = rows["seed"].nunique()
    models = f"{', '.join(cells['model'].unique())} ({_only(rows, 'dataset')})"
    patterns = ", ".join(pattern_in_words(pattern) for pattern in cells["pattern"].unique())
    images, tests = (int(rows[name].max()) for name in ("calibration_images", "n_images"))
    split = _only(rows, "split") or "test"
    interval = "a bootstrap over seeds and test images" if resampled else "Student's t"
    lines = [
        f"We compare {document['new']} with {joined(document['against'])} on {models} at {patterns}. All pruners see "
        f"the same {images:,} calibration images, drawn anew by each of {seeds} seed{'s' if seeds > 1 else ''} from "
        f"the training images; {_units_of(rows)}; models, data, patterns and fine-tuning are the same for all. "
        f"{_settings_of(rows)} {_training(rows)}We report top-1 on {tests:,} {split} images, mean and sample standard "
        f"deviation over seeds, and the difference paired by seed with its 95 % interval by {interval}.",
        "",
        f"Measured with cap-bench, {code_state(rows)}, by version {PROTOCOL} of its protocol{_made_on(rows)}.",
        "",
        *document["verdicts"],
    ]
    return "\n".join([escaped("\n".join(lines)), "", _results(document), _settings(document, cells)])


def _units_of(rows: pd.DataFrame) -> str:
    """Returns what a seed stands for."""
    if rows["dense_seed"].notna().all():
        return "each seed is a dense model of its own, trained from other random weights"
    if rows["dense_seed"].isna().all():
        return "the dense model is the same for all seeds"
    return "each seed is a dense model of its own where there are several"


def _settings_of(rows: pd.DataFrame) -> str:
    told = {
        "tuned": "Settings of all pruners were chosen on validation images, from the same number of configurations.",
        "authors": "All pruners have the settings of their authors.",
    }
    return told.get(_only(rows, "setting"), "The settings are in the table below.")


def _training(rows: pd.DataFrame) -> str:
    """Returns a sentence on the training after pruning; nothing without one."""
    trained = rows[rows["phase"] == "finetuned"] if "recipe" in rows else rows.iloc[:0]
    recipe = json.loads(_only(trained, "recipe") or "{}")
    told = [f"{name} {recipe[key]:g}" if isinstance(recipe[key], (int, float)) else f"{name} {recipe[key]}"
            for key, name in TRAINING.items() if recipe.get(key) is not None]  # fmt: skip
    return f"After pruning the model is fine-tuned: {', '.join(told)}. " if told else ""


def _made_on(rows: pd.DataFrame) -> str:
    """Returns the machine and the versions of packages, as far as they are known."""
    devices = sorted(rows["device"].dropna().unique()) if "device" in rows else []
    versions = json.loads(_only(rows, "versions") or "{}")
    told = [", ".join(devices), ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions)]
    return "".join(f"; {text}" for text in told if text)


def escaped(text: str) -> str:
    """Returns a text for LaTeX, with what it reads as a command escaped."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: SPECIAL.get(found[0], f"\\{found[0]}"), text)


def _results(document: Mapping[str, Any]) -> str:
    """Returns the cells with the paired differences as a table in LaTeX."""
    paired = {_key(one): one for one in document["differences"]}
    lines = []
    for one in document["cells"]:
        top1 = one["status"] if one["top1_mean"] is None else f"{one['top1_mean']:.2f}"
        top1 += f" $\\pm$ {one['top1_std']:.2f}" if one["top1_std"] is not None and one["top1_mean"] is not None else ""
        found = paired.get(_key(one))
        gap = "" if found is None or found["difference"] is None else f"${found['difference']:+.2f}$"
        span = "" if found is None or found["low"] is None else f"$[{found['low']:+.2f}, {found['high']:+.2f}]$"
        texts = (one["model"], pattern_in_words(one["pattern"]), PHASES[one["phase"]], one["label"])
        lines.append([*map(escaped, texts), top1, gap, span])
    head = ["model", "sparsity", "phase", "pruner", "top-1", "difference", r"95\,\% interval"]
    return _tabular("llllrrr", head, lines)


def _settings(document: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """Returns the options of the pruners as a table in LaTeX, a row for each that a model has alone."""
    models = list(cells["model"].unique())
    lines = []
    for one in document["pruners"]:
        own = options_by_model(one["options"], models)
        same = len({json.dumps(options, sort_keys=True) for options in own.values()}) == 1
        for model, options in list(own.items())[: 1 if same else None]:
            text = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(options.items()))
            lines.append([escaped(one["label"]), "all" if same else escaped(model), escaped(text)])
    return _tabular(r"llp{0.6\linewidth}", ["pruner", "model", "options"], lines)


def _tabular(columns: str, head: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [" & ".join(line) + r" \\" for line in [list(head), *lines]]
    parts = [
        f"\\begin{{tabular}}{{{columns}}}",
        r"\hline",
        rows[0],
        r"\hline",
        *rows[1:],
        r"\hline",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(parts)


def _key(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return one["model"], one["pattern"], one["phase"], one["label"]

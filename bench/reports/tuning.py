"""Chosen settings as a reader sees them: a table of pruners, a table of learning rates. Reads no rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from bench.reports.common.console import text_table
from bench.reports.common.text import number, to_markdown
from bench.results.labels import label, model_labels
from bench.results.settings import value_text
from bench.results.tuned import TriedSettings, TunedPruner, TunedSettings

NOTE = """\
Mean top-1 in percent over {patterns} on {images} images of {split}, one-shot, {dense}. `tried` counts the settings, the
authors' among them, of at most {count} that were drawn with seed {seed}. `chosen` has what differs from the authors'.
"""


def settings_table(tuned: TunedSettings) -> pd.DataFrame:
    """Returns a line for every pruner and model: what the authors' settings and the chosen ones reach."""
    lines, models = [], model_labels(one.model for one in tuned.pruners)
    for one in tuned.pruners:
        authors = one.tried[0]
        lines.append(
            {
                "model": models[one.model],
                "pruner": label(one.pruner),
                "patterns": _scope(one),
                "tried": str(len(one.tried)),
                "authors": number(_value(authors.mean)),
                "tuned": number(_value(one.best.mean)),
                "chosen": _difference(authors, one.best) if one.chosen else "the authors'",
            }
        )
    return pd.DataFrame(lines)


def rates_table(tuned: TunedSettings) -> pd.DataFrame:
    """Returns a line for every model: the mean top-1 after the fine-tune at each rate, and the chosen rate."""
    lines, models = [], model_labels(one.model for one in tuned.rates)
    for one in tuned.rates:
        columns = {value_text(rate): number(_value(mean)) for rate, mean in zip(one.rates, one.means, strict=True)}
        lines.append({"model": models[one.model], **columns, "chosen": value_text(one.best)})
    return pd.DataFrame(lines)


def markdown(tuned: TunedSettings) -> str:
    """Returns the choices in Markdown."""
    lines = [f"# Settings ({tuned.profile})", "", _note(tuned)]
    if tuned.commit is not None:
        lines += [f"Commit {tuned.commit[:12]}.", ""]
    if tuned.pruners:
        lines.append(to_markdown(settings_table(tuned)))
    if tuned.rates:
        names = " and ".join(label(pruner) for pruner in tuned.rates[0].top1)
        lines += [f"Mean top-1 of {names} at 75 % after the fine-tune, by its highest learning rate:", ""]
        lines.append(to_markdown(rates_table(tuned)))
    return "\n".join(lines)


def print_choices(tuned: TunedSettings, console: Console) -> None:
    """Prints the choices as tables."""
    console.print(_note(tuned), highlight=False)
    left = ("model", "pruner", "patterns", "chosen")
    for table, title in ((settings_table(tuned), "settings"), (rates_table(tuned), "learning rates of the fine-tune")):
        if len(table):
            console.print(text_table(table, title, left, wrapped=("chosen",)))


def _note(tuned: TunedSettings) -> str:
    sparsities = "50, 75 and 90 %"
    images = f"{tuned.evaluation_images:,}" if tuned.evaluation_images is not None else "all"
    dense = f"dense seed {tuned.dense_seed}" if tuned.dense_seed is not None else "the model's one set of weights"
    return NOTE.format(
        patterns=sparsities, images=images, split=tuned.split, dense=dense, count=tuned.configurations,
        seed=tuned.tuning_seed,
    )  # fmt: skip


def _scope(one: TunedPruner) -> str:
    return "per layer" if any("@layer" in pattern for pattern in one.best.top1) else "global"


def _difference(authors: TriedSettings, best: TriedSettings) -> str:
    """Returns the options and the calibration in which settings differ from the authors'."""
    parts = [*_changed(authors.pruner_options, best.pruner_options), *_changed(authors.calibration, best.calibration)]
    return " ".join(parts)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={json.dumps(value) if isinstance(value, dict) else value_text(value)}"
        for name, value in after.items()
        if before.get(name) != value
    ]


def _value(mean: float | None) -> float:
    return float("nan") if mean is None else mean

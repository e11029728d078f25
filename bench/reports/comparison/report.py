"""Report on a comparison of pruners: terminal, Markdown, CSV, figure. Reads parquet alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from bench.core.errors import UserError
from bench.reports.common.console import text_table
from bench.reports.common.origin import origin
from bench.reports.common.text import plus_minus, to_markdown
from bench.reports.comparison.costs import EXPLANATION, cost_table, costs
from bench.reports.comparison.document import as_document
from bench.reports.comparison.entry import Entry
from bench.reports.comparison.figure import draw
from bench.reports.comparison.statistics import EVEN, compare, overall
from bench.reports.sweep.control import control_lines
from bench.reports.sweep.summary import summarise
from bench.results.labels import PHASES, control_rows
from bench.results.predictions import Predictions
from bench.results.validity import INVALID, invalid_lines
from bench.statistics.estimate import CONFIDENCE
from bench.statistics.power import POWER

PERCENT = f"{100 * CONFIDENCE:g} %"

NOTES = f"""\
All see the same {{images:,}} training images, drawn anew by each seed, and no other data; how many gradients a pruner
takes of them is among its options. Top-1 in percent, mean ± sample standard deviation over n seeds. The
difference is {{new}}'s top-1 less the other's, in points, mean over the seeds that both have, with its {PERCENT}
confidence interval: by a bootstrap of seeds and test images where the predicted classes are stored for all of them,
else by Student's t over the seeds (docs/protocol.md). {{new}} is better or worse where the interval leaves out 0. Where
no difference is shown, the number of seeds is told that would show the difference found in {100 * POWER:g} % of such
comparisons; more test images may be needed instead.

{{finetune}}What the intervals cover: a seed draws the calibration images, and the order and augmentation of the
fine-tune; the bootstrap covers other test images, too.
{{units}}
Without predicted classes, where neither pruner depends on the seed, the same difference repeats, and there is no
verdict. With few seeds intervals are wide. Each stands for itself: where there is no difference, one in
{1 / (1 - CONFIDENCE):.0f} still shows one by chance.

Error bars in the figure: the standard deviation of top-1, the interval of the difference. What is invalid, its weights
or masks not at the pattern, has no number and takes part in no comparison.
"""

FINETUNE = """\
Fine-tuned by the protocol's training where the profile has it: warm-up, annealing, a moving average of the weights,
mild augmentation, at the rate that was chosen on validation images; the dense model goes through the same.

"""


class ComparisonReport:
    """Report on a new pruner against others: terminal, Markdown, CSV, figure, JSON.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        entries: Pruners, the new one first.
        title: Heading of report and figure.
        predictions: Predicted classes of the rows, where they are stored.

    Raises:
        UserError: If the new pruner has no result, valid or not.

    Attributes:
        cells: Compared cells, see `bench.reports.comparison.statistics.compare`.
        costs: Costs of the pruners, see `bench.reports.comparison.costs.costs`.
        controls: Rows of the dense models after the same fine-tune, which are no pruner's.
        invalid: A line for every pruner with invalid rows.
    """

    def __init__(
        self, rows: pd.DataFrame, entries: Sequence[Entry], title: str, predictions: Predictions | None = None
    ) -> None:
        of_control = control_rows(rows)
        self.controls, rows = rows[of_control], rows[~of_control]
        keys = zip(rows["pruner"], rows["pruner_options"], rows["model"], strict=True)
        names = [next(entry.label for entry in entries if entry.has_row(*key)) for key in keys]
        self.rows, self.entries, self.title = rows.assign(label=names), entries, title
        self.new, *self.against = [entry.label for entry in entries]
        finished = self.rows[self.rows["status"].isin(["done", INVALID]) & self.rows["pattern"].notna()]
        if self.new not in set(finished["label"]):
            raise UserError(f"{title}: {self.new} has no result, so there is nothing to compare")
        self.cells = compare(self.rows, self.new, self.against, predictions)
        self.costs = costs(self.rows, [entry.label for entry in entries])
        self.invalid = invalid_lines(self.rows)

    @property
    def _trained(self) -> bool:
        return "finetuned" in set(self.rows["phase"])

    def verdicts(self) -> list[str]:
        """Returns a line for each of the others."""
        return [overall(self.cells, self.new, baseline) for baseline in self.against]

    def print(self, console: Console) -> None:
        """Prints a table for every model and phase, and the verdicts."""
        console.print(self.title, origin(self.rows), highlight=False)
        console.print(f"Top-1 in percent; difference: {self.new} less the other, paired by seed.", highlight=False)
        for (model, phase), part in self.cells.groupby(["model", "phase"], sort=False):
            title = f"{model} {PHASES[phase]}: dense {part['top1_dense'].mean():.2f}"
            shown = self._accuracies(part).drop(columns=["model", "phase"])
            if part["n"].nunique() == 1:
                title, shown = f"{title}, n = {part['n'].iloc[0]}", shown.drop(columns="n")
            _print_table(console, shown, title)
        _print_table(console, cost_table(self.costs), "cost of pruning")
        for line in [*self.verdicts(), *self._control_lines(), *self._reasons()]:
            console.print(line, highlight=False, soft_wrap=not console.is_terminal)

    def _accuracies(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Returns the cells as text; what the rows of a cell have in common stands in its first row."""
        lines = []
        for (_, model, pattern, phase), part in cells.groupby(["family", "model", "pattern", "phase"], sort=False):
            for number, row in enumerate(part.to_dict("records")):
                shared = {"model": model, "pattern": pattern, "phase": PHASES[phase]}
                if number:
                    shared = dict.fromkeys(shared, "")
                lines.append({**shared, **self._accuracy(row)})
        return pd.DataFrame(lines)

    def _accuracy(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Returns what is a pruner's own in a cell, as text."""
        top1 = plus_minus(row["top1_mean"], row["top1_std"]) if row["status"] == "done" else row["status"]
        return {
            "pruner": row["label"],
            "top-1": top1,
            "n": str(row["n"]),
            "difference": "" if pd.isna(row["difference"]) else f"{row['difference']:+.2f}",
            f"{PERCENT} interval": "" if pd.isna(row["low"]) else f"{row['low']:+.2f} to {row['high']:+.2f}",
            "verdict": _verdict(row) if row["label"] != self.new else "",
        }

    def _reasons(self) -> list[str]:
        """Returns a line for every pruner and pattern without a result."""
        lacking = self.cells[self.cells["reason"].notna()]
        found: dict[str, list[str]] = {}
        for row in lacking.itertuples():
            models = found.setdefault(f"{row.label} {row.status} {row.pattern}: {row.reason}", [])
            if row.model not in models:
                models.append(row.model)
        return [f"{line} ({', '.join(models)})." for line, models in found.items()]

    def _control_lines(self) -> list[str]:
        """Returns a line on the dense model of every model after the same fine-tune."""
        return control_lines(summarise(self.controls)) if len(self.controls) else []

    def _pruners(self) -> pd.DataFrame:
        """Returns the pruners with their sources and options as text."""
        return pd.DataFrame(
            [[entry.label, _what(entry), f"`{entry.all_options}`"] for entry in self.entries],
            columns=["pruner", "what it is", "options"],
        )

    def markdown(self, figure: str) -> str:
        """Returns the whole report in Markdown.

        Args:
            figure: File name of the figure.
        """
        lines = [
            f"# {self.title}",
            "",
            origin(self.rows),
            "",
            *(f"* {line}" for line in (*self.verdicts(), *self._control_lines())),
            "",
            f"![Accuracy and paired differences]({figure})",
            "",
            to_markdown(self._pruners()),
            NOTES.format(
                images=self.rows["calibration_images"].max(),
                new=self.new,
                finetune=FINETUNE if self._trained else "",
                units="\n".join(_units(self.rows)),
            ),
            to_markdown(self._accuracies(self.cells)),
        ]
        if reasons := self._reasons():
            lines += ["Without a result:", "", *(f"* {line}" for line in reasons), ""]
        lines += [EXPLANATION, to_markdown(cost_table(self.costs))]
        return "\n".join([*lines, *map(_code, filter(lambda entry: entry.code, self.entries))])

    def json(self) -> str:
        """Returns the report as a JSON document; docs/compare.md has its schema."""
        document = as_document(self.title, self.entries, self.rows, self.cells, self.costs, self.verdicts())
        return json.dumps(document, indent=1)

    def write(self, stem: Path) -> list[Path]:
        """Writes the Markdown report, the cells as CSV, the figure as PNG and SVG, and the JSON document.

        Args:
            stem: Path without suffix.

        Returns:
            The files written.
        """
        text, values, document = (stem.with_suffix(suffix) for suffix in (".md", ".csv", ".json"))
        pictures = draw(self.cells, self.costs, self.new, self.against, self.title, stem)
        text.write_text(self.markdown(pictures[0].name))
        self.cells.to_csv(values, index=False, float_format="%.6g")
        document.write_text(self.json())
        return [text, values, *pictures, document]


def _print_table(console: Console, cells: pd.DataFrame, title: str) -> None:
    left = ("model", "pattern", "pruner", "verdict")
    console.print(text_table(cells, title, left, wrapped=("verdict",), sections=True))


def _units(rows: pd.DataFrame) -> Iterator[str]:
    """Yields what a seed stands for: a dense model of its own, or other calibration images of the same one."""
    drawn = sorted({model for model, part in rows.groupby("model") if part["dense_seed"].isna().all()})
    if trained := sorted(set(rows["model"]) - set(drawn)):
        yield f"Each seed of {', '.join(trained)} is a dense model of its own, trained from other random weights."
    if drawn:
        yield f"The dense model {', '.join(drawn)} is the same for all seeds: nothing is said about other models."


def _verdict(row: Mapping[str, Any]) -> str:
    """Returns the verdict on a cell, with the number of seeds that would decide it."""
    if row["verdict"] != EVEN:
        return row["verdict"]
    needed = row["seeds_to_decide"]
    return f"{EVEN}; {'no number of' if pd.isna(needed) else needed} seeds would"


def _what(entry: Entry) -> str:
    """Returns where a pruner comes from, with the checksum of its file."""
    return f"{entry.source or entry.pruner}{f' (SHA-256 {entry.sha256[:12]})' if entry.sha256 else ''}"


def _code(entry: Entry) -> str:
    """Returns a pruner's file in Markdown."""
    longest = max(map(len, re.findall("`{3,}", entry.code)), default=2)
    fence = "`" * (longest + 1)  # no line of the file ends the block
    return f"## {entry.source}\n\nSHA-256 {entry.sha256}\n\n{fence}python\n{entry.code.rstrip()}\n{fence}\n"

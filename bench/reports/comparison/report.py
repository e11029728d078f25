"""What a reader sees of a comparison: terminal, Markdown, CSV, figure. Reads parquet alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from rich.console import Console

from bench.core.errors import UserError
from bench.reports.common.console import text_table
from bench.reports.common.origin import origin
from bench.reports.common.plotting import OTHERS, STYLES, legend, legend_entries, save
from bench.reports.common.text import mebibytes, plus_minus, seconds, to_markdown
from bench.reports.comparison.statistics import CONFIDENCE, compare, overall
from bench.results.labels import PHASES

PERCENT = f"{100 * CONFIDENCE:g} %"
ROOM = 0.15  # that a label takes of the axis

NOTES = f"""\
All see the same {{images:,}} training images, drawn anew by each seed, and no other data; how many gradients a pruner
takes of them is among its options. Top-1 in percent, mean ± sample standard deviation over n seeds. The
difference is {{new}}'s top-1 less the other's, in points, mean over the seeds that both have, with its {PERCENT}
confidence interval (Student's t, n - 1 degrees of freedom). {{new}} is better or worse where the interval leaves out 0.

What the intervals cover: a seed draws the calibration images, and the order and augmentation of the fine-tune. The
dense model and the test images are the same for all seeds, so nothing is said about other models or data. Where neither
pruner depends on the seed, the same difference repeats: a fact about these test images, not evidence over seeds, and
so there is no verdict. With few seeds intervals are wide. Each stands for itself: where there is no difference, one in
{1 / (1 - CONFIDENCE):.0f} still shows one by chance.

Error bars in the figure: above the standard deviation, below the interval.
"""
COSTS = """\
Time of a fit, mean over seeds, as if it had shared nothing with the others; and the most memory in use while it ran,
largest over seeds: on a processor that of the whole process, with libraries, data and what trials before it left, so
that only large differences mean something.
"""


@dataclass(frozen=True)
class Entry:
    """One pruner of a comparison, as a reader sees it.

    Attributes:
        label: Its name, different from that of all others.
        pruner: Its name in the rows.
        options: Its options, JSON as in the rows.
        source: The file it is from with its checksum; empty for a registered one.
    """

    label: str
    pruner: str
    options: str
    source: str = ""


class PairedReport:
    """The report of a new pruner against others.

    Args:
        rows: Result rows, as `bench.results.store` describes them.
        entries: The pruners, the new one first.
        title: Heading of everything.

    Raises:
        UserError: If the new pruner has no result.
    """

    def __init__(self, rows: pd.DataFrame, entries: Sequence[Entry], title: str) -> None:
        names = {(entry.pruner, entry.options): entry.label for entry in entries}
        keys = zip(rows["pruner"], rows["pruner_options"], strict=True)
        self.rows, self.entries, self.title = rows.assign(label=[names[key] for key in keys]), entries, title
        self.new, *self.against = [entry.label for entry in entries]
        finished = self.rows[(self.rows["status"] == "done") & self.rows["pattern"].notna()]
        if self.new not in set(finished["label"]):
            raise UserError(f"{title}: {self.new} has no result, so there is nothing to compare")
        self.cells = compare(self.rows, self.new, self.against)

    def verdicts(self) -> list[str]:
        """Returns a line for each of the others."""
        return [overall(self.cells, self.new, baseline) for baseline in self.against]

    def print(self, console: Console) -> None:
        """Prints a table for every model and phase, and the verdicts."""
        console.print(self.title, origin(self.rows), highlight=False)
        console.print(f"Top-1 in percent; difference: {self.new} less the other, paired by seed.", highlight=False)
        for (model, phase), part in self.cells.groupby(["model", "phase"], sort=False):
            title = f"{model} {PHASES[phase]}: dense {part['top1_dense'].max():.2f}"
            shown = self._accuracies(part).drop(columns=["model", "phase"])
            if part["n"].nunique() == 1:
                title, shown = f"{title}, n = {part['n'].iloc[0]}", shown.drop(columns="n")
            _print_table(console, shown, title)
        _print_table(console, self._costs(), "cost of a fit")
        for line in [*self.verdicts(), *self._reasons()]:
            console.print(line, highlight=False, soft_wrap=True)

    def _accuracies(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Returns the cells as text; what the rows of a cell have in common stands in its first row."""
        lines = []
        for (_, model, pattern, phase), part in cells.groupby(["family", "model", "pattern", "phase"], sort=False):
            for number, row in enumerate(part.to_dict("records")):
                done = row["status"] == "done"
                lines.append(
                    {
                        "model": model if number == 0 else "",
                        "pattern": pattern if number == 0 else "",
                        "phase": PHASES[phase] if number == 0 else "",
                        "pruner": row["label"],
                        "top-1": plus_minus(row["top1_mean"], row["top1_std"]) if done else row["status"],
                        "n": str(row["n"]),
                        "difference": "" if pd.isna(row["difference"]) else f"{row['difference']:+.2f}",
                        f"{PERCENT} interval": ""
                        if pd.isna(row["low"])
                        else f"{row['low']:+.2f} to {row['high']:+.2f}",
                        "verdict": row["verdict"] if row["label"] != self.new else "",
                    }
                )
        return pd.DataFrame(lines)

    def _costs(self) -> pd.DataFrame:
        """Returns time and memory of the fits as text, one row per model and pruner."""
        fits = self.rows[self.rows["fit_seconds"].notna()].drop_duplicates("trial_id")
        lines = []
        for model in dict.fromkeys(self.cells["model"]):
            for entry in self.entries:
                part = fits[(fits["model"] == model) & (fits["label"] == entry.label)]
                if not part.empty:
                    lines.append(
                        {
                            "model": model,
                            "pruner": entry.label,
                            "fit": seconds(part["fit_seconds"].mean()),
                            "peak memory": mebibytes(part["peak_memory_bytes"].max()),
                        }
                    )
        return pd.DataFrame(lines)

    def _reasons(self) -> list[str]:
        """Returns a line for every pruner and pattern without a result."""
        lacking = self.cells[self.cells["reason"].notna()]
        found: dict[str, list[str]] = {}
        for row in lacking.itertuples():
            models = found.setdefault(f"{row.label} {row.status} {row.pattern}: {row.reason}", [])
            if row.model not in models:
                models.append(row.model)
        return [f"{line} ({', '.join(models)})." for line, models in found.items()]

    def _pruners(self) -> pd.DataFrame:
        return pd.DataFrame(
            [[entry.label, entry.source or entry.pruner, f"`{entry.options}`"] for entry in self.entries],
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
            *(f"* {verdict}" for verdict in self.verdicts()),
            "",
            f"![Accuracy and paired differences]({figure})",
            "",
            to_markdown(self._pruners()),
            NOTES.format(images=self.rows["calibration_images"].max(), new=self.new),
            to_markdown(self._accuracies(self.cells)),
        ]
        if reasons := self._reasons():
            lines += ["Without a result:", "", *(f"* {line}" for line in reasons), ""]
        lines += [
            COSTS,
            to_markdown(self._costs()),
        ]
        return "\n".join(lines)

    def write(self, stem: Path) -> list[Path]:
        """Writes the Markdown report, the cells as CSV, and the figure as PNG and SVG.

        Args:
            stem: Path without suffix.

        Returns:
            The files written.
        """
        text, values = stem.with_suffix(".md"), stem.with_suffix(".csv")
        pictures = self.figure(stem)
        text.write_text(self.markdown(pictures[0].name))
        self.cells.to_csv(values, index=False, float_format="%.6g")
        return [text, values, *pictures]

    def _styles(self) -> dict[str, tuple[str, str]]:
        """Returns each pruner's colour and marker: the new one's its own, the others' those of all figures."""
        own, *left = OTHERS
        spare = iter(left * len(self.entries))
        styles = {entry.label: STYLES.get(entry.label) or next(spare) for entry in self.entries[1:]}
        return {self.new: own, **styles}

    def figure(self, stem: Path) -> list[Path]:
        """Draws top-1 and paired differences against sparsity, a column for each model and a row pair for each phase.

        Args:
            stem: Path without suffix.

        Returns:
            The files written: PNG and SVG.
        """
        models = list(dict.fromkeys(self.cells["model"]))
        phases = list(dict.fromkeys(self.cells["phase"]))
        places, ticks = _places(self.cells)
        figure, axes = plt.subplots(
            2 * len(phases), len(models), sharex=True, squeeze=False,
            figsize=(3.6 * len(models) + 1.6, 5 * len(phases) + 0.8),
        )  # fmt: skip
        for row, phase in enumerate(phases):
            for column, model in enumerate(models):
                part = self.cells[(self.cells["model"] == model) & (self.cells["phase"] == phase)]
                part = part.assign(x=part["pattern"].map(places))
                top, below = axes[2 * row][column], axes[2 * row + 1][column]
                self._draw_accuracies(top, part)
                self._draw_differences(below, part, max(places.values()) - min(places.values()))
                top.set_title(f"{model}, {PHASES[phase]}")
                for axis in (top, below):
                    axis.set_xticks(list(places.values()), labels=ticks)
                    axis.tick_params(labelbottom=True)
                    axis.grid(alpha=0.3)
            axes[2 * row][0].set_ylabel("top-1, %")
            axes[2 * row + 1][0].set_ylabel(f"{self.new} less the other, points")
        for axis in axes[-1]:
            axis.set_xlabel("sparsity of the pruned layers, or pattern")
        figure.suptitle(self.title)
        legend(figure, legend_entries(axes[0]), columns=8)
        figure.tight_layout(rect=(0, 0.25 / figure.get_figheight() + 0.02, 1, 1))
        return save(figure, stem)

    def _draw_accuracies(self, axis: Axes, part: pd.DataFrame) -> None:
        axis.axhline(part["top1_dense"].max(), color="black", linewidth=1, label="dense")
        for name, (color, marker) in self._styles().items():
            curve = part[(part["label"] == name) & (part["status"] == "done")]
            for number, (_, points) in enumerate(curve.groupby(curve["pattern"].map(_kind), sort=False)):
                axis.errorbar(
                    points["x"], points["top1_mean"], yerr=points["top1_std"].fillna(0), color=color, marker=marker,
                    markersize=4, linewidth=1.3, capsize=2, label=name if number == 0 else None,
                )  # fmt: skip

    def _draw_differences(self, axis: Axes, part: pd.DataFrame, width: float) -> None:
        """Draws differences with their intervals side by side; points alone where one seed gives no interval."""
        axis.axhline(0, color="black", linewidth=1)
        step = 0.02 * (width or 1)
        if part["difference"].abs().max() > 10:  # small differences must be seen beside large ones
            axis.set_yscale("symlog", linthresh=1)
            axis.yaxis.set_major_formatter("{x:g}")
        for number, name in enumerate(self.against):
            points = part[(part["label"] == name) & (part["pairs"] > 0)]
            color, marker = self._styles()[name]
            axis.errorbar(
                points["x"] + step * (number - (len(self.against) - 1) / 2), points["difference"],
                yerr=(points["high"] - points["difference"]).fillna(0), color=color, marker=marker, markersize=4,
                linestyle="none", capsize=2,
            )  # fmt: skip


def _print_table(console: Console, cells: pd.DataFrame, title: str) -> None:
    left = ("model", "pattern", "pruner", "verdict")
    console.print(text_table(cells, title, left, wrapped=("verdict",), sections=True))


def _kind(pattern: str) -> str:
    """Returns what patterns of one kind have in common: all but the sparsity."""
    return "N:M" if ":" in pattern else pattern.partition("@")[2]


def _places(cells: pd.DataFrame) -> tuple[dict[str, float], list[str]]:
    """Returns where each pattern stands on the axis, and the axis' labels.

    Patterns of one kind stand at their sparsities in percent if the labels have room there, others side by side.
    """
    patterns = cells[["pattern", "sparsity"]].drop_duplicates()
    patterns = patterns.sort_values("pattern", key=lambda values: values.map(_kind), kind="stable")
    names, percent = list(patterns["pattern"]), [100 * sparsity for sparsity in patterns["sparsity"]]
    gaps = [high - low for low, high in itertools.pairwise(percent)]
    one_kind = patterns["pattern"].map(_kind).nunique() == 1
    if one_kind and all(gap >= ROOM * (percent[-1] - percent[0]) and gap for gap in gaps):
        ticks = [name if _kind(name) else f"{value:g} %" for name, value in zip(names, percent, strict=True)]
        return dict(zip(names, percent, strict=True)), ticks
    return {name: float(place) for place, name in enumerate(names)}, names

"""Report on the measurements of `nox -s benchmark`: a table and a figure. Reads pytest-benchmark's JSON alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bench.core.errors import UserError
from bench.reports.common.plotting import save
from bench.reports.common.text import insert_text, mebibytes, seconds, to_markdown
from bench.results import folders

OURS = ("left-looking, compiled", "BlockFisher", "hooks", "CAP", "prune")  # the library's own methods
NO_RIVAL = "no per-sample gradients"  # a floor, not a way to do the same
GROWTH = "growth: "
FILE = Path("benchmarks", "core.json")  # of a folder of results


@dataclass(frozen=True)
class BenchmarkOrigin:
    """Machine, packages and code of measurements.

    Attributes:
        cpu: Name of the processor.
        cores: Number of cores that the benchmarks could use.
        memory_bytes: Memory of the machine.
        versions: {name: version} of Python and packages.
        commit: Commit of the code.
        dirty: Whether tracked files differed from it.
        card: Name of the card, None where there was none.
    """

    cpu: str
    cores: int
    memory_bytes: int
    versions: Mapping[str, str]
    commit: str
    dirty: bool
    card: str | None = None

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        modified = ", with uncommitted changes" if self.dirty else ""
        card = f"{self.card}; " if self.card else ""
        return (
            f"{card}{self.cpu}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB; {versions}; "
            f"commit {self.commit[:12]}{modified}."
        )


def read(path: Path) -> tuple[pd.DataFrame, BenchmarkOrigin]:
    """Reads a file of pytest-benchmark.

    Returns:
        One row per benchmark with group, method, median (seconds), rounds and the benchmark's own notes; and the
        machine and the commit.

    Raises:
        UserError: If it is not such a file.
    """
    try:
        content = json.loads(path.read_text())
        rows = [
            {
                "group": entry["group"],
                "median": entry["stats"]["median"],
                "rounds": entry["stats"]["rounds"],
                **entry["extra_info"],
            }
            for entry in content["benchmarks"]
        ]
        frame = pd.DataFrame(rows).astype({"method": str})
        frame["peak_extra_bytes"] = pd.to_numeric(frame["peak_extra_bytes"])  # empty where it cannot be measured
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no output of `nox -s benchmark`: {type(error).__name__}: {error}") from None
    machine, commit = content["machine_info"], content["commit_info"]
    versions = {name: machine[name] for name in ("python", "torch", "numba") if name in machine}
    return frame, BenchmarkOrigin(
        machine["cpu"],
        machine["cores"],
        machine["memory_bytes"],
        versions,
        commit["id"],
        commit["dirty"],
        machine.get("card"),
    )


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def detailed(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns every method of every group, with its speed in multiples of the group's first method."""
    lines = []
    for group, part in rows[~rows["group"].str.startswith(GROWTH)].groupby("group", sort=False):
        first = part["median"].iloc[0]
        for number, row in enumerate(part.itertuples()):
            share = row.peak_extra_bytes / row.inverse_bytes if "inverse_bytes" in part else float("nan")
            passes = getattr(row, "passes", float("nan"))
            notes = [f"{100 * share:.1f} % of the inverse's" if share == share else ""]
            notes += [f"{passes:.0f} pass{'es' if passes > 1 else ''} over the gradients" if passes == passes else ""]
            lines.append(
                {
                    "what": group if number == 0 else "",
                    "method": row.method,
                    "median": seconds(row.median),
                    "rounds": str(row.rounds),
                    "times as fast": _ratio(first / row.median) if number else "1",
                    "extra memory": mebibytes(row.peak_extra_bytes),
                    "": ", ".join(filter(None, notes)),
                }
            )
    return pd.DataFrame(lines)


def floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one line per fit that was measured beside its floor, with the shares of its steps."""
    if "over_floor" not in rows:
        return pd.DataFrame()
    lines = []
    for row in rows[rows["over_floor"].notna()].itertuples():
        shares = sorted(((part / row.fit_seconds, step) for step, part in row.fit_parts.items()), reverse=True)
        least = ((part / row.floor_seconds, step) for step, part in row.floor_parts.items())
        lines.append(
            {
                "fit": row.group,
                "took": seconds(row.fit_seconds),
                "floor": seconds(row.floor_seconds),
                "times the floor": f"{row.over_floor:.2f}",
                "where the time goes": ", ".join(f"{step} {share:.0%}" for share, step in shares),
                "of the floor": ", ".join(f"{step} {share:.0%}" for share, step in least),
            }
        )
    return pd.DataFrame(lines)


def compact(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one line per group: the plain version, the fastest of its rivals, and ours."""
    lines = []
    for group, part in rows[~rows["group"].str.startswith(GROWTH)].groupby("group", sort=False):
        ours = part[part["method"].isin(OURS)]
        rivals = part[~part["method"].isin(OURS) & ~part["method"].str.startswith(NO_RIVAL)]
        if len(ours) != 1 or rivals.empty or "prune after fit" in str(group):
            continue
        own, first = ours.iloc[0], part.iloc[0]
        best = rivals.loc[rivals["median"].idxmin()]
        another = best["method"] != first["method"]
        lines.append(
            {
                "step": group,
                "plain": seconds(first["median"]),
                "best plain": seconds(best["median"]) if another else "",
                "ours": seconds(own["median"]),
                "times as fast as plain": _ratio(first["median"] / own["median"]),
                "as the best plain": _ratio(best["median"] / own["median"]) if another else "",
                "extra memory, plain": mebibytes(first["peak_extra_bytes"]),
                "ours ": mebibytes(own["peak_extra_bytes"]),
            }
        )
    return pd.DataFrame(lines)


def markdown(rows: pd.DataFrame, origin: BenchmarkOrigin) -> str:
    """Returns the whole report in Markdown."""
    lines = [
        "# The pruning core against its plain versions",
        "",
        str(origin),
        "",
        "Medians over so many rounds in one process; how many times as fast as the first method of the group; the most",
        "memory that a call took beyond what was in use before it. The plain versions are in",
        "[tests/benchmarks/plain.py](../../tests/benchmarks/plain.py), in single precision as the release computes.",
        "",
        to_markdown(detailed(rows)),
    ]
    if rows["group"].str.startswith(GROWTH).any():
        lines += ["![How time grows](core.png)", ""]
    if not (beside := floors(rows)).empty:
        lines += [
            "## Fits beside their floor",
            "",
            "The floor is a plain forward and backward pass over the same images, and the multiply-adds of sums,",
            "inverse and elimination at the rate of this machine's matrix products in double precision. Seconds are",
            "those that the processor computed, of all threads together; on a card they are those that passed.",
            "",
            to_markdown(beside),
        ]
    return "\n".join(lines)


def growth_figure(rows: pd.DataFrame, stem: Path) -> list[Path]:
    """Draws time against size, both logarithmic, with the slope between the last and the middle point.

    Args:
        rows: Benchmarks, as `read` returns them.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG; none if nothing was measured at several sizes.
    """
    groups = list(rows[rows["group"].str.startswith(GROWTH)].groupby("group", sort=False))
    if not groups:
        return []
    figure, axes = plt.subplots(1, len(groups), figsize=(4 * len(groups), 3.8), squeeze=False)
    for axis, (group, part) in zip(axes[0], groups, strict=True):
        for method, points in part.groupby("method", sort=False):
            points = points.sort_values("x")
            half = points.iloc[len(points) // 2 :]
            slope = np.polyfit(np.log(half["x"]), np.log(half["median"]), 1)[0]
            own = method in OURS
            axis.loglog(
                points["x"], points["median"], marker="o" if own else "s", markersize=4,
                color="#d62728" if own else "#7f7f7f", label=f"{method} (slope {slope:.1f})",
            )  # fmt: skip
        what, _, fixed = str(group).removeprefix(GROWTH).partition(", ")
        axis.set_title(f"{what}\n{fixed}", fontsize=10)
        axis.set_xlabel(what.split()[-1])
        if part["x"].nunique() < 7:  # less than two decades: label the sizes themselves
            axis.set_xticks(sorted(part["x"].unique()), labels=[f"{x:g}" for x in sorted(part["x"].unique())])
            axis.minorticks_off()
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=7, frameon=False)
    axes[0][0].set_ylabel("seconds")
    figure.tight_layout()
    return save(figure, stem)


def find_benchmarks(results: Path = folders.WORKING) -> Path:
    """Returns the file of the measurements: that of the working folder, where it has one, else the published one."""
    return folders.source(FILE, results) / FILE


def report(path: Path, into: Path | None = None) -> list[Path]:
    """Writes the table and the figure beside the measurements, and the compact table into a document.

    Of published measurements table and figure go to the working folder.

    Args:
        path: Output of pytest-benchmark.
        into: Markdown document whose place marked `<!-- benchmarks -->` receives the compact table.

    Returns:
        The files written.

    Raises:
        UserError: If there are no measurements, or the document has no such place.
    """
    rows, origin = read(path)
    stem = folders.reports(path.absolute().parents[1]) / path.parent.name / path.stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = stem.with_suffix(".md")
    text.write_text(markdown(rows, origin))
    written = [text, *growth_figure(rows, stem)]
    if into is not None:
        insert_text(into, "benchmarks", f"{to_markdown(compact(rows))}\n{origin}\n")
        written.append(into)
    return written

"""Statistics over seeds of a sweep's finished models, with the paper's values beside them. Reads parquet alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from bench.reports.sweep.estimates import Estimator
from bench.results.folders import paper_values
from bench.results.labels import FAMILY_ORDER, GLOBAL, PHASES, label, method_order
from bench.results.predictions import Predictions
from bench.results.schema import SCHEMA
from bench.results.settings import Settings
from bench.results.tuned import AUTHORS
from bench.results.validity import INVALID
from bench.results.variants import describe, is_named_by_parts

IDENTITY = ["family", "model", "pruner", "method", "name", "rank", "variant", "settings", "regime"]
KEYS = [*IDENTITY, "sparsity", "pattern", "kind"]  # seeds alone are averaged
RATIOS = {  # columns of models that lost units
    "params_left": ("params_small", "params_dense"),
    "macs_left": ("macs_small", "macs_dense"),
    "speedup": ("latency_dense", "latency_small"),
}
NEAR = (0.5, 0.75, 0.9)


@dataclass(frozen=True)
class SweepResults:
    """Results of a sweep at three levels of detail.

    Attributes:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        done: Rows of finished pruned models, see `finished`.
        summary: Cells with a valid result, means over seeds, see `summarise` and `valid_cells`.
        estimator: What estimates with errors are made by.
    """

    rows: pd.DataFrame
    done: pd.DataFrame
    summary: pd.DataFrame
    estimator: Estimator

    @classmethod
    def of(cls, rows: pd.DataFrame, predictions: Predictions | None = None) -> SweepResults:
        """Returns the three levels of result rows; cells with an invalid row are in the first alone."""
        return cls(rows, finished(rows), valid_cells(summarise(rows)), Estimator(predictions or Predictions({})))

    @property
    def seeded(self) -> bool:
        """Whether there are rows of dense models with a seed, which docs/protocol.md is for."""
        return bool(self.done["dense_seed"].notna().any())


def seeded_rows(done: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Returns the rows that docs/protocol.md is for: of a dense model with a seed, evaluated on a split.

    Args:
        done: Rows of finished models, see `finished`.
        split: Name of the split.
    """
    return done[done["dense_seed"].notna() & (done["split"].fillna("test") == split)]


def judged_rows(done: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Returns those of the `seeded_rows` that verdicts are on: without trials at the authors' setting.

    Args:
        done: Rows of finished models, see `finished`.
        split: Name of the split.
    """
    rows = seeded_rows(done, split)
    return rows[rows["setting"] != AUTHORS]


def _ordered(values: pd.Series) -> pd.Series:
    """Sort keys: families and pruners in the paper's order, anything else after them by name."""
    if values.name == "family":
        return values.map(lambda v: (FAMILY_ORDER.index(v) if v in FAMILY_ORDER else len(FAMILY_ORDER), v))
    return values.map(method_order) if values.name == "method" else values


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of finished pruned models, as `pruned` does, without the cells in which a seed is invalid."""
    every = pruned(rows)
    return every[~every["invalid"]].drop(columns="invalid")


def pruned(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of pruned models, valid or not, with what tells their trials apart.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them; a column that is not there is empty.

    Returns:
        A copy with the columns of `bench.results.variants.describe`, `dense_bytes`, the size of the trial's dense model
        as a file, the target under the name `sparsity`, and `invalid`: whether the row or that of another seed in the
        same cell is.
    """
    whole = rows.reindex(columns=SCHEMA.names)
    for field in SCHEMA:
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            whole[field.name] = pd.to_numeric(whole[field.name])  # a column of nothing is of no type
    dense = whole[whole["phase"] == "dense"].groupby("trial_id")["file_bytes"].first()
    whole["dense_bytes"] = pd.to_numeric(whole["trial_id"].map(dense))
    kept = whole[whole["status"].isin(["done", INVALID]) & (whole["phase"] != "dense")]
    found = describe(kept).rename(columns={"sparsity_target": "sparsity"})
    wrong = found["status"] == INVALID
    return found.assign(invalid=wrong.groupby([found[key] for key in [*KEYS, "phase"]]).transform("any").astype(bool))


def valid_cells(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the cells of a summary that have a valid result in some phase."""
    return summary[summary[[f"{phase}_n" for phase in PHASES]].notna().any(axis=1)].reset_index(drop=True)


def summarise(rows: pd.DataFrame, paper: pd.DataFrame | None = None) -> pd.DataFrame:
    """Averages over seeds.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        paper: Published values, see `published_for`: family, paper_model, pruner, sparsity, phase, top1, source.

    Returns:
        One row per model, pruner, variant and pattern with, for each of PHASES, the columns `<phase>_mean`,
        `<phase>_std` (sample standard deviation, empty for n = 1), `<phase>_n`, `<phase>_drop` (percentage points),
        `<phase>_rel_drop` (percent of dense), `<phase>_agreement` (percent), `<phase>_epoch`, `<phase>_bytes` (mean
        size of the file), `<phase>_paper`, and `<phase>_invalid`, whether a seed is invalid: what else the phase has
        is then empty; `dense`, the mean of the dense models, and `dense_bytes`; the means
        `fit_seconds`, `prune_seconds`, and of the one-shot models
        `predicted_loss_increase` and `observed_loss_increase`; of those that lost units the medians `params_left` and
        `macs_left` (fractions of dense) and `speedup` (times dense); the sum `violations`; and `pruner_options`.
    """
    every = pruned(rows)
    done = every[~every["invalid"]]
    parts = done.groupby([*KEYS, "phase"]).agg(
        mean=("top1", "mean"),
        std=("top1", "std"),
        n=("top1", "count"),
        drop=("top1_drop", "mean"),
        rel_drop=("top1_rel_drop", "mean"),
        agreement=("agreement", "mean"),
        epoch=("epoch", "max"),
        bytes=("file_bytes", "mean"),
    )
    cells = every.groupby(KEYS)
    wide = parts.unstack("phase").reindex(cells.size().index)
    wide.columns = [f"{phase}_{statistic}" for statistic, phase in wide.columns]
    for phase in PHASES:
        for statistic in parts.columns:
            if f"{phase}_{statistic}" not in wide:
                wide[f"{phase}_{statistic}"] = float("nan")
        wide[f"{phase}_paper"] = float("nan")
        wrong = every[every["phase"] == phase].groupby(KEYS)["invalid"].any()
        wide[f"{phase}_invalid"] = wrong.reindex(wide.index, fill_value=False)
    once = every.drop_duplicates([*KEYS, "trial_id"]).groupby(KEYS)  # a trial has as many rows as phases
    wide["dense"] = once["top1_dense"].mean().round(6)
    wide["dense_bytes"] = cells["dense_bytes"].first()
    for column in ("fit_seconds", "prune_seconds"):
        wide[column] = cells[column].mean()
    wide["violations"] = cells["violations"].sum(min_count=1)
    wide["pruner_options"] = cells["pruner_options"].first()
    one_shot = done[done["phase"] == "one_shot"].groupby(KEYS)
    for column in ("predicted_loss_increase", "observed_loss_increase"):
        wide[column] = one_shot[column].mean()
    for column, (part, whole) in RATIOS.items():
        wide[column] = (done[part] / done[whole]).groupby([done[key] for key in KEYS]).median()
    order = ["family", "model", "method", "name", "pruner", "rank", "sparsity", "pattern"]
    wide = wide.reset_index().sort_values(order, key=_ordered, ignore_index=True)
    for (model, family), cells_of_model in wide.groupby(["model", "family"]).groups.items():
        for known in published_for(str(model), str(family), paper).itertuples():
            part = wide.loc[cells_of_model]
            same = plain(part) & (part["method"] == label(known.pruner)) & (part["sparsity"] == known.sparsity)
            wide.loc[same[same].index, f"{known.phase}_paper"] = known.top1
    return wide


def published_for(model: str, family: str, paper: pd.DataFrame | None) -> pd.DataFrame:
    """Returns the published values for a model: those of the same network, else of the paper's network of the family.

    Args:
        model: Name of the model.
        family: Family of the model.
        paper: Values as `read_paper_values` returns them; those that nobody has read yet, without a top-1, are left
            out.
    """
    if paper is None or paper.empty:
        return pd.DataFrame()
    same = paper["paper_model"] == model
    chosen = same if same.any() else paper["family"] == family
    return paper[chosen & paper["top1"].notna()]


def plain(frame: pd.DataFrame) -> pd.Series:
    """Returns which rows or cells are of one pruning to a sparsity over all layers, with or without a fine-tune."""
    return (frame["kind"] == GLOBAL) & (frame["regime"] == "one_shot")


def series(frame: pd.DataFrame) -> pd.Series:
    """Returns what a line of a figure is called: the pruner, its scope where there are several, its variant.

    Composed pruners have the names of their parts, since all are composed; not where an option tells them apart.
    """
    columns = frame[["name", "method", "variant", "settings"]].itertuples(index=False)
    found = [
        variant + name.removeprefix(method)
        if is_named_by_parts(Settings.from_json(settings))
        else f"{name} {variant}".strip()
        for name, method, variant, settings in columns
    ]
    return pd.Series(found, frame.index, dtype=str)


def read_paper_values(results: Path) -> pd.DataFrame:
    """Reads published values, each with its source; there need not be any.

    One that nobody has read yet has no top-1, one that is for its very network alone no family.
    """
    path = paper_values(results)
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def representative(sparsities: pd.Series) -> list[float]:
    """Returns the sparsities nearest to 50, 75 and 90 %."""
    known = sorted(sparsities.unique())
    return sorted({min(known, key=lambda sparsity: abs(sparsity - wanted)) for wanted in NEAR}) if known else []

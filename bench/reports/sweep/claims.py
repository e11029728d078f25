"""What the rows say on the paper's claims, in sentences with the numbers in them. Reads parquet alone."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from bench.reports.common.text import extent, joined, kibibytes
from bench.reports.comparison.statistics import interval
from bench.reports.sweep.summary import finished, plain, representative, series, summarise
from bench.results.labels import (
    CAP,
    FASTCAP,
    GLOBAL,
    LAYER,
    NM,
    PHASES,
    baselines_of,
    flatten,
    method_order,
    option_sweeps,
    pattern_in_words,
    percent,
    value_text,
)

# recipe's key, what the paper prefers, what it compares with, both in words
RECIPES = (
    ("schedule", "sawtooth", "cosine", "the sawtooth learning rate beats one cosine decay"),
    ("augmentation", "light1", "deit", "the lighter augmentation light1 beats deit's"),
)


def verdicts(rows: pd.DataFrame) -> list[str]:
    """Returns the verdicts that these rows can decide, a sentence or a few each.

    Args:
        rows: Result rows, as `bench.results.store` describes them.
    """
    done, summary = finished(rows), summarise(rows)
    found = [c1(summary), c2(done), *c3(done), nm(rows, summary), int8(done), c6(rows, summary), c7(rows, done)]
    found += c8(summary)
    return [verdict for verdict in [*found, fastcap(done), per_layer(summary)] if verdict]


def c1(summary: pd.DataFrame) -> str | None:
    """Claim C1: CAP keeps top-1 within 1 % relative of dense at 75 % sparsity, after fine-tuning."""
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.75)]
    cells = cells[cells["finetuned_n"].notna()]
    if cells.empty:
        return None
    holds, without = cells["finetuned_rel_drop"] <= 1, cells["one_shot_rel_drop"] <= 1
    what = "models and variants" if cells["variant"].any() else "models"
    numbers = ", ".join(
        f"{' '.join(filter(None, (row.model, row.variant)))} {row.finetuned_rel_drop:.2f} % "
        f"(before it {row.one_shot_rel_drop:.2f} %)"
        for row in cells.itertuples()
    )
    return (
        f"C1 (CAP at 75 % loses at most 1 % relative top-1): {extent(holds)}, on {holds.sum()} of {len(holds)} {what} "
        f"after the short fine-tune and on {without.sum()} before it. Relative drop: {numbers}."
    )


def c2(done: pd.DataFrame) -> str | None:
    """Claim C2: CAP beats the other pruners one-shot, by more at high sparsity.

    In each cell (model and sparsity) CAP is set against the best of the others by mean top-1, and seed by seed.
    """
    shots = done[plain(done) & (done["phase"] == "one_shot")]
    if shots.loc[shots["method"] == CAP, "variant"].nunique() != 1:
        return None
    shots = shots.assign(series=series(shots).where(shots["method"] != CAP, CAP))
    cells = []
    for (_, sparsity), part in shots.groupby(["model", "sparsity"]):
        tops = part.pivot_table(index="seed", columns="series", values="top1").dropna()
        if CAP in tops and tops.shape[1] > 1 and len(tops):
            rivals = tops.drop(columns=CAP)
            best = rivals.mean().idxmax()
            lead = tops[CAP].mean() - rivals[best].mean()
            cells.append((sparsity, lead, (tops[CAP] > tops[best]).all(), set(rivals)))
    if not cells:
        return None
    table = pd.DataFrame(cells, columns=["sparsity", "lead", "every_seed", "rivals"])
    lead, by_sparsity = table["lead"], table.groupby("sparsity")["lead"].mean()
    rivals = _known(shots, set().union(*table["rivals"]))
    grows = (
        f" It is larger at {percent(by_sparsity.idxmax())} than at the lowest sparsity."
        if by_sparsity.idxmax() != by_sparsity.index[0]
        else " It is largest at the lowest sparsity."
    )
    return (
        f"C2 (CAP beats {joined(rivals)} one-shot): {extent(lead > 0)}, CAP's mean is the highest in "
        f"{(lead > 0).sum()} of {len(lead)} cells, and in {table['every_seed'].sum()} it beats the best other pruner "
        f"with every seed. Lead over the best other pruner in points of top-1, mean over models: {_by(by_sparsity)}; "
        f"smallest {lead.min():+.2f}, largest {lead.max():+.2f}.{grows}"
    )


def c3(done: pd.DataFrame) -> list[str]:
    """Claim C3: the paper's recipe beats the usual one; runs that differ in nothing else are paired by seed."""
    tuned = done[done["phase"] == "finetuned"]
    recipes = [flatten(text) for text in tuned["recipe"]]
    found = []
    for key, preferred, usual, claim in RECIPES:
        rest = [json.dumps({k: v for k, v in json.loads(text).items() if k != key}) for text in tuned["settings"]]
        runs = tuned.assign(value=[recipe.get(key) for recipe in recipes], rest=rest)
        pairs = runs[runs["value"].isin([preferred, usual])].pivot_table(
            index=["model", "pruner", "method", "rest", "pattern", "sparsity", "seed"], columns="value", values="top1"
        )
        if not {preferred, usual} <= set(pairs) or (pairs := pairs.dropna()).empty:
            continue
        difference = pairs[preferred] - pairs[usual]
        cells = difference.groupby(["model", "pruner", "method", "rest", "pattern"]).mean()
        runs = difference.groupby(["model", "pruner", "method", "rest", "seed"]).mean().to_numpy()
        low, high = interval(runs)
        holding = "holds" if low > 0 else "does not hold" if high < 0 else "not shown"
        by_sparsity = _by(difference.groupby("sparsity").mean())
        spread = f", 95 % interval {low:+.2f} to {high:+.2f}" if len(runs) > 1 else ""
        found.append(
            f"C3 ({claim}): {holding}. Difference in points of top-1, mean over the sparsities of a run: "
            f"{runs.mean():+.2f}{spread}, {len(runs)} pairs of runs with the same seed; {by_sparsity}. The "
            f"mean is higher in {(cells > 0).sum()} of {len(cells)} cells (model, sparsity and what else differs)."
        )
    return found


def c6(rows: pd.DataFrame, summary: pd.DataFrame) -> str | None:
    """Claim C6: large models keep their accuracy at moderate sparsity, one-shot: within 1 % relative at 50 %."""
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.5)]
    if cells.empty or not (rows["sweep"] == "large_ssl").any():
        return None
    holds = cells["one_shot_rel_drop"] <= 1
    numbers = ", ".join(f"{row.model} {row.one_shot_rel_drop:.2f} %" for row in cells.itertuples())
    return (
        f"C6 (large models pruned to 50 % one-shot lose at most 1 % relative top-1): {extent(holds)}, with CAP on "
        f"{holds.sum()} of {len(holds)} models. Relative drop: {numbers}."
    )


def nm(rows: pd.DataFrame, summary: pd.DataFrame) -> str | None:
    """The N:M part of claim C4: CAP prunes to N:M patterns; and how the pruners compare there."""
    cells = summary[summary["kind"] == NM]
    own = rows[
        (rows["pruner"] == "cap") & (rows["pattern"].isin(cells["pattern"].unique()) | (rows["status"] == "failed"))
    ]
    if cells.empty or own.empty:
        return None
    violations = pd.to_numeric(own.get("violations", pd.Series(dtype=float)))
    if violations.notna().any():
        follows = (own["status"] == "done") & (violations == 0)
        holding = f"{extent(follows)}, {follows.sum()} of {len(follows)} pruned models follow their pattern"
        holding += f"; violations over all pruners: {cells['violations'].sum():,.0f}"
    else:
        holding = "not tested, violations were not counted"
    text = f"C4 (in its N:M part: CAP prunes to N:M patterns): {holding}."
    for phase, name in PHASES.items():
        orders = {str(pattern): _order(part, phase) for pattern, part in cells.groupby("pattern", sort=False)}
        listed = "; ".join(f"{pattern}: {order}" for pattern, order in orders.items() if order)
        text += f" Mean {name} top-1 over models, best first: {listed}." if listed else ""
    return text


def int8(done: pd.DataFrame) -> str | None:
    """The INT8 part of claim C4: what INT8 costs CAP's pruned models, and how small their files are."""
    pairs = done.pivot_table(index=["method", "model", "sparsity", "pattern", "seed"], columns="phase", values="top1")
    if not {"one_shot", "int8"} <= set(pairs) or CAP not in pairs.index or pairs.loc[[CAP], "int8"].isna().all():
        return None
    cells = pairs.dropna(subset=["one_shot", "int8"]).groupby(["method", "model", "sparsity", "pattern"]).mean()
    own = cells.loc[CAP]
    holds = own["int8"] >= 0.99 * own["one_shot"]
    text = (
        f"C4 (in its INT8 part: INT8 costs a model that CAP pruned at most 1 % relative top-1): {extent(holds)}, in "
        f"{holds.sum()} of {len(holds)} cells (model and sparsity) without any training"
    )
    if tuned_too := "int8_finetuned" in own and own["int8_finetuned"].notna().all():
        kept = own["int8_finetuned"] >= 0.99 * own["one_shot"]
        text += f" and in {kept.sum()} after the short training in INT8"
    text += f". Change in points of top-1, mean over models: {_by(_change(own, 'one_shot', 'int8'))}"
    if tuned_too:
        text += f"; with training in INT8 {_by(_change(own, 'one_shot', 'int8_finetuned'))}"
        if "finetuned" in own and own["finetuned"].notna().all():
            by_int8 = _by(_change(own, "finetuned", "int8_finetuned"))
            text += f", and against the same training in single precision {by_int8}"
    return f"{text}.{_sizes(done[done['method'] == CAP])}"


def _change(cells: pd.DataFrame, before: str, after: str) -> pd.Series:
    return (cells[after] - cells[before]).groupby("sparsity").mean()


def _sizes(own: pd.DataFrame) -> str:
    """Says how large the files are, mean over models and seeds; nothing where they were not measured."""
    sizes = own[own["dense_bytes"].notna()].pivot_table(index="sparsity", columns="phase", values="file_bytes")
    if not {"one_shot", "int8"} <= set(sizes):
        return ""
    dense = own["dense_bytes"].mean()
    listed = "; ".join(
        f"{percent(sparsity)} sparse {kibibytes(row.one_shot)} ({dense / row.one_shot:.1f} times smaller), sparse INT8 "
        f"{kibibytes(row.int8)} ({dense / row.int8:.1f})"
        for sparsity, row in zip(sizes.index, sizes.itertuples(), strict=True)
    )
    return f" Files, KiB, mean over models: dense {kibibytes(dense)}; {listed}."


def c7(rows: pd.DataFrame, done: pd.DataFrame) -> str | None:
    """Claim C7: one gradual run yields the models at all sparsities; what CAP loses there, and its lead over others."""
    tuned = done[(done["regime"] == "gradual") & (done["phase"] == "finetuned") & (done["kind"] == GLOBAL)]
    own = tuned[tuned["method"] == CAP]
    if own["variant"].nunique() != 1 or own["sparsity"].nunique() < 2:
        return None
    sparsities = sorted(own["sparsity"].unique())
    runs = rows.loc[(rows["pruner"] == "cap") & (rows["regime"] == "gradual"), "trial_id"].unique()
    whole = own.groupby("trial_id")["sparsity"].nunique().reindex(runs, fill_value=0) == len(sparsities)
    drops = own.groupby(["sparsity", "model"])["top1_rel_drop"].mean()
    numbers = ", ".join(
        f"{percent(sparsity)}: {part.mean():.2f} % ({(part <= 1).sum()} of {len(part)} models)"
        for sparsity, part in drops.groupby("sparsity")
    )
    text = (
        f"C7 (one gradual run gives the models at {joined(percent(sparsity) for sparsity in sparsities)}): "
        f"{extent(whole)}, {whole.sum()} of {len(whole)} runs of CAP gave all {len(sparsities)}. Relative drop of "
        f"CAP, mean over models (and how many lose at most 1 %): {numbers}."
    )
    pairs = tuned.assign(series=series(tuned).where(tuned["method"] != CAP, CAP)).pivot_table(
        index=["model", "sparsity", "seed"], columns="series", values="top1"
    )
    leads = []
    for rival in _known(tuned, set(pairs) - {CAP}):
        lead = (pairs[CAP] - pairs[rival]).dropna()
        if len(lead):
            leads.append(f"over {rival} {_by(lead.groupby('sparsity').mean())}")
    return text + (f" Lead of CAP in points of top-1, mean over models: {'; '.join(leads)}." if leads else "")


def c8(summary: pd.DataFrame) -> list[str]:
    """Claim C8, the ablations: for each pruner and option that was varied the best value and how much it matters."""
    found, bases = [], baselines_of(summary)
    for (method, option), settings in option_sweeps(summary).items():
        if option in {key for key, *_ in RECIPES} | {"regime"}:
            continue
        part = summary[summary["method"] == method]
        phase = "one_shot" if part["one_shot_n"].notna().any() else "finetuned"
        part = part.assign(value=[value_text(json.loads(text).get(option)) for text in part["settings"]])
        part = part[part["settings"].isin([json.dumps(values) for values in settings])]
        values = list(dict.fromkeys(value_text(values.get(option)) for values in settings))
        sentences = []
        for pattern, cells in part.groupby("pattern", sort=False):
            top1 = cells.pivot_table(index="model", columns="value", values=f"{phase}_mean").dropna().mean()
            if len(top1) > 1:
                sentences.append(
                    f"{pattern_in_words(str(pattern))}: best {top1.idxmax()} with {top1.max():.2f}, worst "
                    f"{top1.idxmin()} with {top1.min():.2f}, spread {top1.max() - top1.min():.2f} points"
                )
        base = bases[method]
        usual = f", base {value_text(base.get(option))}" if base else ""
        deviation = part[f"{phase}_std"].max()
        noise = "" if pd.isna(deviation) else f". Largest standard deviation over seeds {deviation:.2f}"
        if sentences:
            found.append(
                f"C8 ({method}, {option} {joined(values)}{usual}; {PHASES[phase]} top-1): "
                f"{'; '.join(sentences)}{noise}."
            )
    return found


def fastcap(done: pd.DataFrame) -> str | None:
    """FastCAP against CAP at the same patterns: accuracy and the time of the fit."""
    shots = done[(done["phase"] == "one_shot") & done["method"].isin([CAP, FASTCAP])]
    if (shots.groupby("method")["variant"].nunique() > 1).any():
        return None
    index = ["model", "pattern", "sparsity", "seed"]
    tops = shots.pivot_table(index=index, columns="method", values="top1")
    if not {CAP, FASTCAP} <= set(tops) or (tops := tops.dropna()).empty:
        return None
    difference = tops[FASTCAP] - tops[CAP]
    cells = difference.groupby(["model", "pattern"]).mean()
    text = (
        f"FastCAP against CAP at the same patterns, one-shot: FastCAP's mean is at least as high in "
        f"{(cells >= 0).sum()} of {len(cells)} cells. Difference in points of top-1, mean over models: "
        f"{_by(difference.groupby('sparsity').mean())}."
    )
    shots = shots[shots["fit_seconds"].notna() & shots["model"].isin(cells.index.get_level_values("model"))]
    times = shots.pivot_table(index="model", columns="method", values="fit_seconds", sort=False).dropna()
    if times.shape[1] == 2 and len(times):
        ratios = times[CAP] / times[FASTCAP]
        numbers = ", ".join(
            f"{model} {times.loc[model, FASTCAP]:.3g} s against {times.loc[model, CAP]:.3g} s "
            f"({ratio:.2g} times as fast)"
            for model, ratio in ratios.items()
        )
        faster = (ratios > 1).sum()
        text += f" Its fit is faster on {faster} of {len(ratios)} models: {numbers}."
    return text


def per_layer(summary: pd.DataFrame) -> str | None:
    """How the pruners compare where every layer gets the same sparsity."""
    cells = summary[(summary["kind"] == LAYER) & summary["one_shot_n"].notna()]
    if cells["name"].nunique() < 3:
        return None
    shown = {s: _order(cells[cells["sparsity"] == s], "one_shot") for s in representative(cells["sparsity"])}
    listed = "; ".join(f"{percent(sparsity)}: {order}" for sparsity, order in shown.items() if order)
    return f"Same sparsity in every layer, mean one-shot top-1 over models, best first: {listed}." if listed else None


def _order(cells: pd.DataFrame, phase: str) -> str:
    """Returns pruners with their mean top-1 over the models that all have, best first; empty for fewer than two."""
    top1 = cells.assign(series=cells["method"] + (" " + cells["variant"]).str.rstrip())
    top1 = top1[top1[f"{phase}_n"].notna()].pivot_table(index="model", columns="series", values=f"{phase}_mean")
    means = top1.dropna().mean().dropna().sort_values(ascending=False, kind="stable")
    return ", ".join(f"{name} {mean:.2f}" for name, mean in means.items()) if len(means) > 1 else ""


def _known(rows: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Returns names of series in the order of tables."""
    places = dict(zip(series(rows), zip(rows["method"].map(method_order), rows["rank"], strict=True), strict=True))
    return sorted(names, key=lambda name: places[name])


def _by(values: pd.Series) -> str:
    """Formats differences by sparsity."""
    return ", ".join(f"{percent(sparsity)}: {value:+.2f}" for sparsity, value in values.items())

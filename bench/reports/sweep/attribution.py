"""Results of composed pruners as a table of mask by update."""

from __future__ import annotations

import json

import pandas as pd

from bench.reports.common.text import plus_minus
from bench.results.labels import CAP, COMPOSED, JOINT, LAYER, NO_UPDATE, OWN, label, method_order, percent, update_label

UNIFORM = "uniform"
PARTS = ["allocation", "mask", "update"]


def composed(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the one-shot cells of composed pruners with the names of their parts.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.

    Returns:
        The cells with the columns `allocation`, `mask` and `update`, in the order of these; none if there are fewer
        than two masks or two updates.
    """
    cells = summary[(summary["pruner"] == COMPOSED) & summary["one_shot_n"].notna()].copy()
    options = [json.loads(text) for text in cells["pruner_options"]]
    cells["allocation"] = [
        UNIFORM if scope == LAYER else label(values.get("allocation") or values["mask"])
        for scope, values in zip(cells["kind"], options, strict=True)
    ]
    cells["mask"] = [label(values["mask"]) for values in options]
    cells["update"] = [update_label(values["weights"]) for values in options]
    if cells["mask"].nunique() < 2 or cells["update"].nunique() < 2:
        return cells.iloc[:0]
    order = {name: place for place, name in enumerate((NO_UPDATE, OWN))}
    return cells.sort_values(
        [*PARTS, "sparsity"],
        key=lambda values: (
            values.map(lambda v: (order.get(v, len(order)), method_order(v))) if values.name in PARTS else values
        ),
        kind="stable",
    )


def of_both_allocations(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the cells of composed pruners that ran with CAP's layer sparsities and with equal ones.

    Each mask is with the weights of its own pruner, or else with the joint update.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
    """
    cells = composed(summary)
    own = set(cells.loc[cells["update"] == OWN, "mask"])
    wanted = cells["mask"].map(lambda mask: OWN if mask in own else JOINT)
    cells = cells[cells["allocation"].isin((UNIFORM, CAP)) & (cells["update"] == wanted)]
    return cells[cells.groupby(["model", "sparsity", "mask"])["allocation"].transform("nunique") == 2]


def attribution_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a model, allocation and mask, with the top-1 of each sparsity and update; empty if there is none.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
    """
    cells = composed(summary)
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for model in dict.fromkeys(summary["model"]):
        for _, row in cells[cells["model"] == model].iterrows():
            line = lines.setdefault(
                (model, row["allocation"], row["mask"]),
                {"model": model, "allocation": row["allocation"], "mask": row["mask"]},
            )
            column = f"{percent(row['sparsity'])} {row['update']}"
            line[column] = plus_minus(row["one_shot_mean"], row["one_shot_std"])
    table = pd.DataFrame(list(lines.values())).fillna("")
    if table.empty or not (table["allocation"] != table["mask"]).any():  # every mask decides for itself
        table = table.drop(columns="allocation", errors="ignore")
    updates = list(dict.fromkeys(cells["update"]))
    columns = [f"{percent(sparsity)} {update}" for sparsity in sorted(cells["sparsity"].unique()) for update in updates]
    return table[[*(c for c in table if c not in columns), *(c for c in columns if c in table)]]

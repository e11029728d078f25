"""Names for readers: of pruners, phases, regimes and patterns, and their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cap.patterns import Blocks, Units, UnitsThen, Unstructured, parse_pattern

if TYPE_CHECKING:
    import pandas as pd

LABELS = {
    "magnitude": "GM",
    "gradient_weight": "GrW",
    "woodfisher": "WF",
    "mfac": "M-FAC",
    "cap": "CAP",
    "obert": "oBERT",
    "chita": "CHITA",
    "compose": "composed",
    "fastcap": "FastCAP",
    "wanda": "Wanda",
    "sparsegpt": "SparseGPT",
    "obc": "OBC",
    "ria": "RIA",
    "dsnot": "DSnoT",
    "alps": "ALPS",
    "snows": "SNOWS",
    "taylor": "Taylor",
    "synflow": "SynFlow",
    "random": "Random",
}
CAP, FASTCAP = LABELS["cap"], LABELS["fastcap"]
UNIFORM, DIAGONAL, ANY_MAGNITUDE, STAGED_CHITA = "UM", "WF-1", "magnitude", "CHITA++"
UNPRUNED = "unpruned"  # whichever the pruner, at a sparsity of 0: the control of a training
FAMILY_ORDER = ("vit", "convnext", "hybrid", "dino")  # of models, as in the paper
METHOD_ORDER = tuple(LABELS.values())
BESIDE = {UNIFORM: "GM", ANY_MAGNITUDE: "GM", DIAGONAL: "WF", STAGED_CHITA: "CHITA"}  # sorted right after these
COMPOSED = "compose"  # registered name of the pruner
OWN, NO_UPDATE, JOINT = "own", "no update", "joint"
UPDATES = {None: OWN, "none": NO_UPDATE, "obert": JOINT, "cap": JOINT}
NM, GLOBAL, LAYER = "N:M", "global", "layer"
UNITS, UNITS_THEN = "units", "units, then"
PHASES = {"one_shot": "one-shot", "finetuned": "fine-tuned", "int8": "INT8", "int8_finetuned": "INT8 fine-tuned"}
REGIMES = {"one_shot": "one-shot", "gradual": "gradual", "acdc": "AC/DC"}


def label(pruner: str) -> str:
    """Returns a pruner's short name; that of a file `path/to/file.py:ClassName` is its class."""
    path, _, name = pruner.rpartition(":")
    return LABELS.get(pruner, name if path.endswith(".py") else pruner)


def update_label(weights: str | None) -> str:
    """Returns the short name of a composed pruner's part `weights`: `own` where the mask's pruner gives them."""
    return UPDATES.get(weights) or label(weights or "")


def composition(parts: Mapping[str, str | None]) -> str:
    """Returns a composed pruner in words: `CAP mask + joint update + layers of OBC`.

    Args:
        parts: `mask` and `weights`, and `allocation` where there is one, as in the options of `compose`.
    """
    mask, update = label(parts["mask"] or ""), update_label(parts["weights"])
    said = [mask] if update == OWN else [f"{mask} mask", update if update == NO_UPDATE else f"{update} update"]
    if allocation := parts.get("allocation"):
        said.append(f"layers of {label(allocation)}")
    return " + ".join(said)


def model_labels(models: Iterable[str]) -> dict[str, str]:
    """Returns {model: its name in a table}: that of a user's own model without its weights, where that tells it.

    >>> model_labels(["vit", "timm:resnet18?weights=r18.safetensors"])
    {'vit': 'vit', 'timm:resnet18?weights=r18.safetensors': 'timm:resnet18'}
    """
    short = {model: model.partition("?")[0] for model in models}
    return {model: name if [*short.values()].count(name) == 1 else model for model, name in short.items()}


def kind(pattern: str) -> str:
    """Returns what weights a pattern ranks together: `N:M`, `global`, `layer`, `erk`, `blocks4`, `units`, ..."""
    parsed = parse_pattern(pattern)
    if isinstance(parsed, Unstructured):
        return parsed.scope
    if isinstance(parsed, Units | UnitsThen):
        return UNITS if isinstance(parsed, Units) else UNITS_THEN
    return f"blocks{parsed.size}" if isinstance(parsed, Blocks) else NM


def is_unpruned(pattern: str) -> bool:
    """Returns whether a pattern removes nothing."""
    return parse_pattern(pattern).sparsity == 0


def control_rows(rows: pd.DataFrame) -> pd.Series:
    """Returns which rows are of a control: a trial that removes nothing, beside others that do.

    Args:
        rows: Result rows with the columns `trial_id` and `pattern`.
    """
    removes = rows["pattern"].map(lambda pattern: isinstance(pattern, str) and not is_unpruned(pattern))
    pruned = set(rows.loc[removes.astype(bool), "trial_id"])
    unpruned = rows["pattern"].map(lambda pattern: isinstance(pattern, str) and is_unpruned(pattern)).astype(bool)
    controls = set(rows.loc[unpruned, "trial_id"]) - pruned if pruned else set()
    return rows["trial_id"].isin(controls)


def scope_in_words(pattern: str) -> str:
    """Returns the kind of a pattern in words; nothing for the usual ones, all layers together and N:M."""
    parsed = parse_pattern(pattern)
    if isinstance(parsed, Unstructured):
        return {GLOBAL: "", LAYER: "per layer", "erk": "ERK"}[parsed.scope]
    if isinstance(parsed, UnitsThen):
        return f"units, then {pattern_in_words(str(parsed.then))}"
    if isinstance(parsed, Units):
        return "units"
    return f"blocks of {parsed.size}" if isinstance(parsed, Blocks) else ""


def pattern_in_words(pattern: str) -> str:
    """Returns `75 %`, `75 % per layer` or `2:4`."""
    if kind(pattern) == NM:
        return pattern
    parsed = parse_pattern(pattern)
    first = parsed.units if isinstance(parsed, UnitsThen) else parsed
    return f"{percent(first.sparsity)} {scope_in_words(pattern)}".rstrip()


def percent(fraction: float) -> str:
    """Returns `75 %` for 0.75."""
    return f"{100 * fraction:g} %"


def method_order(method: str) -> tuple[float, str]:
    """Sort key of a method's name: the paper's order, anything else after it by name."""
    place = BESIDE.get(method, method)
    if method == UNPRUNED:
        return -1, method
    return (
        METHOD_ORDER.index(place) + 0.5 * (method in BESIDE) if place in METHOD_ORDER else len(METHOD_ORDER),
        method,
    )

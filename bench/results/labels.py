"""What tells the trials of a sweep apart: names of pruners, patterns in words, the settings that differ."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

LABELS = {
    "magnitude": "GM",
    "gradient_weight": "GrW",
    "woodfisher": "WF",
    "mfac": "M-FAC",
    "cap": "CAP",
    "fastcap": "FastCAP",
    "wanda": "Wanda",
    "sparsegpt": "SparseGPT",
    "obc": "OBC",
}
CAP, FASTCAP = LABELS["cap"], LABELS["fastcap"]
UNIFORM, DIAGONAL, ANY_MAGNITUDE = "UM", "WF-1", "magnitude"
FAMILY_ORDER = ("vit", "convnext", "hybrid", "dino")  # of models, as in the paper
METHOD_ORDER = tuple(LABELS.values())
BESIDE = {UNIFORM: "GM", ANY_MAGNITUDE: "GM", DIAGONAL: "WF"}  # sorted right after these
NM, GLOBAL, LAYER = "N:M", "global", "layer"
PHASES = {"one_shot": "one-shot", "finetuned": "fine-tuned", "int8": "INT8", "int8_finetuned": "INT8 fine-tuned"}
REGIMES = {"one_shot": "one-shot", "gradual": "gradual", "acdc": "AC/DC"}
CALIBRATION = ("gradient", "calibration_images", "calibration_batch_size")
STAR = 4  # trials from which on "all but one differ from it in one setting" is taken for a design

Settings = dict[str, Any]


def label(pruner: str) -> str:
    """Returns a pruner's short name; that of a file `path/to/file.py:ClassName` is its class."""
    path, _, name = pruner.rpartition(":")
    return LABELS.get(pruner, name if path.endswith(".py") else pruner)


def kind(pattern: str) -> str:
    """Returns what weights a pattern ranks together: `N:M`, `global`, `layer`, `erk`, `blocks4`, ..."""
    return NM if ":" in pattern else pattern.partition("@")[2] or GLOBAL


def scope_in_words(kind: str) -> str:
    """Returns a kind of pattern in words; nothing for the usual ones."""
    if kind in (GLOBAL, NM):
        return ""
    return {LAYER: "per layer", "erk": "ERK"}.get(kind, kind.replace("blocks", "blocks of "))


def pattern_in_words(pattern: str) -> str:
    """Returns `75 %`, `75 % per layer` or `2:4`."""
    if kind(pattern) == NM:
        return pattern
    return f"{percent(float(pattern.partition('@')[0]))} {scope_in_words(kind(pattern))}".rstrip()


def percent(fraction: float) -> str:
    """Returns `75 %` for 0.75."""
    return f"{100 * fraction:g} %"


def method_order(method: str) -> tuple[float, str]:
    """Sort key of a method's name: the paper's order, anything else after it by name."""
    place = BESIDE.get(method, method)
    return (
        METHOD_ORDER.index(place) + 0.5 * (method in BESIDE) if place in METHOD_ORDER else len(METHOD_ORDER),
        method,
    )


def flatten(text: Any) -> Settings:
    """Reads a JSON object of settings, those of inner objects under `outer.inner`; empty for what is no text."""
    if not isinstance(text, str):
        return {}

    def items(values: Settings, prefix: str) -> Iterable[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from items(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(items(json.loads(text), ""))


def text_of(key: str, value: Any) -> str:
    """Returns a setting as a reader sees it: `damp=1e-07`."""
    return REGIMES.get(value, str(value)) if key == "regime" else f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """Returns a setting's value as a reader sees it."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def baseline_of(settings: list[Settings]) -> Settings | None:
    """Returns the one from which each of the others differs in a single setting, if there is exactly one such."""

    def differences(one: Settings, other: Settings) -> int:
        return sum(one.get(key) != other.get(key) for key in {**one, **other})

    found = [one for one in settings if all(differences(one, other) == 1 for other in settings if other is not one)]
    return found[0] if len(found) == 1 and len(settings) >= STAR else None


def describe(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds what tables and figures call the trials of these rows.

    Two trials of a method are told apart by what differs on the same model: options of the pruner, values of the
    training's recipe, the regime; and, where these are the same, by the calibration. Where there is a base from which
    every other differs in one setting, that one alone is named.

    Args:
        rows: Rows of finished models, with all columns of `bench.results.schema.SCHEMA`.

    Returns:
        A copy with the columns `kind` (see `kind`), `method` (`CAP`, `UM`, ...), `name` (the method, with its scope if
        these rows have several), `settings` (JSON of what differs), `variant` (the same in words, empty where nothing
        does) and `rank` (the order of variants within a method); regime and recipe are those of the trial.
    """
    rows = rows.copy()
    rows["regime"] = rows["regime"].astype(object).where(rows["regime"].notna(), "one_shot")
    rows["recipe"] = rows.groupby("trial_id", dropna=False)["recipe"].transform("first")
    rows["kind"] = rows["pattern"].map(kind)
    options = [flatten(text) for text in rows["pruner_options"]]
    rows["method"] = _methods(rows, options)
    scopes = rows["kind"].map(scope_in_words)
    mixed = scopes[rows["kind"] != NM].nunique() > 1
    suffix = [f" ({scope})" if mixed and scope and method != UNIFORM else "" for scope, method in
              zip(scopes, rows["method"], strict=True)]  # fmt: skip
    rows["name"] = rows["method"] + suffix

    rows["settings"] = _settings(rows, options)
    rows["settings"] = _with_calibration(rows)
    rows["variant"], rows["rank"] = _variants(rows)
    return rows


def _settings(rows: pd.DataFrame, options: list[Settings]) -> list[str]:
    """Returns what differs within each row's method, and of the training what differs at all, as JSON."""
    recipes = [flatten(text) for text in rows["recipe"]]
    trained = [place for place, text in enumerate(rows["recipe"]) if isinstance(text, str)]
    common = _varied(rows["model"].iloc[trained], [recipes[place] for place in trained])
    regimes = rows.groupby("model")["regime"].nunique().max() > 1
    result = [""] * len(rows)
    for _, places in rows.reset_index(drop=True).groupby("method").groups.items():
        own = _varied(rows["model"].iloc[places], [options[place] for place in places])
        for place in places:
            values = {key: options[place][key] for key in own if key in options[place]}
            values |= {key: recipes[place][key] for key in common if key in recipes[place]}
            result[place] = json.dumps(values | ({"regime": rows["regime"].iloc[place]} if regimes else {}))
    return result


def _methods(rows: pd.DataFrame, options: list[Settings]) -> list[str]:
    """Names each row's method; a name that two files share is given in full."""
    short = {pruner: label(pruner) for pruner in rows["pruner"].unique()}
    taken = list(short.values())
    short = {pruner: name if taken.count(name) == 1 else pruner for pruner, name in short.items()}
    sizes = {
        values.get("block_size")
        for pruner, values in zip(rows["pruner"], options, strict=True)
        if pruner == "woodfisher"
    }
    diagonal = len(sizes) <= 2  # with more of them block size 1 is one point of a scan, no method of its own
    result = []
    for pruner, pattern_kind, values in zip(rows["pruner"], rows["kind"], options, strict=True):
        name = short[pruner]
        if pruner == "magnitude" and pattern_kind in (LAYER, NM):
            name = UNIFORM if pattern_kind == LAYER else ANY_MAGNITUDE
        elif pruner == "woodfisher" and diagonal and values.get("block_size") == 1:
            name = DIAGONAL
        result.append(name)
    return result


def _varied(models: Iterable[str], settings: list[Settings]) -> list[str]:
    """Returns the keys that have several values, or are there and missing, on one model."""
    models = list(models)
    keys = dict.fromkeys(key for values in settings for key in values)
    found = []
    for key in keys:
        seen: dict[str, set[str]] = {}
        for model, values in zip(models, settings, strict=True):
            seen.setdefault(model, set()).add(json.dumps(values[key]) if key in values else "")
        if any(len(values) > 1 for values in seen.values()):
            found.append(key)
    return found


def _with_calibration(rows: pd.DataFrame) -> pd.Series:
    """Adds to the settings of a method what its trials were calibrated on, where nothing else tells them apart."""
    settings = rows["settings"]
    for column in CALIBRATION:
        cells = rows.assign(settings=settings).groupby(["model", "method", "settings", "pattern", "phase"])
        mixed = set(rows.loc[cells[column].transform("nunique") > 1, "method"])
        settings = pd.Series(
            [
                json.dumps({**json.loads(text), column: _plain(value)}) if method in mixed else text
                for text, method, value in zip(settings, rows["method"], rows[column], strict=True)
            ],
            index=rows.index,
            dtype=object,
        )
    return settings


def _plain(value: Any) -> Any:
    """Returns a cell as JSON has it: whole numbers without a fraction, missing ones as null."""
    if isinstance(value, str):
        return value
    return None if pd.isna(value) else int(value) if value == int(value) else float(value)


def _variants(rows: pd.DataFrame) -> tuple[list[str], list[int]]:
    """Returns the variant of every row in words, and its place among those of its method."""
    words: dict[tuple[str, str], tuple[str, int]] = {}
    for method, texts in rows.groupby("method")["settings"].unique().items():
        every = [json.loads(text) for text in texts]
        keys = list(dict.fromkeys(key for values in every for key in values))
        base = baseline_of(every)
        if base is None:
            named = [(values, keys) for values in every]
        else:
            named = [(values, [key for key in keys if values.get(key) != base.get(key)]) for values in every]
        places = [
            ([keys.index(key) for key in chosen] if base else [], [_sortable(values.get(key)) for key in chosen])
            for values, chosen in named
        ]
        for rank, place in enumerate(sorted(range(len(every)), key=places.__getitem__)):
            values, chosen = named[place]
            text = " ".join(text_of(key, values[key]) for key in chosen if key in values)
            words[str(method), json.dumps(values)] = ("base" if values == base else text, rank)
    found = [words[key] for key in zip(rows["method"], rows["settings"], strict=True)]
    return [text for text, _ in found], [rank for _, rank in found]


def _sortable(value: Any) -> tuple[int, float, str]:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, value_text(value))


def numeric(values: Iterable[Any]) -> bool:
    """Returns whether all values of a setting are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def baselines_of(frame: pd.DataFrame) -> dict[str, Settings | None]:
    """Returns the base of each method, see `baseline_of`; `frame` is as for `option_sweeps`."""
    settings = frame.groupby("method", sort=False)["settings"].unique()
    return {str(method): baseline_of([json.loads(text) for text in texts]) for method, texts in settings.items()}


def option_sweeps(frame: pd.DataFrame) -> dict[tuple[str, str], list[Settings]]:
    """Finds the options of each method that were tried at several values while the others stayed as they were.

    Args:
        frame: Rows as `describe`, or cells as `bench.reports.sweep.summary.summarise` returns them.

    Returns:
        {(method, option): settings in the order of the option's values}; where a method has a base these are the base
        and what differs from it in the option alone, else all its settings.
    """
    found: dict[tuple[str, str], list[Settings]] = {}
    for method, texts in frame.groupby("method", sort=False)["settings"].unique().items():
        every = [json.loads(text) for text in texts]
        base = baseline_of(every)
        for key in dict.fromkeys(key for values in every for key in values):
            part = every
            if base is not None:
                rest = {name: value for name, value in base.items() if name != key}
                part = [v for v in every if {name: value for name, value in v.items() if name != key} == rest]
            if len({value_text(values.get(key)) for values in part}) > 1:
                found[str(method), key] = sorted(part, key=lambda values: _sortable(values.get(key)))
    return found

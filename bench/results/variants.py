"""Variants of a method: the settings in which the trials of a sweep differ, in words and in order."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Any

import pandas as pd

from bench.results.labels import (
    ANY_MAGNITUDE,
    DIAGONAL,
    LAYER,
    NM,
    REGIMES,
    STAGED_CHITA,
    UNIFORM,
    UNPRUNED,
    composition,
    is_unpruned,
    kind,
    label,
    scope_in_words,
)
from bench.results.settings import Settings, baseline_of, names_of, sort_key, value_text

CALIBRATION = ("gradient", "calibration_images", "calibration_batch_size", "label_source", "batch_norm")
PARTS = ("allocation", "mask", "weights")  # of composed pruners
SETTING = "setting"  # in the settings of trials that say whose their options are


def describe(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds what tables and figures call the trials of these rows.

    Two trials of a method are told apart by what differs on the same model: options of the pruner, values of the
    training's recipe, the regime; and, where these are the same, by the calibration. Where there is a base from which
    every other differs in one setting, that one alone is named. Trials that say whose their options are, the authors'
    or tuned ones, are named by that, and by what differs among those that say the same.

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
    options = [Settings.from_json(text) for text in rows["pruner_options"]]
    rows["method"] = _methods(rows, options)
    scopes = rows["pattern"].map(scope_in_words)
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
    recipes = [Settings.from_json(text) for text in rows["recipe"]]
    # the control is trained as the others, but is not quantized as they may be
    pruned = (rows["method"] != UNPRUNED).to_numpy() | (rows["method"] == UNPRUNED).all()
    trained = [place for place, text in enumerate(rows["recipe"]) if isinstance(text, str) and pruned[place]]
    common = _varied(rows["model"].iloc[trained], [recipes[place] for place in trained])
    regimes = rows.groupby("model")["regime"].nunique().max() > 1
    result = [""] * len(rows)
    for _, places in rows.reset_index(drop=True).groupby("method").groups.items():
        said = [whose if isinstance(whose, str) else "" for whose in rows["setting"].iloc[places]]
        every = [options[place] for place in places]
        own = _varied(zip(rows["model"].iloc[places], said, strict=True), every)
        if all("mask" in values and "weights" in values for values in every):
            own = _of_parts(own, rows.iloc[places], every)
        for place in places:
            values = options[place].select(own) | recipes[place].select(common)
            if isinstance(whose := rows["setting"].iloc[place], str):
                values = Settings({SETTING: whose}) | values
            if regimes:
                values |= {"regime": rows["regime"].iloc[place]}
            result[place] = values.to_json()
    return result


def _of_parts(varied: list[str], rows: pd.DataFrame, options: list[Settings]) -> list[str]:
    """Returns what tells composed pruners apart: their parts alone, unless one of these has several options on a model.

    Args:
        varied: Names of all that differs.
        rows: Rows of composed pruners.
        options: Options of each.
    """
    parts = [name for name in PARTS if any(name in values for values in options)]
    seen: dict[tuple[str, ...], set[str]] = {}
    for model, pattern, values in zip(rows["model"], rows["kind"], options, strict=True):
        seen.setdefault((model, pattern, values.select(parts).to_json()), set()).add(values.select(varied).to_json())
    return parts if all(len(found) == 1 for found in seen.values()) else varied


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
    every = zip(rows["pruner"], rows["pattern"], rows["kind"], options, strict=True)
    for pruner, pattern, pattern_kind, values in every:
        name = short[pruner]
        if is_unpruned(pattern):
            name = UNPRUNED
        elif pruner == "magnitude" and pattern_kind in (LAYER, NM):
            name = UNIFORM if pattern_kind == LAYER else ANY_MAGNITUDE
        elif pruner == "woodfisher" and diagonal and values.get("block_size") == 1:
            name = DIAGONAL
        elif pruner == "chita" and (values.get("stages") or 1) > 1:
            name = STAGED_CHITA
        result.append(name)
    return result


def _varied(models: Iterable[Hashable], settings: list[Settings]) -> list[str]:
    """Returns the keys that have several values, or are there and missing, on one model.

    Args:
        models: Model of each trial, or what else is to be the same.
        settings: Settings of each trial.
    """
    models = list(models)
    found = []
    for key in names_of(settings):
        seen: dict[Hashable, set[str]] = {}
        for model, values in zip(models, settings, strict=True):
            seen.setdefault(model, set()).add(json.dumps(values[key]) if key in values else "")
        if any(len(values) > 1 for values in seen.values()):
            found.append(key)
    return found


def _with_calibration(rows: pd.DataFrame) -> pd.Series:
    """Adds what trials were calibrated on, on models where nothing else tells those of a method apart."""
    settings = rows["settings"]
    for column in CALIBRATION:
        cells = rows.assign(settings=settings).groupby(["model", "method", "settings", "pattern", "phase"])
        several = rows.loc[cells[column].transform("nunique") > 1, ["model", "method"]]
        mixed = set(several.itertuples(index=False, name=None))
        settings = pd.Series(
            [
                (Settings.from_json(text) | {column: _plain(value)}).to_json() if tuple(key) in mixed else text
                for text, value, *key in zip(settings, rows[column], rows["model"], rows["method"], strict=True)
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
        every = [Settings.from_json(text) for text in texts]
        keys = names_of(every)
        base = baseline_of(every)
        if base is None:
            named = [(values, keys) for values in every]
        else:
            named = [(values, [key for key in keys if values.get(key) != base.get(key)]) for values in every]
        places = [
            ([keys.index(key) for key in chosen] if base else [], [sort_key(values.get(key)) for key in chosen])
            for values, chosen in named
        ]
        for rank, place in enumerate(sorted(range(len(every)), key=places.__getitem__)):
            values, chosen = named[place]
            if is_named_by_parts(values):
                text = composition(values)
            elif values == base:
                text = "base"
            else:
                text = " ".join(_in_words(key, values[key]) for key in chosen if key in values)
            words[str(method), values.to_json()] = (text, rank)
    found = [words[key] for key in zip(rows["method"], rows["settings"], strict=True)]
    return [text for text, _ in found], [rank for _, rank in found]


def is_named_by_parts(settings: Settings) -> bool:
    """Returns whether settings are the parts of a composed pruner alone, which then name it, see `composition`."""
    return "mask" in settings and set(settings) <= set(PARTS)


def _in_words(name: str, value: Any) -> str:
    """Returns a setting as a reader sees it: `damp=1e-07`."""
    if name == SETTING:
        return str(value)
    return REGIMES.get(value, str(value)) if name == "regime" else f"{name}={value_text(value)}"


def baselines_of(frame: pd.DataFrame) -> dict[str, Settings | None]:
    """Returns the base of each method, see `baseline_of`; `frame` is as for `option_sweeps`."""
    settings = frame.groupby("method", sort=False)["settings"].unique()
    return {str(method): baseline_of([Settings.from_json(t) for t in texts]) for method, texts in settings.items()}


def option_sweeps(frame: pd.DataFrame) -> dict[tuple[str, str], list[Settings]]:
    """Finds the options of each method that were tried at several values while the others stayed as they were.

    Args:
        frame: Rows or cells with the columns `method` and `settings` of `describe`.

    Returns:
        {(method, option): settings in the order of the option's values}; where a method has a base these are the base
        and what differs from it in the option alone, else all its settings.
    """
    found: dict[tuple[str, str], list[Settings]] = {}
    for method, texts in frame.groupby("method", sort=False)["settings"].unique().items():
        every = [Settings.from_json(text) for text in texts]
        base = baseline_of(every)
        for key in names_of(every):
            part = every
            if base is not None:
                part = [values for values in every if values.without(key) == base.without(key)]
            if len({value_text(values.get(key)) for values in part}) > 1:
                found[str(method), key] = sorted(part, key=lambda values: sort_key(values.get(key)))
    return found

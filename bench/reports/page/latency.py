"""Points of accuracy beside measured times of inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from bench.reports.latency.analysis import analyse, sparse_rows
from bench.reports.page.data import LatencyPoint
from bench.reports.sweep.summary import pruned
from bench.results.labels import CAP, PHASES, pattern_in_words, percent
from bench.results.methods import OTHER, method_of
from bench.results.timings import TIMED, Timings

KEYS = ["model", "method", "variant", "pruner", "pattern", "phase"]


def trial_points(rows: Mapping[str, pd.DataFrame]) -> Iterator[LatencyPoint]:
    """Yields the models that lost units, which their own trial timed beside the dense model.

    Args:
        rows: Result rows by sweep, as `bench.results.schema.ResultRow` describes them.
    """
    for sweep, frame in rows.items():
        if frame["latency_small"].isna().all():
            continue
        every = pruned(frame)
        timed = every[every["latency_small"].notna() & ~every["invalid"]]
        for model, part in timed.groupby("model", sort=False):
            seconds, trials = float(part["latency_dense"].median()), tuple(dict.fromkeys(part["trial_id"]))
            yield _dense_point(str(model), "dense", 1.0, seconds, None, sweep, _models(part), trials)
        for (model, method, variant, pruner, pattern, phase), part in timed.groupby(KEYS, sort=False):
            yield LatencyPoint(
                model=model,
                method=method,
                family=method_of(pruner).family,
                label=f"{method} {variant}".strip() + f" {pattern_in_words(pattern)} {PHASES[phase]}",
                sparsity=float(part["sparsity"].iloc[0]),
                times=float((part["latency_dense"] / part["latency_small"]).median()),
                seconds=float(part["latency_small"].median()),
                kept=float((100 * part["top1"] / part["top1_dense"]).mean()),
                note=f"smaller model without the removed units, PyTorch eager, timed in its trial; {sweep}",
                batch=None,
                group="trial",
                sweep=sweep,
                count=_models(part),
                sources=tuple(dict.fromkeys(part["trial_id"])),
            )


def speedup_points(timings: Timings, accuracies: pd.DataFrame) -> Iterator[LatencyPoint]:
    """Yields the sparse engine's times beside what CAP keeps on the embedded model of the same family.

    Args:
        timings: Measurements that are there.
        accuracies: What the embedded models keep, as `bench.reports.latency.analysis.accuracy` returns it.
    """
    known = {(row.family, row.sparsity): (row.model, row.one_shot) for row in accuracies.itertuples()}
    compared = analyse(timings.read())
    dense = compared["dense"].astype(bool) & (compared["status"] == TIMED)
    for row in compared[dense & (compared["threads"] == compared["threads"].max())].itertuples():
        yield _dense_point(
            row.model, row.engine, float(row.to_dense), float(row.p50), int(row.batch), timings.name, int(row.rounds),
            (row.cell,),
        )  # fmt: skip
    for row in sparse_rows(compared).itertuples():
        embedded, drop = known.get((row.family, row.sparsity_target), ("", float("nan")))
        if row.sparsity_target == 0:  # the control: the sparse engine on unpruned weights
            embedded, drop = "dense model", 0.0
        if pd.isna(drop) or pd.isna(row.to_dense):
            continue
        yield LatencyPoint(
            model=row.model,
            method=CAP,
            family=method_of("cap").family,
            label=f"{row.engine} {percent(row.sparsity_target)}, batch {row.batch}, {row.threads} threads",
            sparsity=float(row.sparsity_target),
            times=float(row.to_dense),
            seconds=float(row.p50),
            kept=100 - float(drop),
            note=f"time of {row.model} with random weights against {row.best_dense}; accuracy that one-shot CAP keeps "
            f"on the embedded {embedded}",
            batch=int(row.batch),
            group="speedup",
            sweep=timings.name,
            count=int(row.rounds),
            sources=(row.cell,),
        )


def _models(part: pd.DataFrame) -> int:
    """Returns the number of dense models whose trials timed one each."""
    return max(1, part["dense_seed"].nunique())


def _dense_point(
    model: str,
    engine: str,
    times: float,
    seconds: float,
    batch: int | None,
    sweep: str,
    count: int,
    sources: tuple[str, ...],
) -> LatencyPoint:
    """Returns the point of a dense model, which keeps its accuracy."""
    group = "trial" if batch is None else "speedup"
    label = engine if batch is None else f"{engine}, batch {batch}"
    note = "the dense model"
    return LatencyPoint(
        model, engine, OTHER, label, 0.0, times, seconds, 100.0, note, batch, group, sweep, count, sources
    )

from __future__ import annotations

from scipy import stats

from bench.reports.sweep.ranks import rankings
from bench.reports.sweep.summary import SweepResults

TOPS = {"cap": [88.0, 88.5], "woodfisher": [87.0, 88.6], "magnitude": [80.0, 81.0]}


def test_cells_that_every_pruner_has_are_ranked(everywhere, seeded, frame) -> None:
    rows = frame(*(everywhere(pruner, "0.5", top1) for pruner, top1 in TOPS.items()), seeded("cap", "0.9", [1.0, 2.0]))
    [found] = rankings(SweepResults.of(rows))
    assert (found.kind, found.phase, found.cells) == ("global", "one_shot", 6), "three models, two dense seeds"
    means = dict(zip(found.names, found.ranking.mean_ranks, strict=True))
    ranks = stats.rankdata([[-88.0, -87.0, -80.0], [-88.5, -88.6, -81.0]], axis=1).mean(0)
    assert [means["CAP"], means["WF"], means["GM"]] == list(ranks)
    assert "over 6 cells (model, dense seed and pattern) that all pruners have: CAP 1.50, WF 1.50, GM 3.00" in (
        found.sentence
    )
    assert "describes and decides no claim" in found.sentence


def test_of_many_pruners_the_sentence_has_the_best(everywhere, frame) -> None:
    names = (
        "cap",
        "obert",
        "mfac",
        "woodfisher",
        "chita",
        "obc",
        "alps",
        "sparsegpt",
        "wanda",
        "ria",
        "dsnot",
        "magnitude",
    )
    rows = frame(*(everywhere(name, "0.5", [90.0 - place, 89.5 - place]) for place, name in enumerate(names)))
    [found] = rankings(SweepResults.of(rows))
    assert "CAP 1.00, oBERT 2.00" in found.sentence
    assert "RIA 10.00 and 2 more. Friedman's test" in found.sentence
    assert "by which are not told apart from the best: CAP, oBERT, " in found.sentence
    assert "GM" not in found.sentence


def test_kinds_of_patterns_are_ranked_apart_and_few_are_not(everywhere, frame) -> None:
    layerwise = {"obc": [88.0, 88.1], "wanda": [87.0, 87.1], "sparsegpt": [86.0, 86.1]}
    parts = [*(everywhere(name, "0.5", top1) for name, top1 in TOPS.items()),
             *(everywhere(name, "0.5@layer", top1) for name, top1 in layerwise.items())]  # fmt: skip
    rows = frame(*parts)
    assert [found.kind for found in rankings(SweepResults.of(rows))] == ["global", "layer"]
    assert rankings(SweepResults.of(frame(*parts[:2], *parts[3:5]))) == [], "two of a kind are no ranking"
    assert rankings(SweepResults.of(rows.assign(dense_seed=None))) == []

from __future__ import annotations


def test_ranks_with_the_critical_difference(everywhere, frame, drawn) -> None:
    tops = {"cap": [88.0, 88.5], "woodfisher": [87.0, 87.5], "magnitude": [80.0, 81.0]}
    rows = frame(*(everywhere(pruner, pattern, top1) for pruner, top1 in tops.items() for pattern in ("0.5", "0.9")))
    figures = drawn(rows)
    assert list(figures) == ["sweep", "sweep_ranks"]
    [axis] = figures["sweep_ranks"].panels
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["CAP", "WF", "GM"], "the best on top"
    points = [line for line in axis.lines if line.get_markersize() == 6 and line.get_linestyle() == "None"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(1, 0), (2, 1), (3, 2)]
    # Nemenyi's difference for 3 methods and 12 cells: 2.3437 sqrt(3 x 4 / 72) = 0.957, so all are told apart
    [difference] = [text.get_text() for text in axis.texts]
    assert difference == "critical difference 0.96"
    assert list(drawn(rows.assign(dense_seed=None))) == ["sweep"]

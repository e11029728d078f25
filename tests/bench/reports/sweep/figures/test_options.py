from __future__ import annotations


def test_a_panel_for_each_option(make, frame, drawn, line) -> None:
    top1 = {(64, 2): 80.0, (16, 2): 70.0, (1024, 2): 83.0, (64, 1): 78.0, (64, 4): 81.0}
    rows = frame(*(make("cap", "0.75", [v], options={"m": m, "steps": steps}) for (m, steps), v in top1.items()))
    figure = drawn(rows)["sweep"]
    m, steps = figure.panels
    assert [m.get_xlabel(), steps.get_xlabel()] == ["m", "steps"]
    assert line(m, "CAP 75 %") == ([16, 64, 1024], [70, 80, 83])
    assert line(steps, "CAP 75 %") == ([1, 2, 4], [78, 80, 81])
    assert [m.get_xscale(), steps.get_xscale()] == ["log", "linear"]
    assert [tick.get_text() for tick in m.get_xticklabels()] == ["16", "64", "1024"]
    assert sorted(figure.legend) == ["CAP 75 %", "base"]
    rings = [data for data in m.lines if data.get_markersize() == 9 and len(data.get_xdata())]
    assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings] == [([64], [80])]

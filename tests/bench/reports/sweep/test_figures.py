from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench.reports.sweep import figures as plots


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Draws the figures of rows and returns {name of the file: figure}."""
    kept = {}
    save, close = plots.save, plt.close

    def keep(figure, stem: Path) -> list[Path]:
        kept[stem.name] = figure
        return save(figure, stem)

    def draw(rows: pd.DataFrame) -> dict:
        kept.clear()
        written = plots.figures(rows, "Title", tmp_path / "sweep")
        assert [path.name for path in written] == [f"{name}{suffix}" for name in kept for suffix in (".png", ".svg")]
        assert all(path.stat().st_size for path in written)
        return dict(kept)

    monkeypatch.setattr(plots, "save", keep)
    monkeypatch.setattr(plt, "close", lambda figure: None)
    yield draw
    close("all")


def panels(figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(axis, label: str) -> tuple[list[float], list[float]]:
    """Points of the line of that name."""
    handles, labels = axis.get_legend_handles_labels()
    data = handles[labels.index(label)].lines[0]
    return list(data.get_xdata()), list(data.get_ydata())


def test_curves_of_both_phases(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5", [80.0, 82.0], fit_seconds=1.0), make("cap", "0.9", [60.0, 62.0], fit_seconds=1.0),
        make("cap", "0.5", [85.0, 87.0], phase="finetuned"), make("magnitude", "0.5", [70.0, 70.0]),
    )  # fmt: skip
    figures = drawn(rows)
    assert list(figures) == ["sweep"]
    [axis] = panels(figures["sweep"])
    assert line(axis, "CAP one-shot") == ([50, 90], [81, 61])
    assert line(axis, "CAP fine-tuned") == ([50], [86])
    assert legend(figures["sweep"]) == ["dense", "1 % relative drop", "GM one-shot", "CAP one-shot", "CAP fine-tuned"]


def test_one_shot_curves_have_the_times_of_the_fits_beside(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5@layer", [80.0], fit_seconds=3.0), make("fastcap", "0.5@layer", [79.0], fit_seconds=1.0),
        make("cap", "0.5@layer", [80.0], fit_seconds=4.0, model="dino"),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    *curves, times = panels(figure)
    assert [axis.get_title() for axis in curves] == ["vit", "dino"]
    assert sorted(bar.get_height() for bar in times.patches) == [1, 3, 4]
    assert times.get_yscale() == "linear"
    assert legend(figure) == ["dense", "1 % relative drop", "CAP", "FastCAP"]
    *_, times = panels(drawn(rows.assign(fit_seconds=rows["fit_seconds"] ** 3))["sweep"])
    assert times.get_yscale() == "log", "more than a decade"


def test_global_and_layerwise_curves_come_apart(make, frame, drawn) -> None:
    pruners = ("gradient_weight", "woodfisher", "mfac", "cap", "magnitude")
    layerwise = ("cap", "fastcap", "wanda", "sparsegpt", "obc", "magnitude")
    rows = frame(
        *(make(pruner, "0.5", [80.0]) for pruner in pruners),
        *(make(pruner, "0.5@layer", [70.0]) for pruner in layerwise),
        make("woodfisher", "0.5", [75.0], options={"block_size": 1}),
    )
    figure = drawn(rows)["sweep"]
    [axis] = panels(figure)
    assert line(axis, "CAP") == ([50], [80])
    assert line(axis, "CAP (per layer)") == ([50], [70])
    assert line(axis, "UM") == ([50], [70])
    assert line(axis, "WF-1") == ([50], [75])
    handles, labels = axis.get_legend_handles_labels()
    looks = {(h.lines[0].get_color(), h.lines[0].get_marker()) for h in handles[2:]}
    assert len(looks) == len(labels) - 2 == 12, "no two look the same"


def test_bars_for_groups_of_weights(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 82.0]), make("cap", "4:8", [84.0]), make("cap", "2:4", [85.0], phase="finetuned"),
        make("magnitude", "2:4", [60.0]),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    [axis] = panels(figure)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2:4", "4:8"]
    assert [bar.get_height() for bar in axis.patches] == [60, 81, 84]
    assert legend(figure)[2:] == ["magnitude one-shot", "CAP one-shot", "fine-tuned"]
    assert axis.get_ylim()[0] == 0, "bars start at zero"
    assert list(drawn(pd.concat([rows, frame(make("cap", "0.5", [80.0]))]))) == ["sweep", "sweep_nm"]


def test_a_panel_for_each_option(make, frame, drawn) -> None:
    top1 = {(64, 2): 80.0, (16, 2): 70.0, (1024, 2): 83.0, (64, 1): 78.0, (64, 4): 81.0}
    rows = frame(*(make("cap", "0.75", [v], options={"m": m, "steps": steps}) for (m, steps), v in top1.items()))
    figure = drawn(rows)["sweep"]
    m, steps = panels(figure)
    assert [m.get_xlabel(), steps.get_xlabel()] == ["m", "steps"]
    assert line(m, "CAP 75 %") == ([16, 64, 1024], [70, 80, 83])
    assert line(steps, "CAP 75 %") == ([1, 2, 4], [78, 80, 81])
    assert [m.get_xscale(), steps.get_xscale()] == ["log", "linear"]
    assert [tick.get_text() for tick in m.get_xticklabels()] == ["16", "64", "1024"]
    assert sorted(legend(figure)) == ["CAP 75 %", "base"]
    rings = [data for data in m.lines if data.get_markersize() == 9 and len(data.get_xdata())]
    assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings] == [([64], [80])]


def test_recipes_are_lines(make, frame, drawn) -> None:
    common = {"regime": "gradual", "phase": "finetuned"}
    rows = frame(
        make("cap", "0.5", [88.0], recipe={"schedule": "sawtooth"}, **common),
        make("cap", "0.5", [87.0], recipe={"schedule": "cosine"}, **common),
    )
    [axis] = panels(drawn(rows)["sweep"])
    assert line(axis, "CAP schedule=sawtooth") == ([50], [88])
    assert line(axis, "CAP schedule=cosine") == ([50], [87])
    assert axis.get_ylabel() == "fine-tuned top-1, %"


def test_losses_against_predictions(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5", [80.0], predicted_loss_increase=0.1, observed_loss_increase=0.2),
        make("cap", "0.75", [80.0], predicted_loss_increase=0.1, observed_loss_increase=-0.2),
        make("woodfisher", "0.5", [80.0], predicted_loss_increase=0.3, observed_loss_increase=0.4),
        make("magnitude", "0.5", [80.0], observed_loss_increase=0.4),
    )
    figures = drawn(rows)
    assert list(figures) == ["sweep", "sweep_loss"]
    figure = figures["sweep_loss"]
    [axis] = panels(figure)
    assert [dots.get_offsets().tolist() for dots in axis.collections] == [[[0.3, 0.4]], [[0.1, 0.2]]]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert legend(figure) == ["observed as predicted", "WF", "CAP"]
    assert any(text.get_text().startswith("1 of 3 points are not shown") for text in figure.texts)

from __future__ import annotations


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
    [axis] = figure.panels
    assert [dots.get_offsets().tolist() for dots in axis.collections] == [[[0.3, 0.4]], [[0.1, 0.2]]]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert figure.legend == ["observed as predicted", "WF", "CAP"]
    assert any(text.get_text().startswith("1 of 3 points are not shown") for text in figure.figure.texts)

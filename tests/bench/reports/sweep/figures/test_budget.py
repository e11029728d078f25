from __future__ import annotations


def test_accuracy_against_the_budget_of_the_fine_tune(make, frame, drawn, line) -> None:
    rows = []
    for pruner, pattern, start in (("magnitude", "0.0", 88.0), ("cap", "0.75", 85.0), ("cap", "0.9", 70.0)):
        for epochs in (1, 2, 4):
            recipe = {"lr": 1e-4, "epochs": epochs}
            rows.append(make(pruner, pattern, [start], recipe=recipe))
            rows.append(make(pruner, pattern, [start + epochs, start + epochs + 1], recipe=recipe, epoch=epochs,
                             phase="finetuned"))  # fmt: skip
    figure = drawn(frame(*rows))["sweep"]
    (panel,) = figure.panels
    assert line(panel, "CAP 75 %") == ([1, 2, 4], [86.5, 87.5, 89.5])
    assert line(panel, "CAP 90 %") == ([1, 2, 4], [71.5, 72.5, 74.5])
    assert line(panel, "unpruned 0 %") == ([1, 2, 4], [89.5, 90.5, 92.5])
    assert (panel.get_xlabel(), panel.get_xscale()) == ("epochs of the fine-tune", "log")
    two = drawn(frame(*(part for part in rows if '"epochs": 4' not in part[0]["recipe"])))["sweep"]
    assert two.panels[0].get_xlabel() != "epochs of the fine-tune", "two budgets are no curve"
